//! What files say, in messages. `dataset` and `lora`, which depend neither on this
//! crate nor on each other, are built with this file too.

/// What a file says, as a message repeats it: on one line, and with nothing that a
/// terminal would obey.
pub fn plain(text: &str) -> String {
    let is_obeyed = |char: char| match char {
        '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}' => true,
        char => char.is_control(),
    };
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        match is_obeyed(char) {
            true => line.extend(char.escape_default()),
            false => line.push(char),
        }
    }
    line
}

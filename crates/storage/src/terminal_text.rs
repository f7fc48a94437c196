//! Text that is safe to print on a terminal.

/// Returns `text` on one line, with control characters and Unicode direction overrides
/// escaped. Messages quote the content of files this way, so that a file cannot send
/// commands to the terminal.
pub fn terminal_safe(text: &str) -> String {
    let is_command = |char: char| match char {
        '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}' => true,
        char => char.is_control(),
    };
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if is_command(char) {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(terminal_safe("a\nb\t\u{7}\u{1b}[2J"), "a\\nb\\t\\u{7}\\u{1b}[2J");
        assert_eq!(terminal_safe("\u{202e}abc\u{2066}\u{9b}"), "\\u{202e}abc\\u{2066}\\u{9b}");
    }

    #[test]
    fn letters_of_all_scripts_are_kept() {
        for text in ["", "naïve café", "日本語 👍🏽", "שלום \\ \"'"] {
            assert_eq!(terminal_safe(text), text);
        }
    }
}

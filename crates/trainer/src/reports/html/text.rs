//! Numbers and texts as they stand in the page. `maud` escapes them.

/// Most characters of a text that a page shows.
const LONGEST: usize = 2000;
/// What stands for a value that is not defined.
const NONE: &str = "–";

/// A measure from 0 to 1.
pub(super) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.4}"))
}

/// A part of one, in percent.
pub(super) fn percent(part: f64) -> String {
    format!("{:.2} %", 100.0 * part)
}

/// A part of one, in whole percent.
pub(super) fn whole_percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

/// A text without the characters that HTML does not know (control characters other
/// than tab and line feed), which it would not even let be escaped.
pub(super) fn clean(text: &str) -> String {
    let allowed = |char: char| !char.is_control() || matches!(char, '\t' | '\n');
    let text = text.replace("\r\n", "\n");
    text.chars()
        .map(|char| if allowed(char) { char } else { char::REPLACEMENT_CHARACTER })
        .collect()
}

/// As [`clean`], the beginning of a text, and how many characters are left out.
pub(super) fn beginning(text: &str) -> (String, usize) {
    let text = clean(text);
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => (text[..at].to_owned(), text[at..].chars().count()),
        None => (text, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_html_does_not_know_are_replaced() {
        assert_eq!(clean("a\r\nb\tc\0\u{1b}\u{85}é"), "a\nb\tc\u{fffd}\u{fffd}\u{fffd}é");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(LONGEST + 3);
        assert_eq!(beginning(&text), ("é".repeat(LONGEST), 3));
        assert_eq!(beginning("é"), ("é".to_owned(), 0));
    }
}

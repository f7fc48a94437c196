//! Formatting of numbers and texts, which `maud` escapes afterwards.

use maud::{Markup, html};

use crate::metrics::Interval;

/// Longest text on a page, in characters.
const LONGEST: usize = 2000;
/// Undefined value.
pub(super) const UNDEFINED: &str = "–";

/// Formats a metric from 0 to 1.
pub(super) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| UNDEFINED.to_owned(), |value| format!("{value:.4}"))
}

/// Formats a loss.
pub(super) fn decimal(value: f64) -> String {
    format!("{value:.4}")
}

/// Formats a perplexity.
pub(super) fn perplexity(value: f64) -> String {
    format!("{value:.2}")
}

/// Formats a fraction in percent.
pub(super) fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// Formats a fraction in whole percent.
pub(super) fn whole_percent(fraction: f64) -> String {
    format!("{:.0} %", 100.0 * fraction)
}

/// Formats the confidence interval of a fraction.
pub(super) fn confidence_interval(interval: Interval) -> String {
    format!("95 % confidence interval {} to {}", percent(interval.low), percent(interval.high))
}

/// Replaces the characters that HTML forbids even in escaped form: control characters
/// other than tab and line feed.
pub(in crate::reports) fn clean(text: &str) -> String {
    let allowed = |char: char| !char.is_control() || matches!(char, '\t' | '\n');
    let text = text.replace("\r\n", "\n");
    text.chars()
        .map(|char| if allowed(char) { char } else { char::REPLACEMENT_CHARACTER })
        .collect()
}

/// Cleans and truncates a text; returns also the number of characters left out.
fn truncated(text: &str) -> (String, usize) {
    let text = clean(text);
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => (text[..at].to_owned(), text[at..].chars().count()),
        None => (text, 0),
    }
}

/// Renders the text of a user, which is truncated if it is long.
pub(super) fn text(text: &str) -> Markup {
    let (text, more) = truncated(text);
    html! { (text) @if more > 0 { " … " small { "(" (more) " more characters)" } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_forbidden_in_html_are_replaced() {
        assert_eq!(clean("a\r\nb\tc\0\u{1b}\u{85}é"), "a\nb\tc\u{fffd}\u{fffd}\u{fffd}é");
    }

    #[test]
    fn long_text_is_truncated_between_characters() {
        let text = "é".repeat(LONGEST + 3);
        assert_eq!(truncated(&text), ("é".repeat(LONGEST), 3));
        assert_eq!(truncated("é"), ("é".to_owned(), 0));
    }
}

//! Texts without content.

/// Returns whether a text is empty: it has no character that is not white space.
///
/// The text is judged as published, before quotation marks are stripped. An empty text is
/// neither trained nor evaluated on and gets no prediction.
///
/// ```
/// assert!(dataset::is_empty_text("") && dataset::is_empty_text(" \n\u{a0}"));
/// assert!(!dataset::is_empty_text("?"));
/// ```
pub fn is_empty_text(text: &str) -> bool {
    text.trim().is_empty()
}

//! Quotation marks around a text.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Treatment of a quotation mark at the beginning of a text.
///
/// Text messages are not CSV, and `"` is a character of their text ([`Quotes::Keep`]). The
/// published runs on the SMS Spam Collection read it as CSV, which strips the quotation marks of
/// about one message in a hundred; to repeat their numbers, use [`Quotes::Strip`].
///
/// ```
/// use dataset::Quotes;
///
/// let text = "\"Thinking of u ;) x\"";
/// assert_eq!(Quotes::Keep.apply(text), text);
/// assert_eq!(Quotes::Strip.apply(text), "Thinking of u ;) x");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quotes {
    /// It is text like any other character.
    #[default]
    Keep,
    /// It and the one that closes it are taken away, and doubled ones between
    /// them become single, as pandas reads CSV; one that is never closed is
    /// taken away alone. A text that does not open with one is left as it is.
    Strip,
}

impl Quotes {
    /// The text as it is used.
    pub fn apply(self, text: &str) -> Cow<'_, str> {
        match text.strip_prefix('"') {
            Some(rest) if self == Self::Strip => Cow::Owned(strip(rest)),
            _ => Cow::Borrowed(text),
        }
    }
}

/// `rest` is what follows the opening quote. After the closing one all that
/// follows is text.
fn strip(rest: &str) -> String {
    let mut text = String::with_capacity(rest.len());
    let mut rest = rest;
    while let Some((before, after)) = rest.split_once('"') {
        text.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                text.push('"');
                rest = after;
            }
            None => {
                rest = after;
                break;
            }
        }
    }
    text + rest
}

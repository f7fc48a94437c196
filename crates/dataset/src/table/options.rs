//! Options for reading tables.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{columns::Columns, error::TableOptionError, format::Format};

/// Options for reading a table. Whatever is not given is detected from the first bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct TableOptions {
    /// Names of the text and label columns.
    pub columns: Columns,
    /// Format of the table.
    pub format: Option<Format>,
    /// Separator of the cells of CSV and TSV.
    pub separator: Option<Separator>,
    /// Quotation mark around cells of CSV and TSV.
    pub quote_char: Option<QuoteChar>,
    /// CSV or TSV without a header: the first line is an example, and columns are called 1, 2, 3 …
    pub no_header: bool,
    /// Encoding of CSV, TSV and JSON.
    pub encoding: Option<Encoding>,
}

impl TableOptions {
    /// Returns options with names for the text and label columns.
    pub fn with_columns(columns: &Columns) -> Self {
        Self { columns: columns.clone(), ..Self::default() }
    }

    /// Sets the format, if one is given.
    pub fn format(self, format: impl Into<Option<Format>>) -> Self {
        Self { format: format.into(), ..self }
    }
}

/// Separator of cells: one ASCII character.
///
/// ```
/// use dataset::Separator;
///
/// assert_eq!("tab".parse::<Separator>()?, "\t".parse()?);
/// assert_eq!(";".parse::<Separator>()?.to_string(), ";");
/// assert!("ab".parse::<Separator>().is_err());
/// # Ok::<(), dataset::TableOptionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Separator(pub(crate) u8);

const NAMED: [(u8, &str); 4] =
    [(b'\t', "tab"), (b',', "comma"), (b';', "semicolon"), (b'|', "pipe")];

impl FromStr for Separator {
    type Err = TableOptionError;

    fn from_str(text: &str) -> Result<Self, TableOptionError> {
        let named = NAMED.iter().find(|(_, name)| *name == text).map(|(byte, _)| *byte);
        let separator = named.or_else(|| match text {
            "\\t" => Some(b'\t'),
            _ => single(text).filter(|byte| *byte != b'"'),
        });
        separator.map(Self).ok_or_else(|| TableOptionError::Separator { text: text.to_owned() })
    }
}

impl fmt::Display for Separator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\t' => f.write_str("tab"),
            byte => write!(f, "{}", char::from(byte)),
        }
    }
}

/// Quotation mark around cells, or none: then quotation marks are text.
///
/// ```
/// use dataset::QuoteChar;
///
/// assert_eq!("none".parse::<QuoteChar>()?, QuoteChar(None));
/// assert_eq!("'".parse::<QuoteChar>()?, QuoteChar(Some(b'\'')));
/// # Ok::<(), dataset::TableOptionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QuoteChar(pub Option<u8>);

impl FromStr for QuoteChar {
    type Err = TableOptionError;

    fn from_str(text: &str) -> Result<Self, TableOptionError> {
        if text == "none" {
            return Ok(Self(None));
        }
        let mark = single(text).filter(u8::is_ascii_punctuation);
        mark.map(|mark| Self(Some(mark)))
            .ok_or_else(|| TableOptionError::QuoteChar { text: text.to_owned() })
    }
}

impl fmt::Display for QuoteChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(byte) => write!(f, "{}", char::from(byte)),
        }
    }
}

/// Returns the only byte of `text` if it is an ASCII character that does not end a line.
fn single(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
        _ => None,
    }
}

/// Encoding of a text file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Encoding {
    /// UTF-8.
    #[default]
    Utf8,
    /// UTF-8 in which malformed bytes are replaced by U+FFFD and counted.
    Utf8Lossy,
    /// Windows-1252, which includes Latin-1.
    Latin1,
    /// UTF-16, little-endian unless a byte order mark says otherwise.
    Utf16,
}

impl Encoding {
    /// Names of the encodings; `windows-1252` is another name for the third.
    pub const NAMES: [&str; 4] = ["utf-8", "utf-8-lossy", "latin-1", "utf-16"];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl FromStr for Encoding {
    type Err = TableOptionError;

    fn from_str(name: &str) -> Result<Self, TableOptionError> {
        match name {
            "utf-8" => Ok(Self::Utf8),
            "utf-8-lossy" => Ok(Self::Utf8Lossy),
            "latin-1" | "windows-1252" => Ok(Self::Latin1),
            "utf-16" => Ok(Self::Utf16),
            _ => Err(TableOptionError::Encoding { name: name.to_owned() }),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! as_string {
    ($($kind:ty),*) => {
        $(impl TryFrom<String> for $kind {
            type Error = TableOptionError;

            fn try_from(text: String) -> Result<Self, TableOptionError> {
                text.parse()
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        })*
    };
}

as_string!(Separator, QuoteChar, Encoding);

//! Table formats.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

use super::error::TableOptionError;

/// The format of a table.
///
/// ```
/// use dataset::Format;
///
/// assert_eq!(Format::of("reviews.CSV"), Format::Csv);
/// assert_eq!(Format::of("datasets/sms-spam/SMSSpamCollection"), Format::Tsv);
/// assert_eq!("jsonl".parse::<Format>()?, Format::Jsonl);
/// # Ok::<(), dataset::TableOptionError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Cells separated by tabs.
    #[default]
    Tsv,
    /// Cells separated by commas, quoted as in RFC 4180.
    Csv,
    /// JSON Lines (one object per line); when reading, also an array of objects.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Tsv, Self::Csv, Self::Jsonl, Self::Parquet];

    /// Returns the format for the extension of an input, in any case: `.csv`, `.jsonl`,
    /// `.ndjson` or `.json`, `.parquet`; [`Format::Tsv`] for any other. A final `.gz` or `.zst`
    /// is ignored.
    pub fn of(path: impl AsRef<Path>) -> Self {
        Self::of_input(path.as_ref()).unwrap_or_default()
    }

    /// As [`Format::of`]; `None` for an extension that is not a table's.
    pub(crate) fn of_input(path: &Path) -> Option<Self> {
        match extension(path).as_deref() {
            Some("gz" | "zst") => Self::of_input(&path.with_extension("")),
            Some("json") => Some(Self::Jsonl),
            _ => Self::by_extension(path),
        }
    }

    /// Returns the format for the extension of an output, which may be followed by `.gz` or
    /// `.zst`; `None` for one that is not a table's, or that promises a JSON array.
    pub fn by_extension(path: impl AsRef<Path>) -> Option<Self> {
        match extension(path.as_ref()).as_deref() {
            Some("gz" | "zst") => Self::by_extension(path.as_ref().with_extension("")),
            Some("csv") => Some(Self::Csv),
            Some("jsonl" | "ndjson") => Some(Self::Jsonl),
            Some("parquet") => Some(Self::Parquet),
            None | Some("tsv" | "txt") => Some(Self::Tsv),
            _ => None,
        }
    }

    /// Returns the name of the format, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tsv => "tsv",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// Returns the extension in lower case.
pub(crate) fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase())
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = TableOptionError;

    fn from_str(name: &str) -> Result<Self, TableOptionError> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| TableOptionError::Format { name: name.to_owned() })
    }
}

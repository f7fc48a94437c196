//! Table formats.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The format of a table.
///
/// ```
/// use dataset::Format;
///
/// assert_eq!(Format::of("reviews.CSV"), Format::Csv);
/// assert_eq!(Format::of("datasets/sms-spam/SMSSpamCollection"), Format::Tsv);
/// assert_eq!("jsonl".parse::<Format>()?, Format::Jsonl);
/// # Ok::<(), dataset::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Cells separated by tabs, no quoting: a cell holds neither tab nor line break.
    #[default]
    Tsv,
    /// Cells separated by commas, quoted as RFC 4180 has it.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tsv, Self::Csv, Self::Jsonl, Self::Parquet];

    /// The format that a file's extension stands for: `.csv`, `.jsonl` or
    /// `.ndjson`, `.parquet`, in small letters or capitals; [`Format::Tsv`] for
    /// any other and for none.
    pub fn of(path: impl AsRef<Path>) -> Self {
        Self::by_extension(path).unwrap_or_default()
    }

    /// As [`Format::of`], and `None` for an extension that is none of a table: not
    /// those, nor `.tsv` or `.txt`, nor none at all.
    pub fn by_extension(path: impl AsRef<Path>) -> Option<Self> {
        let Some(extension) = path.as_ref().extension() else { return Some(Self::Tsv) };
        match extension.to_str().map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Some(Self::Csv),
            Some("jsonl" | "ndjson") => Some(Self::Jsonl),
            Some("parquet") => Some(Self::Parquet),
            Some("tsv" | "txt") => Some(Self::Tsv),
            _ => None,
        }
    }

    /// The name of the format, in small letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tsv => "tsv",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            Error::Config(format!(
                "there is no table format {name:?}; expected tsv, csv, jsonl or parquet"
            ))
        })
    }
}

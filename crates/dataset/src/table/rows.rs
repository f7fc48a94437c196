//! Rows of cells: what TSV and CSV have in common.

use super::{csv::CsvRecords, lines::Lines};
use crate::error::Result;

/// Where rows of cells come from.
pub(crate) enum Rows {
    Tsv(Lines, String),
    Csv(CsvRecords),
}

impl Rows {
    pub fn tsv(lines: Lines) -> Self {
        Self::Tsv(lines, String::new())
    }

    pub fn csv(lines: Lines) -> Self {
        Self::Csv(CsvRecords::new(lines))
    }

    pub fn lines(&self) -> &Lines {
        match self {
            Self::Tsv(lines, _) => lines,
            Self::Csv(records) => &records.lines,
        }
    }

    /// Puts the next row in place of `cells`; gives the number of the line that it
    /// begins in, or `None` at the end. Empty lines are passed over.
    pub fn next(&mut self, cells: &mut Vec<String>) -> Result<Option<usize>> {
        match self {
            Self::Csv(records) => records.next(cells),
            Self::Tsv(lines, line) => {
                cells.clear();
                if !lines.next_filled(line)? {
                    return Ok(None);
                }
                cells.extend(line.split('\t').map(str::to_owned));
                Ok(Some(lines.number()))
            }
        }
    }
}

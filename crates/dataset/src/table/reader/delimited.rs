//! TSV and CSV: the header, and rows with as many cells.

use std::sync::Arc;

use super::{
    csv::CsvRecords,
    lines::{Lines, NUL, label_text_problem},
};
use crate::{
    error::{Error, Result},
    table::{
        LARGEST_CHUNK,
        chunk::Columned,
        columns::{Columns, Places, twice},
        records::Records,
    },
};

/// Layout of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// The first line names the columns.
    Header,
    /// No header: a label, a tab, a text.
    LabelText,
    /// No header and no tab: a text a line.
    Text,
}

/// Reader of a TSV or CSV file.
pub(crate) struct Cells {
    rows: Rows,
    names: Arc<[String]>,
    places: Places,
    layout: Layout,
    /// The first line if it is not a header, with its number.
    pending: Option<(usize, Vec<String>)>,
}

impl Cells {
    /// Reads the first line, which is one of:
    ///
    /// * a header if columns were asked for by name, or if it names the columns
    ///   that are looked for;
    /// * else the first row of a TSV, which is `label<TAB>text`, or, if no label
    ///   is wanted and it has no tab, a text;
    /// * else an error in a CSV.
    pub fn open(mut rows: Rows, columns: &Columns, wants_label: bool) -> Result<Self> {
        let mut first = Vec::new();
        let number = rows.next(&mut first)?;
        let (line, is_tsv) = (number.unwrap_or(1), matches!(rows, Rows::Tsv(..)));
        let header = columns.asked() || !is_tsv || Columns::are_header(&first, wants_label);
        if !header {
            let plain = !wants_label && first.len() == 1;
            let (names, label): (&[&str], _) =
                if plain { (&["text"], None) } else { (&["label", "text"], Some(0)) };
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            return Ok(Self {
                rows,
                places: Places { text: names.len() - 1, label },
                names: names.into(),
                layout: if plain { Layout::Text } else { Layout::LabelText },
                pending: number.map(|number| (number, first)),
            });
        }
        let error = |reason: String| rows.lines().error(line, reason);
        if number.is_none() {
            return Err(Error::Table {
                path: rows.lines().name().to_owned(),
                reason: "the file is empty; the first line must name the columns".to_owned(),
            });
        }
        if let Some(name) = twice(&first) {
            return Err(error(format!("the header has the column {name:?} twice; rename one")));
        }
        let places = columns
            .places(&first, wants_label)
            .map_err(|problem| rows.lines().column_error(line, problem))?;
        Ok(Self { rows, names: first.into(), places, layout: Layout::Header, pending: None })
    }

    pub fn has_header(&self) -> bool {
        self.layout == Layout::Header
    }

    pub fn no_rows(&self) -> Records {
        Records::Cells { names: Arc::clone(&self.names), rows: Vec::new() }
    }

    /// Returns the next rows, at most `most`.
    pub fn next_chunk(&mut self, most: usize) -> Result<Option<Columned>> {
        let mut chunk = Columned::default();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < most && bytes < LARGEST_CHUNK {
            let (line, cells) = match self.pending.take() {
                Some(pending) => pending,
                None => {
                    let mut cells = Vec::with_capacity(self.names.len());
                    match self.rows.next(&mut cells)? {
                        Some(line) => (line, cells),
                        None => break,
                    }
                }
            };
            self.check(line, &cells)?;
            let text = &cells[self.places.text];
            if text.contains('\0') {
                return Err(self.rows.lines().error(line, NUL.to_owned()));
            }
            bytes += cells.iter().map(String::len).sum::<usize>();
            let label = self.places.label.map(|place| cells[place].clone());
            chunk.push(text.clone(), label.filter(|label| !label.trim().is_empty()));
            rows.push(cells);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        chunk.records = Records::Cells { names: Arc::clone(&self.names), rows };
        Ok(Some(chunk))
    }

    /// Refuses a row with a wrong number of cells.
    fn check(&self, line: usize, cells: &[String]) -> Result<()> {
        let problem = match self.layout {
            Layout::LabelText => {
                label_text_problem(cells.len() - 1, cells.first().is_some_and(String::is_empty))
            }
            _ if cells.len() == self.names.len() => None,
            Layout::Text => Some(
                "there is a tab, but none in the first line: every line is either a text, or a \
                 label, a tab and a text"
                    .to_owned(),
            ),
            Layout::Header => Some(format!(
                "it has {} cells and the header has {}; quote a cell that holds the separator",
                cells.len(),
                self.names.len()
            )),
        };
        match problem {
            Some(reason) => Err(self.rows.lines().error(line, reason)),
            None => Ok(()),
        }
    }
}

/// Reader of rows of cells.
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

    /// Replaces `cells` by the next row; returns the number of its first line, or `None` at
    /// the end. Empty lines are skipped.
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

//! CSV and TSV: records cut by us, parsed by polars.

use std::sync::Arc;

use polars::prelude::{DataFrame, PolarsError};

use super::{
    dialect::{Head, Layout, Structure, ambiguous, detect, looks_like_header},
    input::Input,
    lines::without_mark,
    parse::{FIRST_LINE, first_row, parse},
    records::RecordCutter,
};
use crate::{
    error::{Error, Result},
    table::{
        LARGEST_CHUNK,
        chunk::{Records, Rows},
        columns::{Wanted, distinct, list},
        format::Format,
        options::TableOptions,
    },
};

/// Reader of CSV or TSV.
pub(crate) struct Cells {
    cutter: RecordCutter,
    structure: Structure,
    /// Names of the columns of data frames.
    distinct: Vec<String>,
    names: Arc<[String]>,
    /// The header as a record.
    header: Vec<u8>,
    no_header: bool,
    wanted: Wanted,
    started: bool,
    /// Error behind the rows returned last.
    failed: Option<Error>,
}

impl Cells {
    pub fn open(
        input: Input,
        hint: Format,
        options: &TableOptions,
        wanted: Wanted,
    ) -> Result<Self> {
        input.check_line_ends()?;
        let head = Head { bytes: &input.head, complete: input.complete, name: &input.name };
        let structure = detect(head, hint, options, wanted)?;
        let mut cutter = RecordCutter::new(input.into_lines()?, structure.dialect);
        let mut header = Vec::new();
        if structure.names_separator {
            cutter.lines.next(&mut String::new())?;
        }
        // A line of a list of texts is a text, even if it is empty.
        cutter.keeps_empty_lines = structure.layout == Layout::Text;
        if structure.layout == Layout::Header {
            cutter.next(&mut header)?;
        }
        Ok(Self {
            cutter,
            distinct: distinct(&structure.names),
            names: structure.names.clone().into(),
            structure,
            header,
            no_header: options.no_header,
            wanted,
            started: false,
            failed: None,
        })
    }

    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    pub fn is_tsv(&self) -> bool {
        self.structure.dialect.separator == b'\t'
    }

    pub fn is_headerless(&self) -> bool {
        self.structure.layout != Layout::Header
    }

    /// Returns separator, header and number of columns, as a note.
    pub fn describe(&self) -> String {
        let Structure { dialect, layout, names, names_separator, has_quoted, .. } = &self.structure;
        let format = if dialect.separator == b'\t' { "TSV" } else { "CSV" };
        let separator = match dialect.separator {
            b'\t' => String::new(),
            byte => format!(", separator \"{}\"", char::from(byte)),
        };
        let named = if *names_separator { " named in the first line" } else { "" };
        let quotes = match dialect.quote {
            // In CSV this is the rule.
            Some(b'"') if format == "TSV" && *has_quoted => ", quoted cells".to_owned(),
            Some(b'"') => String::new(),
            Some(byte) => format!(", quote character \"{}\"", char::from(byte).escape_default()),
            None => ", quotation marks are text".to_owned(),
        };
        let header = if *layout == Layout::Header { "header" } else { "no header" };
        let columns = match layout {
            Layout::LabelText => "label and text".to_owned(),
            Layout::Text => "one text per line".to_owned(),
            _ if names.len() == 1 => "1 column".to_owned(),
            _ => format!("{} columns", names.len()),
        };
        format!("{format}{separator}{named}{quotes}, {header}, {columns}")
    }

    /// Returns notes on records of several lines, and on empty lines of a table of one column,
    /// where they could be meant as empty texts.
    pub fn notes(&self) -> Vec<String> {
        let (count, (lines, first)) = (self.cutter.multiline, self.cutter.longest);
        let multiline = (count > 0).then(|| {
            let records = if count == 1 { "record spans" } else { "records span" };
            format!("{count} {records} several lines, the longest {lines} lines from line {first}")
        });
        let empty = self.cutter.empty_lines;
        let skipped = (empty > 0 && self.names.len() == 1)
            .then(|| format!("{empty} empty lines were skipped"));
        multiline.into_iter().chain(skipped).collect()
    }

    pub fn no_rows(&self) -> Result<Records> {
        self.frame(&[]).map(Records::Frame)
    }

    fn frame(&self, bytes: &[u8]) -> Result<DataFrame> {
        parse(bytes, &self.distinct, self.structure.dialect).map_err(|error| Error::Table {
            path: self.cutter.lines.name().to_owned(),
            reason: format!("it cannot be parsed: {error}"),
        })
    }

    /// Returns the next rows, at most `most`.
    pub fn next_rows(&mut self, most: usize) -> Result<Option<Rows>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let (mut bytes, mut rows) = (FIRST_LINE.to_vec(), Rows::default());
        while rows.lines.len() < most && bytes.len() < LARGEST_CHUNK {
            match self.next_record(&mut bytes) {
                Ok(Some(line)) => rows.lines.push(line),
                Ok(None) => break,
                // The rows before it come first, and may have errors of their own.
                Err(error) if !rows.lines.is_empty() => {
                    self.failed = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if rows.lines.is_empty() {
            return Ok(None);
        }
        let frame = self.frame(&bytes)?;
        if frame.height() != rows.lines.len() {
            let reason = format!("{} records became {} rows", rows.lines.len(), frame.height());
            return Err(Error::Table { path: self.cutter.lines.name().to_owned(), reason });
        }
        if !std::mem::replace(&mut self.started, true) {
            self.check_first(&frame, rows.lines[0])?;
        }
        self.fill(&frame, &mut rows)?;
        rows.records = Records::Frame(frame);
        Ok(Some(rows))
    }

    /// Appends the next record; returns its first line, or `None` at the end. After an error
    /// nothing is appended.
    fn next_record(&mut self, bytes: &mut Vec<u8>) -> Result<Option<usize>> {
        let begin = bytes.len();
        let checked = match self.cutter.next(bytes) {
            Ok(Some(record)) => {
                self.check(record.line, record.cells, &bytes[begin..]).map(|()| Some(record.line))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        if checked.is_err() {
            bytes.truncate(begin);
        }
        checked
    }

    /// Copies texts and labels out of a data frame.
    fn fill(&self, frame: &DataFrame, rows: &mut Rows) -> Result<()> {
        let damaged = |error: PolarsError| Error::Table {
            path: self.cutter.lines.name().to_owned(),
            reason: error.to_string(),
        };
        let places = self.structure.places;
        let column = |place: usize| frame.columns()[place].str().map_err(damaged);
        let labels = places.label.map(column).transpose()?;
        let Some(text) = places.text else {
            rows.push_records(frame.height());
            return Ok(());
        };
        for (index, text) in column(text)?.iter().enumerate() {
            let text = text.unwrap_or_default();
            rows.push(text, labels.and_then(|labels| labels.get(index)))
                .map_err(|problem| self.cutter.lines.error(rows.lines[index], problem))?;
        }
        Ok(())
    }

    /// Refuses the first record of a headerless file that looks like a header.
    fn check_first(&self, frame: &DataFrame, line: usize) -> Result<()> {
        if self.structure.layout == Layout::Header || self.no_header {
            return Ok(());
        }
        let cells = first_row(frame);
        if !looks_like_header(&cells, self.wanted) {
            return Ok(());
        }
        let path = self.cutter.lines.name().to_owned();
        Err(Error::Header { path, line, cells: list(&cells) })
    }

    /// Refuses a record with a wrong number of cells, one that repeats the header, or one that
    /// looks quoted if the beginning of the file does not.
    fn check(&self, line: usize, cells: usize, record: &[u8]) -> Result<()> {
        if let Some(line) =
            self.cutter.looks_quoted.filter(|_| self.structure.finds_quotes_are_text)
        {
            return Err(ambiguous(self.cutter.lines.name(), line));
        }
        let columns = self.names.len();
        let problem = match self.structure.layout {
            Layout::LabelText => {
                let separator = self.structure.dialect.separator;
                label_text_problem(cells - 1, record.first() == Some(&separator), separator)
            }
            // Files that were joined have a mark at each header.
            Layout::Header if columns > 1 && without_mark(record) == self.header => {
                Some("it repeats the header, as in files that were joined; remove it".to_owned())
            }
            _ if cells == columns => None,
            Layout::Text => Some(
                "there is a tab, but none in the first line: every line is either a text, or a \
                 label, a tab and a text"
                    .to_owned(),
            ),
            Layout::Numbered => {
                Some(format!("it has {cells} cells and the first record has {columns}"))
            }
            Layout::Header => Some(format!(
                "it has {cells} cells and the header has {columns}; quote a cell that holds the \
                 separator"
            )),
        };
        match problem {
            Some(reason) => Err(self.cutter.lines.error(line, reason)),
            None => Ok(()),
        }
    }
}

/// Returns the problem of a line that should be a label, a separator and a text.
fn label_text_problem(count: usize, begins_with_it: bool, separator: u8) -> Option<String> {
    let name = match separator {
        b'\t' => "tab".to_owned(),
        other => format!("{:?}", char::from(other)),
    };
    match count {
        0 => Some(format!("there is no {name} between a label and a text")),
        1 if begins_with_it => Some(format!("there is no label before the {name}")),
        1 => None,
        _ => Some(format!("there are {count} {name}s; replace the {name}s of the text by spaces")),
    }
}

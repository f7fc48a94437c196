//! Detection of separator, quotation marks and header of CSV and TSV.

use std::{io::Cursor, path::Path};

use super::{
    lines::{Lines, without_mark},
    parse::{FIRST_LINE, first_row, parse},
    records::{Dialect, RecordCutter},
};
use crate::{
    error::{Error, QuoteProblem, Result},
    table::{
        columns::{ColumnError, Columns, Places, Wanted},
        error::TableOptionError,
        format::Format,
        options::{QuoteChar, Separator, TableOptions},
    },
};

/// Separators that are tried, in this order.
const CSV: [u8; 4] = [b',', b';', b'\t', b'|'];
const TSV: [u8; 4] = [b'\t', b',', b';', b'|'];

/// Names of columns, by which a header is recognized.
const HEADER_NAMES: [&str; 21] = [
    "text",
    "label",
    "message",
    "v1",
    "v2",
    "class",
    "category",
    "target",
    "sentence",
    "review",
    "body",
    "content",
    "subject",
    "title",
    "comment",
    "id",
    "sentiment",
    "topic",
    "labels",
    "texts",
    "messages",
];

/// Layout of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The first record names the columns.
    Header,
    /// No header; without further options a label, a separator and a text.
    LabelText,
    /// No header and one column: a text per line.
    Text,
    /// No header, and columns called 1, 2, 3 …
    Numbered,
}

/// Structure of a CSV or TSV file.
#[derive(Clone, Debug)]
pub(crate) struct Structure {
    pub dialect: Dialect,
    pub layout: Layout,
    pub names: Vec<String>,
    pub places: Places,
    /// True if the first line names the separator, as Excel writes it.
    pub names_separator: bool,
    /// True if a cell of the beginning is quoted, so that quoting affects the rows.
    pub has_quoted: bool,
    /// True if quotation marks were found to be text, because no cell is enclosed in them.
    pub finds_quotes_are_text: bool,
}

/// The beginning of a file, parsed in one dialect.
struct Trial {
    dialect: Dialect,
    /// Cells of the first record, and its line.
    first: Vec<String>,
    line: usize,
    /// Number of records; all have as many cells.
    records: usize,
    consistent: bool,
    /// First error, which makes the trial inconsistent.
    error: Option<Error>,
    /// True if a quoted cell is open at the end of the beginning.
    is_open: bool,
    has_quoted: bool,
    /// As of [`RecordCutter`].
    looks_quoted: Option<usize>,
    /// First line of the longest record.
    longest: usize,
}

/// First bytes of a file.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub bytes: &'a [u8],
    /// True if these are all bytes of the file.
    pub complete: bool,
    pub name: &'a Path,
}

/// Determines the structure from the first bytes and the options.
pub(crate) fn detect(
    head: Head<'_>,
    hint: Format,
    options: &TableOptions,
    wanted: Wanted,
) -> Result<Structure> {
    let columns = &options.columns;
    let quote = options.quote_char.map_or(Some(b'"'), |QuoteChar(quote)| quote);
    let named_separator = separator_line(head.bytes);
    let given = options.separator.map(|Separator(separator)| separator).or(named_separator);
    let mut candidates = match (given, options.format) {
        (Some(separator), _) => vec![separator],
        (None, Some(Format::Tsv)) => vec![b'\t'],
        _ if hint == Format::Csv => CSV.to_vec(),
        _ => TSV.to_vec(),
    };
    refuse_quote_as_separator(head, &candidates, quote)?;
    candidates.retain(|separator| Some(*separator) != quote);
    let attempt = |&separator: &u8| Trial::new(head, Dialect { separator, quote });
    let mut trials: Vec<Trial> = candidates.iter().map(attempt).collect();
    let finds_columns = wanted != Wanted::Records;
    let named = |trial: &Trial| {
        finds_columns && trial.first.len() > 1 && columns.places(&trial.first, wanted).is_ok()
    };
    let is_csv = hint == Format::Csv || given.is_some();
    let has_header = is_csv || columns.asked() || !finds_columns;
    let chosen = match trials.iter().position(named).filter(|_| !options.no_header) {
        Some(place) => place,
        None if has_header || options.no_header => most_cells(&trials),
        None => 0,
    };
    let mut trial = trials.swap_remove(chosen);
    let header = !options.no_header && (has_header || Columns::are_header(&trial.first, wanted));
    let is_tsv = hint == Format::Tsv && trial.dialect.separator == b'\t';
    let mut finds_quotes_are_text = false;
    if options.quote_char.is_none() && is_tsv {
        finds_quotes_are_text = header && trial.quotes_are_text(head)?;
        // Headerless TSV such as the SMS Spam Collection has no quoting.
        if !header || finds_quotes_are_text {
            trial = Trial::new(head, Dialect { quote: None, ..trial.dialect });
        }
    }
    if let Some(error) = trial.error.take_if(|_| trial.first.is_empty()) {
        return Err(error);
    }
    let structure = trial.structure(head.name, header, options, wanted)?;
    Ok(Structure { names_separator: named_separator.is_some(), finds_quotes_are_text, ..structure })
}

/// Refuses a quote character that is the only separator, given or detected, of a file.
fn refuse_quote_as_separator(head: Head<'_>, candidates: &[u8], quote: Option<u8>) -> Result<()> {
    let Some(character) = quote.filter(|quote| candidates.contains(quote)) else { return Ok(()) };
    let trial = |separator, quote| Trial::new(head, Dialect { separator, quote });
    let separates = |other: &u8| {
        let trial = trial(*other, quote);
        trial.consistent && trial.first.len() > 1
    };
    let mut others = candidates.iter().filter(|separator| **separator != character);
    // Rows whose cells are quoted by another character may have any number of cells.
    let is_separator = || trial(character, None).first.len() > 1;
    if candidates.len() > 1 && (others.any(separates) || !is_separator()) {
        return Ok(());
    }
    let (path, character) = (head.name.to_owned(), char::from(character));
    Err(TableOptionError::SeparatorIsQuoteChar { path, character }.into())
}

/// Returns the separator that a first line `sep=;` names, which Excel writes and reads.
pub(crate) fn separator_line(bytes: &[u8]) -> Option<u8> {
    let bytes = without_mark(bytes);
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(line);
    match line {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', separator]
            if separator.is_ascii() && !matches!(separator, b'"' | 0 | b'\r') =>
        {
            Some(*separator)
        }
        _ => None,
    }
}

/// Returns the trial with most cells per record, at least two, among those whose records have
/// equally many; else the first.
fn most_cells(trials: &[Trial]) -> usize {
    let cells = |place: &usize| {
        let trial = &trials[*place];
        let cells = if trial.consistent && trial.first.len() > 1 { trial.first.len() } else { 0 };
        (cells, std::cmp::Reverse(*place))
    };
    (0..trials.len()).max_by_key(cells).unwrap_or(0)
}

impl Trial {
    fn new(head: Head<'_>, dialect: Dialect) -> Self {
        let mut bytes = head.bytes;
        if !head.complete {
            let end =
                bytes.iter().rposition(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes = &bytes[..end];
        }
        // Damage is reported by the reader, if it gets there.
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines = Lines::new(Cursor::new(text), head.name.to_owned());
        let mut cutter = RecordCutter::new(lines, dialect);
        let mut trial = Self {
            dialect,
            first: Vec::new(),
            line: 1,
            records: 0,
            consistent: true,
            error: None,
            is_open: false,
            has_quoted: false,
            looks_quoted: None,
            longest: 1,
        };
        let read = trial.read(&mut cutter, separator_line(bytes).is_some());
        match read {
            // It may be closed behind the beginning.
            Err(Error::Quotes { problem: QuoteProblem::Open, .. }) if !head.complete => {
                trial.is_open = true;
            }
            Err(error) => (trial.consistent, trial.error) = (false, Some(error)),
            Ok(()) => {}
        }
        (trial.has_quoted, trial.looks_quoted) = (cutter.has_quoted, cutter.looks_quoted);
        trial.longest = cutter.longest.1;
        trial
    }

    fn read(&mut self, cutter: &mut RecordCutter, skips_line: bool) -> Result<()> {
        if skips_line {
            cutter.lines.next(&mut String::new())?;
        }
        loop {
            let mut out = Vec::new();
            let Some(record) = cutter.next(&mut out)? else { return Ok(()) };
            if self.records == 0 {
                self.line = record.line;
                self.first = first_cells(&out, record.cells, self.dialect);
            }
            self.consistent &= record.cells == self.first.len();
            self.records += 1;
        }
    }

    /// Returns whether quotation marks are text: with quoting the file is malformed or has
    /// fewer records, without it is a table, and no cell has them around it. pandas' TSV has
    /// quoted line breaks, which make a table without quoting ragged.
    ///
    /// # Errors
    /// If some cells have quotation marks around them, so that others are malformed, or if both
    /// readings are possible.
    fn quotes_are_text(&mut self, head: Head<'_>) -> Result<bool> {
        let plain = Self::new(head, Dialect { quote: None, ..self.dialect });
        // The last line may be the first one of a record.
        let records = self.records + usize::from(self.is_open);
        let fits = self.consistent && (self.first.len() == 1 || records == plain.records);
        // Every file is a table of one column.
        if fits || !plain.consistent || plain.first.len() < 2 {
            return Ok(false);
        }
        let is_sound = self.consistent && !self.is_open;
        match plain.looks_quoted.or(is_sound.then_some(self.longest)) {
            Some(line) => Err(self.error.take().unwrap_or_else(|| ambiguous(head.name, line))),
            None => Ok(true),
        }
    }

    fn structure(
        self,
        name: &Path,
        header: bool,
        options: &TableOptions,
        wanted: Wanted,
    ) -> Result<Structure> {
        let (columns, line) = (&options.columns, self.line);
        let fail = |problem: ColumnError| {
            let line = header.then_some(line);
            Error::Columns { path: name.to_owned(), line, problem }
        };
        let cells = self.first.len();
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let (layout, names, places) = if header {
            if cells == 0 {
                let reason = "the file is empty; the first line must name the columns".to_owned();
                return Err(Error::Table { path: name.to_owned(), reason });
            }
            let places = columns.places(&self.first, wanted).map_err(fail)?;
            (Layout::Header, self.first, places)
        } else if options.no_header && (columns.asked() || cells > 2 || wanted == Wanted::Records) {
            let names: Vec<String> = (1..=cells).map(|number| number.to_string()).collect();
            let places = columns.places(&names, wanted).map_err(fail)?;
            (Layout::Numbered, names, places)
        } else if wanted == Wanted::Text && cells == 1 {
            (Layout::Text, names(&["text"]), Places { text: Some(0), label: None })
        } else {
            (Layout::LabelText, names(&["label", "text"]), Places { text: Some(1), label: Some(0) })
        };
        Ok(Structure {
            dialect: self.dialect,
            layout,
            names,
            places,
            names_separator: false,
            has_quoted: self.has_quoted,
            finds_quotes_are_text: false,
        })
    }
}

/// Returns the error of a line that has quotation marks around a cell, in a file whose others
/// are text.
pub(crate) fn ambiguous(name: &Path, line: usize) -> Error {
    Error::Quotes { path: name.to_owned(), line, problem: QuoteProblem::Ambiguous }
}

/// Returns whether a record without a header has names of columns. Beside a label, a text may
/// have the name of a column; whether its label is one is seen from the others.
pub(crate) fn looks_like_header(cells: &[String], wanted: Wanted) -> bool {
    let is_name = |cell: &String| HEADER_NAMES.contains(&cell.trim().to_ascii_lowercase().as_str());
    match wanted {
        Wanted::TextAndLabel => cells.iter().all(is_name),
        Wanted::Text | Wanted::Records => cells.iter().any(is_name),
    }
}

fn first_cells(record: &[u8], cells: usize, dialect: Dialect) -> Vec<String> {
    let names: Vec<String> = (0..cells).map(|number| number.to_string()).collect();
    let bytes = [FIRST_LINE, record].concat();
    parse(&bytes, &names, dialect).map_or_else(|_| Vec::new(), |frame| first_row(&frame))
}

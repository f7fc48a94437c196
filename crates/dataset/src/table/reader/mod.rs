//! Reading tables in chunks.

mod cells;
mod dialect;
mod input;
mod json;
mod lines;
mod parquet;
mod parquet_structure;
mod parse;
mod records;
pub(crate) mod source;

use std::{
    collections::VecDeque,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

pub(crate) use self::input::Input;
pub(crate) use self::parquet::{ARROW_SCHEMA, row_counts};
use self::{cells::Cells, json::Json, parquet::Parquet, source::Source};
pub use self::{
    lines::{LONGEST_LINE, Lines},
    source::expand,
};
use super::{
    chunk::{Chunk, Metadata, Records, Rows},
    columns::Wanted,
    error::TableOptionError,
    format::Format,
    options::TableOptions,
    shard::Shard,
};
use crate::error::{Error, Result};

/// Notes that are returned at a time.
const MOST_NOTES: usize = 20;

/// Reader of a table in chunks.
///
/// Properties that the options leave open are detected from the first bytes: compression (gzip,
/// zstd), format (Parquet, JSON Lines, JSON arrays, CSV, TSV), separator, quoting and header. The first
/// line of CSV or TSV is a header if columns are named, if it has the columns `text` and
/// `label` (`text` alone where no label is wanted), or if the file is CSV. A TSV file without a
/// header has a label, a tab and a text per line, or, where no label is wanted and the first
/// line has no tab, a text per line; its quotation marks are text.
///
/// A label is a string; in JSON and Parquet also a number or a boolean, as JSON spells them. An
/// empty label counts as missing.
///
/// ```
/// use dataset::{TableOptions, TableReader};
///
/// let csv = "id;Text;Label\n1;\"see you; then\";ham\n2;WIN NOW;spam\n";
/// let options = TableOptions::default();
/// let mut reader = TableReader::from_reader(csv.as_bytes(), "mails.csv", &options, true)?;
/// let chunk = reader.next_chunk(100)?.expect("two rows");
/// assert_eq!(chunk.texts(), ["see you; then", "WIN NOW"]);
/// assert_eq!(chunk.labels()[1].as_deref(), Some("spam"));
/// assert_eq!(chunk.columns(), ["id", "Text", "Label"]);
/// assert!(reader.next_chunk(100)?.is_none());
/// assert_eq!(reader.take_notes(), ["mails.csv: CSV, separator \";\", header, 3 columns"]);
/// # Ok::<(), dataset::Error>(())
/// ```
pub struct TableReader {
    kind: Kind,
    source: Arc<Path>,
    row: usize,
    /// Files that are read after this one.
    waiting: VecDeque<Source>,
    options: TableOptions,
    wanted: Wanted,
    only_text_and_label: bool,
    description: String,
    notes: Vec<String>,
    /// Malformed UTF-8 sequences that were replaced in this file.
    replaced: Arc<AtomicUsize>,
}

enum Kind {
    Cells(Box<Cells>),
    Json(Box<Json>),
    Parquet(Box<Parquet>),
}

impl TableReader {
    /// Opens a file, a pipe, or standard input (`-`). Without `wants_label` the label column
    /// may be missing, unless it is named.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read; [`Error::Columns`] if columns are missing;
    /// [`Error::Line`] or [`Error::Table`] for other problems.
    pub fn open(
        path: impl Into<PathBuf>,
        options: &TableOptions,
        wants_label: bool,
    ) -> Result<Self> {
        Self::of_sources([Source::new(path)], options, Wanted::text(wants_label))
    }

    /// As [`TableReader::open`], of the rows of a shard. Errors number the rows of the file.
    ///
    /// # Errors
    /// As [`TableReader::open`]; [`Error::Table`] if the file was changed or lacks the row groups.
    pub fn open_shard(shard: &Shard, options: &TableOptions, wants_label: bool) -> Result<Self> {
        shard.check_unchanged()?;
        let mut reader = Self::open(&shard.path, options, wants_label)?;
        if let Some(groups) = &shard.row_groups {
            let Kind::Parquet(parquet) = &mut reader.kind else {
                return Err(Shard::changed(&shard.path, "it is not a Parquet file"));
            };
            reader.row = parquet.select_row_groups(groups.clone())?;
        }
        Ok(reader)
    }

    /// Opens several files, directories of files, or patterns ([`expand`]) as one table.
    ///
    /// # Errors
    /// As [`TableReader::open`] and [`expand`].
    pub fn open_all(paths: &[PathBuf], options: &TableOptions, wants_label: bool) -> Result<Self> {
        let sources = expand(paths)?.into_iter().map(Source::new);
        Self::of_sources(sources, options, Wanted::text(wants_label))
    }

    /// As [`TableReader::open_all`], of any columns: the chunks have records and no texts.
    ///
    /// # Errors
    /// As [`TableReader::open`] and [`expand`].
    pub fn open_records(paths: &[PathBuf], options: &TableOptions) -> Result<Self> {
        let options = TableOptions { columns: Default::default(), ..options.clone() };
        let sources = expand(paths)?.into_iter().map(Source::new);
        Self::of_sources(sources, &options, Wanted::Records)
    }

    pub(crate) fn of_sources(
        sources: impl IntoIterator<Item = Source>,
        options: &TableOptions,
        wanted: Wanted,
    ) -> Result<Self> {
        let mut waiting: VecDeque<Source> = sources.into_iter().collect();
        let Some(first) = waiting.pop_front() else {
            return Err(TableOptionError::NoFile.into());
        };
        let mut reader = Self::of_input(Input::open(&first, options)?, options.clone(), wanted)?;
        if !waiting.is_empty() {
            reader.notes.insert(0, format!("{} files are read as one table", waiting.len() + 1));
        }
        reader.waiting = waiting;
        Ok(reader)
    }

    /// As [`TableReader::open`], of a stream, which errors call `name`.
    ///
    /// # Errors
    /// As [`TableReader::open`].
    pub fn from_reader(
        source: impl Read + Send + 'static,
        name: impl Into<PathBuf>,
        options: &TableOptions,
        wants_label: bool,
    ) -> Result<Self> {
        let input = Input::of_stream(Box::new(source), None, name.into(), options)?;
        Self::of_input(input, options.clone(), Wanted::text(wants_label))
    }

    fn of_input(mut input: Input, options: TableOptions, wanted: Wanted) -> Result<Self> {
        let source: Arc<Path> = input.name.as_path().into();
        let mut parts: Vec<String> = input.layers.drain(..).map(str::to_owned).collect();
        let replaced = Arc::clone(&input.replaced);
        let kind = Kind::open(input, &options, wanted)?;
        parts.push(match &kind {
            Kind::Cells(cells) => cells.describe(),
            Kind::Json(json) => json.describe(),
            Kind::Parquet(parquet) => parquet.describe(),
        });
        let description = parts.join(", ");
        let ignored = kind.ignored(&options);
        let notes = [Some(description.clone()), ignored].into_iter().flatten();
        let notes = notes.map(|note| format!("{}: {note}", source.display())).collect();
        let waiting = VecDeque::new();
        Ok(Self {
            kind,
            source,
            row: 0,
            waiting,
            options,
            wanted,
            only_text_and_label: false,
            description,
            notes,
            replaced,
        })
    }

    /// Reads only the columns of text and label, where that saves time, as in Parquet. The
    /// chunks then lack the other columns.
    pub fn only_text_and_label(mut self) -> Self {
        self.only_text_and_label = true;
        if let Kind::Parquet(parquet) = &mut self.kind {
            parquet.select_text_and_label();
        }
        self
    }

    /// Returns the next rows, at least one and at most `most` (fewer if they are long), or
    /// `None` at the end. They are from one file.
    ///
    /// # Errors
    /// [`Error::Line`], in Parquet [`Error::Row`], for the first malformed row;
    /// [`Error::Storage`]; errors of the next file.
    pub fn next_chunk(&mut self, most: usize) -> Result<Option<Chunk>> {
        let most = most.max(1);
        loop {
            let rows = match &mut self.kind {
                Kind::Cells(cells) => cells.next_rows(most)?,
                Kind::Json(json) => json.next_rows(most)?,
                Kind::Parquet(parquet) => parquet.next_rows(most)?,
            };
            if let Some(rows) = rows {
                let first = self.row;
                self.row += rows.texts.len();
                return Ok(Some(self.chunk(first, rows)));
            }
            self.add_notes();
            let Some(next) = self.waiting.pop_front() else { return Ok(None) };
            let input = Input::open(&next, &self.options)?;
            let mut reader = Self::of_input(input, self.options.clone(), self.wanted)?;
            if reader.description == self.description {
                reader.notes.clear();
            }
            if self.only_text_and_label {
                reader = reader.only_text_and_label();
            }
            self.notes.append(&mut reader.notes);
            reader.notes = std::mem::take(&mut self.notes);
            reader.waiting = std::mem::take(&mut self.waiting);
            *self = reader;
        }
    }

    /// Adds the notes on a file that was read.
    fn add_notes(&mut self) {
        let notes = match &self.kind {
            Kind::Cells(cells) => cells.notes(),
            Kind::Json(_) | Kind::Parquet(_) => Vec::new(),
        };
        let replaced = self.replaced.load(Ordering::Relaxed);
        let lossy = (replaced > 0)
            .then(|| format!("{replaced} malformed UTF-8 sequences were replaced by U+FFFD"));
        let name = self.source.display();
        self.notes.extend(notes.into_iter().chain(lossy).map(|note| format!("{name}: {note}")));
    }

    fn chunk(&self, first: usize, rows: Rows) -> Chunk {
        let (names, metadata) = match &self.kind {
            Kind::Cells(cells) => (Arc::clone(cells.names()), Metadata::default()),
            Kind::Json(_) => (Arc::default(), Metadata::default()),
            Kind::Parquet(parquet) => (Arc::clone(parquet.selected()), parquet.passed_on()),
        };
        Chunk { rows, first, names, metadata, source: Arc::clone(&self.source) }
    }

    /// Returns a chunk of this table without rows, to write a table without rows that has
    /// columns.
    ///
    /// # Errors
    /// [`Error::Table`].
    pub fn no_rows(&mut self) -> Result<Chunk> {
        let records = match &mut self.kind {
            Kind::Cells(cells) => cells.no_rows()?,
            Kind::Json(_) => Records::Objects(Vec::new()),
            Kind::Parquet(parquet) => parquet.no_rows()?,
        };
        Ok(self.chunk(self.row, Rows { records, ..Rows::default() }))
    }

    /// Returns the names of all columns of the file, read or not; in JSON the columns of a
    /// chunk.
    pub(crate) fn columns(&self, chunk: &Chunk) -> Vec<String> {
        match &self.kind {
            Kind::Parquet(parquet) => parquet.names().to_vec(),
            Kind::Cells(_) | Kind::Json(_) => chunk.columns(),
        }
    }

    /// Returns the name of the file that is read, in messages.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Returns the format of the file that is read.
    pub fn format(&self) -> Format {
        match &self.kind {
            Kind::Cells(cells) if cells.is_tsv() => Format::Tsv,
            Kind::Cells(_) => Format::Csv,
            Kind::Json(_) => Format::Jsonl,
            Kind::Parquet(_) => Format::Parquet,
        }
    }

    /// Returns what was detected and what may surprise, one sentence each, and forgets it.
    /// Notes on a whole file are there once it was read.
    pub fn take_notes(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.notes);
        if notes.len() > MOST_NOTES {
            let more = notes.len() - MOST_NOTES;
            notes.truncate(MOST_NOTES);
            notes.push(format!("and {more} more notes on the files"));
        }
        notes
    }

    /// Returns whether the file is CSV or TSV without a header.
    pub(crate) fn is_headerless(&self) -> bool {
        matches!(&self.kind, Kind::Cells(cells) if cells.is_headerless())
    }
}

impl Kind {
    fn open(input: Input, options: &TableOptions, wanted: Wanted) -> Result<Self> {
        let hint = options.format.unwrap_or_else(|| Format::of(&input.name));
        if hint == Format::Parquet || (options.format.is_none() && input.is_parquet()) {
            let parquet = Parquet::open(input, &options.columns, wanted)?;
            return Ok(Self::Parquet(Box::new(parquet)));
        }
        if input.is_parquet() {
            let reason = format!("it is a Parquet file, not {hint}");
            return Err(Error::Table { path: input.name, reason });
        }
        if hint == Format::Jsonl || (options.format.is_none() && is_json(&input)) {
            return Ok(Self::Json(Box::new(Json::open(input, options.columns.clone(), wanted)?)));
        }
        Ok(Self::Cells(Box::new(Cells::open(input, hint, options, wanted)?)))
    }

    /// Returns the note on options that do not apply to the format.
    fn ignored(&self, options: &TableOptions) -> Option<String> {
        let (format, has_encoding) = match self {
            Self::Cells(_) => return None,
            Self::Json(_) => ("JSON", true),
            Self::Parquet(_) => ("Parquet", false),
        };
        let given = [
            ("separator", options.separator.is_some()),
            ("quote-char", options.quote_char.is_some()),
            ("no-header", options.no_header),
            ("encoding", options.encoding.is_some() && !has_encoding),
        ];
        let names: Vec<&str> =
            given.into_iter().filter_map(|(name, is_given)| is_given.then_some(name)).collect();
        let note =
            || format!("ignored options, which do not apply to {format}: {}", names.join(", "));
        (!names.is_empty()).then(note)
    }
}

/// Returns whether the first bytes are an array of objects or a line with an object.
fn is_json(input: &Input) -> bool {
    let beginning = input.beginning();
    let line = beginning.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_object =
        |line| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line).is_ok();
    (beginning.first() == Some(&b'[') && beginning.len() > 1 && json::is_array(beginning))
        || (beginning.first() == Some(&b'{') && is_object(line))
}

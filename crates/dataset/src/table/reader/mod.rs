//! Reading tables in chunks.

mod csv;
mod delimited;
mod json_lines;
mod lines;
mod parquet;
mod parquet_errors;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use self::lines::{NUL, label_text_problem, not_utf8, too_long};
use self::{
    delimited::{Cells, Rows},
    json_lines::Jsonl,
    parquet::Parquet,
};
pub use self::{
    lines::{LONGEST_LINE, Lines},
    parquet_errors::catches_panics,
};
use super::{
    chunk::{Chunk, Columned},
    columns::Columns,
    format::Format,
    records::Records,
};
use crate::error::{Error, Result};

/// Reader of a table in chunks.
///
/// Of a TSV or CSV file the first line is a header if columns were asked for by
/// name, or if it has the columns `text` and `label` (`text` alone where no label
/// is wanted). A TSV file without a header has a label, a tab and a text per line, or, where
/// no label is wanted and the first line has no tab, a text per line. A CSV file must have
/// a header.
///
/// A label is a string; in JSON Lines and Parquet also a whole number or a
/// boolean, which are kept as JSON spells them. An empty label counts as missing.
///
/// ```
/// use dataset::{Columns, Format, TableReader};
///
/// let csv = "id,Text,Label\n1,\"see you, then\",ham\n2,WIN NOW,spam\n";
/// let mut reader = TableReader::from_reader(
///     csv.as_bytes(), Format::Csv, "standard input", &Columns::default(), true,
/// )?;
/// let chunk = reader.next_chunk(100)?.expect("two rows");
/// assert_eq!(chunk.texts(), ["see you, then", "WIN NOW"]);
/// assert_eq!(chunk.labels()[1].as_deref(), Some("spam"));
/// assert_eq!(chunk.columns(), ["id", "Text", "Label"]);
/// assert!(reader.next_chunk(100)?.is_none());
/// # Ok::<(), dataset::Error>(())
/// ```
pub struct TableReader {
    kind: Kind,
    source: Arc<Path>,
    row: usize,
}

enum Kind {
    Cells(Cells),
    Jsonl(Jsonl),
    Parquet(Box<Parquet>),
}

impl TableReader {
    /// Opens a file; without `format` its extension decides ([`Format::of`]).
    /// Without `wants_label` there need be no label, unless it was asked for by
    /// name.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read, [`Error::Columns`] if the columns are not
    /// there; [`Error::Line`] or [`Error::Table`] for other problems of the file.
    pub fn open(
        path: impl AsRef<Path>,
        format: Option<Format>,
        columns: &Columns,
        wants_label: bool,
    ) -> Result<Self> {
        let path = path.as_ref();
        let format = format.unwrap_or_else(|| Format::of(path));
        let file = File::open(path).map_err(storage::Error::read(path))?;
        if format == Format::Parquet {
            let parquet = Parquet::open(file, path, columns, wants_label)?;
            return Ok(Self {
                kind: Kind::Parquet(Box::new(parquet)),
                source: path.into(),
                row: 0,
            });
        }
        Self::from_reader(file, format, path, columns, wants_label)
    }

    /// As [`TableReader::open`], of a stream; messages call it `name`.
    ///
    /// # Errors
    /// As [`TableReader::open`]; [`Error::Config`] for Parquet, of which the end
    /// has to be read first.
    pub fn from_reader(
        source: impl Read + Send + 'static,
        format: Format,
        name: impl Into<PathBuf>,
        columns: &Columns,
        wants_label: bool,
    ) -> Result<Self> {
        let name = name.into();
        let path: Arc<Path> = name.as_path().into();
        let lines = Lines::new(source, name);
        let kind = match format {
            Format::Tsv => Kind::Cells(Cells::open(Rows::tsv(lines), columns, wants_label)?),
            Format::Csv => Kind::Cells(Cells::open(Rows::csv(lines), columns, wants_label)?),
            Format::Jsonl => Kind::Jsonl(Jsonl::new(lines, columns.clone())),
            Format::Parquet => {
                return Err(Error::Config(format!(
                    "Parquet cannot be read from {}: its end has to be read first; give a file",
                    path.display()
                )));
            }
        };
        Ok(Self { kind, source: path, row: 0 })
    }

    /// The next rows, at least one and at most `most` (fewer if they are long), or
    /// `None` at the end.
    ///
    /// # Errors
    /// [`Error::Line`], or of Parquet [`Error::Row`], for the first row that is
    /// none; [`Error::Storage`].
    pub fn next_chunk(&mut self, most: usize) -> Result<Option<Chunk>> {
        let most = most.max(1);
        let chunk = match &mut self.kind {
            Kind::Cells(cells) => cells.next_chunk(most)?,
            Kind::Jsonl(jsonl) => jsonl.next_chunk(most)?,
            Kind::Parquet(parquet) => parquet.next_chunk(most)?,
        };
        let Some(Columned { texts, labels, records }) = chunk else { return Ok(None) };
        let first = self.row;
        self.row += texts.len();
        Ok(Some(Chunk { texts, labels, first, records, source: Arc::clone(&self.source) }))
    }

    /// A chunk of this table without rows: what to write of a table that has none,
    /// so that its columns are kept.
    pub fn no_rows(&self) -> Chunk {
        let records = match &self.kind {
            Kind::Cells(cells) => cells.no_rows(),
            Kind::Jsonl(_) => Records::default(),
            Kind::Parquet(parquet) => parquet.no_rows(),
        };
        Chunk {
            texts: Vec::new(),
            labels: Vec::new(),
            first: self.row,
            records,
            source: Arc::clone(&self.source),
        }
    }

    /// Whether this is a TSV file without a header.
    pub(crate) fn is_headless(&self) -> bool {
        matches!(&self.kind, Kind::Cells(cells) if !cells.has_header())
    }
}

//! Writing tables in chunks.

mod output;
mod parquet;
pub(crate) mod spelling;
mod text;

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

pub use self::output::Added;
use self::{
    output::{Plan, Problem, Sink},
    parquet::ParquetOut,
    text::TextOut,
};
use super::{chunk::Chunk, error::TableWriterError, format::Format};
use crate::error::{Error, Result};

/// Writer of a table in chunks: the columns of the chunks in their order, then the added
/// ones.
///
/// An added column with a name that is taken gets a name ending in `_2`, `_3` and so on.
/// Columns of Parquet keep their types and key-value metadata in Parquet; columns of text
/// formats are strings there, with a note on the columns of JSON with other values. In CSV and TSV a value that is not a string is spelled as in
/// JSON, and `null` is an empty cell. Dates and times are written as in ISO 8601.
///
/// ```
/// use dataset::{Added, TableOptions, TableReader, TableWriter};
///
/// let (csv, options) = ("text\nhello\n".as_bytes(), TableOptions::default());
/// let mut reader = TableReader::from_reader(csv, "standard input", &options, false)?;
/// let path = std::env::temp_dir().join("dataset-doc-labeled.jsonl");
/// let mut writer = TableWriter::create(&path, None)?;
/// while let Some(chunk) = reader.next_chunk(1024)? {
///     let label = Added::Strings(vec![Some("greeting".into()); chunk.len()]);
///     writer.write(&chunk, &[("label".into(), label)])?;
/// }
/// writer.finish()?;
/// assert_eq!(
///     std::fs::read_to_string(&path).unwrap(),
///     "{\"text\":\"hello\",\"label\":\"greeting\"}\n"
/// );
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), dataset::Error>(())
/// ```
pub struct TableWriter {
    kind: Kind,
    path: PathBuf,
    plan: Option<Plan>,
}

enum Kind {
    Text(Box<TextOut>),
    Parquet(Box<ParquetOut>),
}

impl TableWriter {
    /// Writes a file, which is there under its name once [`TableWriter::finish`]
    /// has returned; without `format` its extension decides ([`Format::of`]). A name that ends
    /// with `.gz` or `.zst` is compressed.
    ///
    /// # Errors
    /// [`Error::Storage`]; [`Error::Table`] for the name of another compression.
    pub fn create(path: impl AsRef<Path>, format: Option<Format>) -> Result<Self> {
        let path = path.as_ref();
        // A device or a pipe would be replaced by a file.
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(storage::Error::write(path)(io::Error::other(
                "expected a file, got a directory or a device",
            ))
            .into());
        }
        let sink = Sink::create(path)?;
        let kind = match format.unwrap_or_else(|| Format::of(path)) {
            Format::Parquet => Kind::Parquet(Box::new(ParquetOut::new(sink))),
            format => Kind::Text(Box::new(TextOut::new(sink, format))),
        };
        Ok(Self { kind, path: path.to_owned(), plan: None })
    }

    /// Writes to a stream, each chunk at once; messages call it `name`.
    ///
    /// # Errors
    /// [`Error::TableWriter`] for Parquet.
    pub fn to_writer(
        to: impl Write + Send + 'static,
        format: Format,
        name: impl Into<PathBuf>,
    ) -> Result<Self> {
        let path = name.into();
        if format == Format::Parquet {
            return Err(TableWriterError::ParquetStream { name: path }.into());
        }
        let sink = Sink::Stream(BufWriter::new(Box::new(to)));
        Ok(Self { kind: Kind::Text(Box::new(TextOut::new(sink, format))), path, plan: None })
    }

    /// Writes the rows of a chunk with the added columns. The first call determines the
    /// columns of the table.
    ///
    /// # Errors
    /// [`Error::TableWriter`] if the added columns are not as many as at first, or lack a value for
    /// a row; [`Error::Row`] or [`Error::Table`] for what the format or the columns cannot
    /// hold; [`Error::Storage`].
    pub fn write(&mut self, chunk: &Chunk, added: &[(String, Added)]) -> Result<()> {
        if let Some((name, values)) = added.iter().find(|(_, added)| added.len() != chunk.len()) {
            let (column, values, rows) = (name.clone(), values.len(), chunk.len());
            return Err(TableWriterError::AddedValues { column, values, rows }.into());
        }
        let first = self.plan.is_none();
        let plan = self
            .plan
            .get_or_insert_with(|| Plan::new(chunk, added.iter().map(|(name, _)| name.as_str())));
        if plan.added.len() != added.len() {
            let (added, expected) = (added.len(), plan.added.len());
            return Err(TableWriterError::AddedColumns { added, expected }.into());
        }
        let columns = plan.added.iter().zip(added);
        let columns: Vec<_> = columns.map(|(name, (_, values))| values.column(name)).collect();
        let written = match &mut self.kind {
            Kind::Text(text) => text.write(chunk, plan, &columns, first),
            Kind::Parquet(parquet) => parquet.write(chunk, plan, &columns),
        };
        written.map_err(|problem| match problem {
            Problem::Io(error) => storage::Error::write(&self.path)(error).into(),
            Problem::Row(row, reason) => {
                Error::Row { path: chunk.source.to_path_buf(), row: chunk.first + row + 1, reason }
            }
            Problem::Table(reason) => Error::Table { path: chunk.source.to_path_buf(), reason },
        })
    }

    /// Writes what is left, and gives a file its name. Returns notes on values, types and names
    /// that were changed.
    ///
    /// # Errors
    /// [`Error::Storage`]; [`Error::Table`] for what the format cannot hold.
    pub fn finish(self) -> Result<Vec<String>> {
        let (notes, finished) = match self.kind {
            Kind::Text(text) => {
                let count = text.not_finite;
                let note = || format!("{count} NaN or infinite values are null in JSON");
                let note = (count > 0).then(note);
                (Vec::from_iter(note), text.finish().map_err(Problem::Io))
            }
            Kind::Parquet(parquet) => (parquet.notes(self.plan.as_ref()), parquet.finish()),
        };
        finished.map_err(|problem| match problem {
            Problem::Io(error) => storage::Error::write(&self.path)(error).into(),
            Problem::Row(_, reason) | Problem::Table(reason) => {
                Error::Table { path: self.path.clone(), reason }
            }
        })?;
        let renamed = self.plan.and_then(|plan| plan.renamed);
        Ok(renamed.into_iter().chain(notes).collect())
    }
}

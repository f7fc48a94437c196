//! Columns, destination and errors of a table that is written.

use std::{
    collections::HashSet,
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

use flate2::write::GzEncoder;
use polars::prelude::{Column, DataType, NamedFrom, PolarsError, Series};
use storage::AtomicFile;

use crate::{
    error::{Error, Result},
    table::{
        chunk::Chunk,
        columns::{distinct, free_name, list},
        format::extension,
    },
};

/// Column added to a table, with a value for each row of a chunk. `None` is an empty cell,
/// `null` in JSON and Parquet.
#[derive(Clone, Debug, PartialEq)]
pub enum Added {
    /// Text.
    Strings(Vec<Option<String>>),
    /// Numbers, with as many digits as restore them exactly. NaN and infinite numbers are
    /// `null` in JSON.
    Floats(Vec<Option<f64>>),
    /// Counts.
    Integers(Vec<Option<i64>>),
}

impl Added {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Strings(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Integers(values) => values.len(),
        }
    }

    pub(crate) fn column(&self, name: &str) -> Column {
        match self {
            Self::Strings(values) => Series::new(name.into(), values).into(),
            Self::Floats(values) => Series::new(name.into(), values).into(),
            Self::Integers(values) => Series::new(name.into(), values).into(),
        }
    }
}

/// Columns of the output, according to the first chunk.
pub(crate) struct Plan {
    /// Names of the columns of the table.
    pub columns: Vec<String>,
    /// Names of these columns in a data frame.
    pub distinct: Vec<String>,
    /// Added columns, under their final names.
    pub added: Vec<String>,
    /// File of the first chunk.
    pub source: Arc<Path>,
    /// Note on added columns with a name that was taken.
    pub renamed: Option<String>,
}

/// Reason why a chunk cannot be written.
pub(crate) enum Problem {
    Io(io::Error),
    /// A row of the chunk, from 0.
    Row(usize, String),
    Table(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<PolarsError> for Problem {
    fn from(error: PolarsError) -> Self {
        match error {
            PolarsError::IO { error, .. } => {
                Self::Io(io::Error::new(error.kind(), error.to_string()))
            }
            error => Self::Table(format!(
                "a column cannot be written in this format; write Parquet: {error}"
            )),
        }
    }
}

impl Plan {
    pub fn new<'a>(chunk: &Chunk, wanted: impl Iterator<Item = &'a str>) -> Self {
        let columns = chunk.columns();
        let distinct = distinct(&columns);
        let mut taken: HashSet<String> = distinct.iter().cloned().collect();
        let (mut added, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
        for name in wanted {
            let free = free_name(&mut taken, name);
            if free != name {
                before.push(name);
                after.push(free.clone());
            }
            added.push(free);
        }
        let renamed = (!before.is_empty()).then(|| {
            format!(
                "the table has columns {} already; the added ones are called {}",
                list(&before),
                list(&after)
            )
        });
        Self { columns, distinct, added, source: Arc::clone(&chunk.source), renamed }
    }

    /// Returns the problem of a chunk whose column has another type than those before.
    pub fn other_type(&self, name: &str, [first, other]: [&DataType; 2]) -> Problem {
        let before = self.source.display();
        Problem::Table(format!(
            "its column {name:?} is of the type {other}, and in {before} of the type {first}, \
             which cannot hold its values; convert one, or write CSV or JSON Lines"
        ))
    }
}

/// Destination of the bytes.
pub(crate) enum Sink {
    File(File),
    Gzip(GzEncoder<File>),
    Zstd(zstd::Encoder<'static, File>),
    Stream(BufWriter<Box<dyn Write + Send>>),
}

/// File that has its name once it is committed.
type File = BufWriter<AtomicFile>;

/// Extensions of compressed files that are not written.
const OTHER_COMPRESSION: [&str; 8] = ["bz2", "xz", "zip", "7z", "lz4", "br", "sz", "z"];

impl Sink {
    /// Creates a file, compressed if its name ends with `.gz` or `.zst`.
    pub fn create(path: &Path) -> Result<Self> {
        let extension = extension(path).unwrap_or_default();
        if OTHER_COMPRESSION.contains(&extension.as_str()) {
            let reason = "this compression cannot be written; give a name that ends with .gz or \
                          .zst, or with neither";
            return Err(Error::Table { path: path.to_owned(), reason: reason.to_owned() });
        }
        let file = BufWriter::new(AtomicFile::create(path)?);
        Ok(match extension.as_str() {
            "gz" => Self::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            "zst" => Self::Zstd(zstd::Encoder::new(file, 0).map_err(storage::Error::write(path))?),
            _ => Self::File(file),
        })
    }

    pub fn finish(self) -> io::Result<()> {
        let file = match self {
            Self::Stream(mut stream) => return stream.flush(),
            Self::File(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.commit().map_err(storage::Error::into_io)
    }

    /// Flushes a stream, so that its reader sees the chunk.
    pub fn pass_on(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush(),
            _ => Ok(()),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::File(file) => file,
            Self::Gzip(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
            Self::Stream(stream) => stream,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }
}

//! Columns, destination and errors of a table that is written.

use std::{
    collections::HashSet,
    io::{self, BufWriter, Write},
};

use polars::prelude::{Column, NamedFrom, PolarsError, Series};
use storage::AtomicFile;

use crate::table::columns::{distinct, free_name};

/// Column added to a table, with a value for each row of a chunk. `None` is an empty cell,
/// `null` in JSON and Parquet.
#[derive(Clone, Debug, PartialEq)]
pub enum Added {
    /// Text.
    Strings(Vec<Option<String>>),
    /// Numbers, with as many digits as restore them exactly. NaN and infinite numbers are
    /// `null` in JSON.
    Floats(Vec<Option<f64>>),
}

impl Added {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Strings(values) => values.len(),
            Self::Floats(values) => values.len(),
        }
    }

    pub(crate) fn column(&self, name: &str) -> Column {
        match self {
            Self::Strings(values) => Series::new(name.into(), values).into(),
            Self::Floats(values) => Series::new(name.into(), values).into(),
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
    pub fn new<'a>(columns: Vec<String>, wanted: impl Iterator<Item = &'a str>) -> Self {
        let distinct = distinct(&columns);
        let mut taken: HashSet<String> = distinct.iter().cloned().collect();
        let added = wanted.map(|name| free_name(&mut taken, name)).collect();
        Self { columns, distinct, added }
    }
}

/// Destination of the bytes.
pub(crate) enum Sink {
    File(BufWriter<AtomicFile>),
    Stream(BufWriter<Box<dyn Write + Send>>),
}

impl Sink {
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Stream(mut stream) => stream.flush(),
            Self::File(file) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.commit().map_err(storage::Error::into_io)
            }
        }
    }

    /// Flushes a stream, so that its reader sees the chunk.
    pub fn pass_on(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush(),
            Self::File(_) => Ok(()),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

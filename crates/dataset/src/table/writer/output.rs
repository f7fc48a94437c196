//! Columns, destination and errors of a table that is written.

use std::{
    collections::HashSet,
    io::{self, BufWriter, Write},
};

use storage::AtomicFile;

/// Column added to a table, with a value for each row of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub enum Added {
    /// Text.
    Strings(Vec<String>),
    /// Numbers, written with as many digits as bring them back exactly. What is
    /// not finite is `null` in JSON.
    Floats(Vec<f64>),
}

impl Added {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Strings(values) => values.len(),
            Self::Floats(values) => values.len(),
        }
    }
}

/// Columns of the output, according to the first chunk.
pub(crate) struct Plan {
    /// Columns of the table.
    pub columns: Vec<String>,
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

impl Plan {
    pub fn new<'a>(columns: Vec<String>, wanted: impl Iterator<Item = &'a str>) -> Self {
        let mut taken: HashSet<String> = columns.iter().cloned().collect();
        let added = wanted
            .map(|name| {
                let mut free = name.to_owned();
                let mut number = 2usize;
                while !taken.insert(free.clone()) {
                    free = format!("{name}_{number}");
                    number += 1;
                }
                free
            })
            .collect();
        Self { columns, added }
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

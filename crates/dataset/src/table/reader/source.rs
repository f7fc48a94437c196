//! Files, patterns, directories and pipes that tables are read from.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{Error, Result},
    table::format::Format,
};

/// Path that stands for standard input.
const STDIN: &str = "-";

/// File or pipe that a table is read from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: PathBuf,
    /// Content of a pipe, which can be read only once.
    spooled: Option<Arc<File>>,
}

impl Source {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), spooled: None }
    }

    /// Returns the name in messages.
    pub fn name(&self) -> &Path {
        if self.is_stdin() { Path::new("standard input") } else { &self.path }
    }

    fn is_stdin(&self) -> bool {
        self.path.as_os_str() == STDIN
    }

    /// Copies a pipe to a temporary file, so that it can be opened several times.
    pub fn spooled(mut self) -> Result<Self> {
        if self.is_stdin() || self.path.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir()) {
            self.spooled = Some(Arc::new(spool(self.open()?.0, self.name())?));
        }
        Ok(self)
    }

    /// Opens the file as a stream, and as a file if it is a regular one.
    pub fn open(&self) -> Result<(Box<dyn Read + Send>, Option<File>)> {
        let open = || -> io::Result<(Box<dyn Read + Send>, Option<File>)> {
            if let Some(spooled) = &self.spooled {
                let mut file = spooled.try_clone()?;
                file.rewind()?;
                return Ok((Box::new(file.try_clone()?), Some(file)));
            }
            if self.is_stdin() {
                return Ok((Box::new(io::stdin()), None));
            }
            let file = File::open(&self.path)?;
            let regular = file.metadata()?.is_file().then(|| file.try_clone()).transpose()?;
            Ok((Box::new(file), regular))
        };
        Ok(open().map_err(storage::Error::read(self.name()))?)
    }

    /// Returns the SHA-256 of the content in hexadecimal.
    pub fn sha256(&self) -> Result<String> {
        let (mut stream, _) = self.open()?;
        let mut hasher = storage::Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(storage::Error::read(self.name())(error).into()),
            }
        }
    }
}

/// Copies a stream to a temporary file without a name.
pub(crate) fn spool(mut stream: impl Read, name: &Path) -> Result<File> {
    let mut copy = || -> io::Result<File> {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut stream, &mut file)?;
        file.rewind()?;
        Ok(file)
    };
    Ok(copy().map_err(storage::Error::read(name))?)
}

/// Replaces directories by the tables in them and patterns (`shard-*.parquet`) by the files
/// that match, both in alphabetical order and without those whose name begins with `.` or `_`,
/// which are hidden or mark a job as done. Other paths stay, whether they exist or not.
///
/// # Errors
/// [`Error::Table`] if nothing matches or a directory has no table; [`Error::Storage`].
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let pattern = path.to_str().filter(|text| text.contains(['*', '?', '[']));
        let found = match pattern {
            _ if path.is_dir() => tables_in(path)?,
            Some(pattern) if !path.exists() => matching(path, pattern)?,
            _ => vec![path.clone()],
        };
        files.extend(found);
    }
    Ok(files)
}

fn tables_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = storage::Error::read;
    let mut files = Vec::new();
    for entry in directory.read_dir().map_err(read(directory))? {
        let path = entry.map_err(read(directory))?.path();
        let hidden = path.file_name().is_none_or(is_hidden);
        let table = path.extension().is_some() && Format::of_input(&path).is_some();
        if table && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    not_empty(directory, files, "the directory has no CSV, TSV, JSON or Parquet file")
}

fn matching(path: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let table = |reason: String| Error::Table { path: path.to_owned(), reason };
    let found = glob::glob(pattern).map_err(|error| table(error.to_string()))?;
    let files: Result<Vec<PathBuf>, _> = found.collect();
    let mut files = files.map_err(|error| table(error.to_string()))?;
    // A pattern may ask for them.
    let asked = |name: &OsStr| {
        names(path).any(|part| {
            let first = |name: &OsStr| name.as_encoded_bytes().first().copied();
            part == name || (is_pattern(part) && first(part) == first(name))
        })
    };
    files.retain(|file| file.is_file() && names(file).all(|name| !is_hidden(name) || asked(name)));
    not_empty(path, files, "no file matches the pattern, files that begin with . or _ aside")
}

fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

fn is_hidden(name: &OsStr) -> bool {
    matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_'))
}

fn is_pattern(name: &OsStr) -> bool {
    name.as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

fn not_empty(path: &Path, files: Vec<PathBuf>, reason: &str) -> Result<Vec<PathBuf>> {
    if files.is_empty() {
        return Err(Error::Table { path: path.to_owned(), reason: reason.to_owned() });
    }
    Ok(files)
}

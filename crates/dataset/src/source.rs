//! Where training data comes from.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result},
    table::{Columns, Format},
};

/// The files of labelled text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// One file, which is split.
    One(PathBuf),
    /// A file for each part.
    Given {
        /// What is trained on.
        train: PathBuf,
        /// What is looked at while training; without it, it is cut off the
        /// training file.
        #[serde(default)]
        validation: Option<PathBuf>,
        /// What is looked at in the end.
        test: PathBuf,
    },
}

/// Labelled text: the files and how they are read.
///
/// A path alone is one file, whose extension decides its format and whose columns
/// are called `text` and `label`.
///
/// ```
/// use dataset::{Data, Source};
///
/// assert_eq!(Data::from("reviews.csv").source, Source::One("reviews.csv".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The files.
    pub source: Source,
    /// The columns to use of each.
    #[serde(default)]
    pub columns: Columns,
    /// The format of each; without it, its extension decides.
    #[serde(default)]
    pub format: Option<Format>,
}

impl From<Source> for Data {
    fn from(source: Source) -> Self {
        Self { source, columns: Columns::default(), format: None }
    }
}

impl From<PathBuf> for Data {
    fn from(path: PathBuf) -> Self {
        Source::One(path).into()
    }
}

impl From<&PathBuf> for Data {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&Path> for Data {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl From<&str> for Data {
    fn from(path: &str) -> Self {
        Path::new(path).into()
    }
}

impl From<&Data> for Data {
    fn from(data: &Data) -> Self {
        data.clone()
    }
}

impl Source {
    /// Every file with the part that it is.
    fn files(&self) -> Vec<(&'static str, &Path)> {
        match self {
            Self::One(path) => vec![("all", path)],
            Self::Given { train, validation, test } => {
                let validation = validation.iter().map(|path| ("validation", path.as_path()));
                let ends = [("train", train.as_path()), ("test", test.as_path())];
                ends.into_iter().chain(validation).collect()
            }
        }
    }

    /// sha256 of the file in hexadecimal; of several, of their parts and sums.
    ///
    /// # Errors
    /// [`Error::Read`] for a file that cannot be read.
    pub fn sha256(&self) -> Result<String> {
        if let Self::One(path) = self {
            return file_sha256(path);
        }
        let mut all = String::new();
        for (part, path) in self.files() {
            all.push_str(&format!("{part} {}\n", file_sha256(path)?));
        }
        Ok(sha256(all.as_bytes()))
    }
}

/// sha256 of a file, in hexadecimal.
///
/// # Errors
/// [`Error::Read`] if it cannot be read.
pub fn file_sha256(path: &Path) -> Result<String> {
    let read = |cause| Error::Read { path: path.to_owned(), cause };
    let mut file = File::open(path).map_err(read)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&digest.finalize())),
            Ok(count) => digest.update(&buffer[..count]),
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(read(cause)),
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Settings files, read up to a size limit.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

use crate::error::{Error, Result};

/// Size limit in bytes: a larger file, or an endless one such as `/dev/zero`, is refused
/// before it fills the memory.
const LIMIT: u64 = 16 << 20;

/// Reads a settings file of at most 16 MiB.
///
/// # Errors
/// As for [`read_at_most`].
pub fn read_limited(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, LIMIT, "settings")
}

/// Reads a file of at most `limit` bytes; `contents` names them in the error.
///
/// # Errors
/// [`Error::Read`]; its [kind](Error::kind) is [`ErrorKind::FileTooLarge`] above the
/// limit.
pub fn read_at_most(path: &Path, limit: u64, contents: &str) -> Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            let reason = format!("it is longer than {} MiB, too long for {contents}", limit >> 20);
            return Err(io::Error::new(ErrorKind::FileTooLarge, reason));
        }
        Ok(bytes)
    };
    read().map_err(Error::read(path))
}

/// Reads a settings file of at most 16 MiB as UTF-8 text.
///
/// # Errors
/// As for [`read_limited`]; [`ErrorKind::InvalidData`] if the file is not UTF-8.
pub fn read_limited_text(path: &Path) -> Result<String> {
    let invalid = |_| io::Error::new(ErrorKind::InvalidData, "it is not valid UTF-8");
    String::from_utf8(read_limited(path)?).map_err(invalid).map_err(Error::read(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_above_the_limit_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        fs::write(&path, vec![b' '; LIMIT as usize]).unwrap();
        assert_eq!(read_limited(&path).unwrap().len() as u64, LIMIT);
        fs::write(&path, vec![b' '; LIMIT as usize + 1]).unwrap();
        let error = read_limited(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("longer than 16 MiB"), "{error}");
    }

    #[test]
    fn text_must_be_utf8() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        fs::write(&path, b"caf\xe9").unwrap();
        let error = read_limited_text(&path).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::InvalidData, path.as_path()));
    }
}

//! SHA-256 checksums in hexadecimal.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use sha2::Digest;

use crate::error::{Error, Result};

/// Incremental SHA-256 hasher.
///
/// ```
/// let mut hasher = storage::Sha256::new();
/// hasher.update("hello ");
/// hasher.update("world");
/// assert_eq!(hasher.finish(), storage::sha256(b"hello world"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Creates a hasher of no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// Returns the checksum of all bytes, as 64 hexadecimal digits.
    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns the SHA-256 of `bytes` in hexadecimal.
///
/// ```
/// let checksum = storage::sha256(b"abc");
/// assert!(checksum.starts_with("ba7816bf8f01cfea") && checksum.len() == 64);
/// ```
pub fn sha256(bytes: &[u8]) -> String {
    Sha256(sha2::Sha256::new_with_prefix(bytes)).finish()
}

/// Returns the SHA-256 of a file in hexadecimal.
///
/// # Errors
/// [`Error::Read`].
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::read(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::read(path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_larger_than_the_buffer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let bytes = vec![7; (256 << 10) + 5];
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(sha256_file(&path).unwrap(), sha256(&bytes));
        assert!(sha256_file(directory.path()).is_err());
    }
}

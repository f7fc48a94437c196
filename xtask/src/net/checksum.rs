//! Checksums and sizes of published files.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use storage::sha256_file;

/// A checksum, in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sum {
    /// SHA-256 of the content.
    Sha256(String),
    /// The name that git gives a file: SHA-1 of `blob <length>\0` and the content.
    /// Hugging Face says it of small files.
    GitBlob(String),
}

impl Sum {
    /// Reads a checksum that is 64 digits for SHA-256, 40 for a git blob.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        match (text.bytes().all(|byte| byte.is_ascii_hexdigit()), text.len()) {
            (true, 64) => Some(Self::Sha256(text)),
            (true, 40) => Some(Self::GitBlob(text)),
            _ => None,
        }
    }

    /// The checksum of the same kind of a file.
    pub fn of_file(&self, path: &Path) -> Result<Self> {
        Ok(match self {
            Self::Sha256(_) => Self::Sha256(sha256_file(path)?),
            Self::GitBlob(_) => {
                let content =
                    fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                let hash = Sha1::new().chain_update(format!("blob {}\0", content.len()));
                let bytes = hash.chain_update(content).finalize();
                Self::GitBlob(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
            }
        })
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(f, "sha256 {digits}"),
            Self::GitBlob(digits) => write!(f, "git blob {digits}"),
        }
    }
}

/// Size and checksum of a published file, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Bytes.
    pub size: Option<u64>,
    /// Checksum.
    pub sum: Option<Sum>,
    /// Bytes that it has at most, where `size` is not known.
    pub most: Option<u64>,
}

impl Expected {
    /// Bytes that are taken at most.
    pub fn limit(&self) -> u64 {
        self.size.or(self.most).unwrap_or(u64::MAX)
    }

    /// Refuses a file that is another one, saying how it differs.
    pub fn check(&self, path: &Path) -> Result<()> {
        let size =
            fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
        if let Some(expected) = self.size.filter(|&expected| expected != size) {
            bail!("it has {size} bytes, expected {expected}");
        }
        if let Some(expected) = &self.sum {
            let found = expected.of_file(path)?;
            if found != *expected {
                bail!("its checksum is {found}, expected {expected}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_equal_sha256sum_and_git() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "hello\n").unwrap();
        // From `sha256sum` and `git hash-object`.
        for digits in [
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "ce013625030ba8dba906f756967f9e9ca394464a",
        ] {
            let sum = Sum::parse(digits).unwrap();
            assert_eq!(sum.of_file(&path).unwrap(), sum);
            Expected { size: Some(6), sum: Some(sum), most: None }.check(&path).unwrap();
        }
        assert_eq!(Sum::parse("abc"), None);
        assert_eq!(Sum::parse(&"g".repeat(64)), None);
    }

    #[test]
    fn unexpected_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "hello").unwrap();
        let wrong = Expected { size: Some(6), ..Expected::default() }.check(&path).unwrap_err();
        assert_eq!(wrong.to_string(), "it has 5 bytes, expected 6");
        let sum = Sum::parse(&"0".repeat(64));
        let wrong = Expected { size: Some(5), sum, most: None }.check(&path).unwrap_err();
        assert!(wrong.to_string().starts_with("its checksum is sha256 2cf24dba"), "{wrong}");
    }
}

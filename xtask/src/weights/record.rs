//! `fetched.json`: the repository, commit and files of a fetched checkpoint.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use gpt2_config::RECORD;
use serde::{Deserialize, Serialize};
use storage::{read_limited, write_json};

use super::hub::{Snapshot, is_file_name};
use crate::net::{Expected, Sum};

/// Content of `fetched.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// `OWNER/NAME`, which the programs write into adapters.
    pub repository: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// The commit that it was.
    pub commit: String,
    pub files: BTreeMap<String, Fetched>,
    /// Files that the repository may have as well, and the cache they are from lacked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_lack: Vec<String>,
}

/// A fetched file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fetched {
    /// Bytes.
    pub size: u64,
    /// Published checksum, `sha256` or `git_blob`; else the SHA-256 of the bytes that came.
    #[serde(flatten)]
    pub sum: Sum,
}

impl Fetched {
    /// Returns whether a file is this one.
    pub fn is(&self, path: &Path) -> bool {
        let Self { size, sum } = self;
        let published = Expected { size: Some(*size), sum: Some(sum.clone()), most: None };
        path.is_file() && published.check(path).is_ok()
    }
}

impl Record {
    /// Reads the record of a directory, if there is one.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RECORD);
        if !path.is_file() {
            return Ok(None);
        }
        let unusable =
            || format!("{} is not the record of a fetched checkpoint; remove it", path.display());
        let record: Self = serde_json::from_slice(&read_limited(&path)?).with_context(unusable)?;
        // These files are replaced.
        match record.files.keys().find(|name| !is_file_name(name)) {
            Some(name) => Err(anyhow!("invalid file name {name:?}")).with_context(unusable),
            None => Ok(Some(record)),
        }
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        Ok(write_json(&folder.join(RECORD), self)?)
    }

    /// Returns whether every file is there. Refuses one that differs.
    pub fn is_complete(&self, folder: &Path) -> Result<bool> {
        let mut is_complete = true;
        for (name, Fetched { size, sum }) in &self.files {
            let path = folder.join(name);
            if !path.is_file() {
                is_complete = false;
                continue;
            }
            let published = Expected { size: Some(*size), sum: Some(sum.clone()), most: None };
            published.check(&path).with_context(|| {
                format!(
                    "{} has changed since it was fetched; --force fetches the published file in its \
                     place",
                    path.display()
                )
            })?;
        }
        Ok(is_complete)
    }

    /// Refuses a snapshot with other content under the same names.
    pub fn check_same(&self, snapshot: &Snapshot, folder: &Path) -> Result<()> {
        let is_same = |(name, fetched): (&String, &Fetched)| {
            let published = snapshot.file(name);
            published.is_some_and(|file| {
                let Expected { size, sum, .. } = &file.expected;
                size.is_none_or(|size| size == fetched.size)
                    && sum.as_ref().is_none_or(|sum| *sum == fetched.sum)
            })
        };
        if self.commit == snapshot.commit || self.files.iter().all(is_same) {
            return Ok(());
        }
        bail!(
            "{} has {} at commit {}, and {} is now another commit with other files: --force fetches \
             that one in its place, --out beside it",
            folder.display(),
            self.repository,
            self.commit,
            snapshot.commit
        )
    }
}

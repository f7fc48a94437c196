//! Output directory: manifest, parts, and the mark that all parts are there.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use dataset::Format;

use super::{
    MANIFEST_FILE, SUCCESS_FILE,
    error::ScoringError,
    manifest::{Difference, Manifest},
};
use crate::error::Result;

/// Directory with the parts of a manifest.
pub(super) struct OutputDirectory {
    path: PathBuf,
    parts: usize,
    pub format: Format,
}

impl OutputDirectory {
    /// Creates the directory with the manifest, or continues one with the same manifest.
    pub fn open(path: &Path, manifest: &Manifest, parts: usize, format: Format) -> Result<Self> {
        let directory = Self { path: path.to_owned(), parts, format };
        storage::create_directory(path)?;
        // Listed before the manifest is looked for: another process writes the manifest first, so
        // that a part in this list has a manifest.
        let names = directory.names()?;
        let foreign = |name: &String| ScoringError::Foreign {
            directory: path.to_owned(),
            name: name.clone(),
        };
        let file = path.join(MANIFEST_FILE);
        if !file.exists() {
            let mark = path.join(SUCCESS_FILE).exists().then(|| SUCCESS_FILE.to_owned());
            if let Some(name) = names.iter().chain(&mark).next() {
                return Err(foreign(name).into());
            }
            // Another process may do so at the same time, and with another manifest.
            storage::create_json(&file, manifest)?;
        }
        let bytes = fs::read(&file).map_err(storage::Error::read(&file))?;
        let found: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| ScoringError::Manifest { path: file, reason: error.to_string() })?;
        if let Some(Difference { what, expected, given }) = found.difference(manifest) {
            let directory = path.to_owned();
            return Err(ScoringError::Changed { directory, what, expected, given }.into());
        }
        if let Some(name) = names.iter().find(|name| directory.index(name).is_none()) {
            return Err(foreign(name).into());
        }
        Ok(directory)
    }

    /// Returns the path of a part.
    pub fn part(&self, index: usize) -> PathBuf {
        self.path.join(self.name(index))
    }

    /// Returns whether a part is there, and so complete.
    pub fn has(&self, index: usize) -> bool {
        self.part(index).is_file()
    }

    /// Returns the missing parts.
    pub fn missing(&self) -> Result<BTreeSet<usize>> {
        let present: BTreeSet<usize> =
            self.names()?.iter().filter_map(|name| self.index(name)).collect();
        Ok((0..self.parts).filter(|index| !present.contains(index)).collect())
    }

    /// Removes the mark of a complete directory, in which parts are missing.
    pub fn remove_mark(&self) -> Result<()> {
        let path = self.path.join(SUCCESS_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(storage::Error::write(path)(error).into())
            }
            _ => Ok(()),
        }
    }

    /// Marks the directory as complete.
    pub fn mark_success(&self) -> Result<()> {
        let path = self.path.join(SUCCESS_FILE);
        if path.exists() {
            return Ok(());
        }
        Ok(storage::write_atomic(&path, b"")?)
    }

    fn name(&self, index: usize) -> String {
        format!("part-{index:05}-of-{:05}.{}", self.parts, self.format)
    }

    /// Returns the index of the part with a name.
    fn index(&self, name: &str) -> Option<usize> {
        let (index, _) = name.strip_prefix("part-")?.split_once('-')?;
        let index = index.parse().ok()?;
        (index < self.parts && self.name(index) == name).then_some(index)
    }

    /// Returns the names of the files, without the manifest, the mark and hidden files, which
    /// killed processes leave.
    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(storage::Error::read(&self.path))? {
            let entry = entry.map_err(storage::Error::read(&self.path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && name != MANIFEST_FILE && name != SUCCESS_FILE {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_recognized() {
        let parts =
            |parts| OutputDirectory { path: PathBuf::from("out"), parts, format: Format::Parquet };
        let few = parts(123);
        assert_eq!(few.part(17), Path::new("out/part-00017-of-00123.parquet"));
        for (name, index) in [
            ("part-00017-of-00123.parquet", Some(17)),
            ("part-00123-of-00123.parquet", None),
            ("part-00017-of-00124.parquet", None),
            ("part-17-of-00123.parquet", None),
            ("part-+0017-of-00123.parquet", None),
            ("part-00017-of-00123.csv", None),
            ("a.parquet", None),
        ] {
            assert_eq!(few.index(name), index, "{name}");
        }
        let many = parts(1_000_000);
        assert_eq!(many.index(&many.name(123_456)), Some(123_456));
    }
}

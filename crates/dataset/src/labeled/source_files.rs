//! Files that examples come from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Position;

/// File of examples, and the number of rows of the files before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The file; not stored, because a run does not depend on where its data is.
    #[serde(skip)]
    pub path: PathBuf,
    /// First row of the file among all rows, from 0.
    pub first_row: usize,
    /// The rows, counted in the file from 0, whose line does not follow the line of the row
    /// before, and their lines, from 1; none if the format has no lines.
    pub lines: Vec<(usize, usize)>,
}

impl SourceFile {
    /// Describes a file without rows.
    pub(crate) fn new(path: &Path, first_row: usize) -> Self {
        Self { path: path.to_owned(), first_row, lines: Vec::new() }
    }

    /// Adds the line of the next row, counted in the file.
    pub(crate) fn push_line(&mut self, row: usize, line: usize) {
        if self.position(row) != Position::Line(line) {
            self.lines.push((row, line));
        }
    }

    fn position(&self, row: usize) -> Position {
        let follows = self.lines.partition_point(|&(first, _)| first <= row);
        match self.lines[..follows].last() {
            Some((first, line)) => Position::Line(line + row - first),
            None => Position::Row(row + 1),
        }
    }
}

/// Files of the training, validation and test set. Sets that are split off have the files of the
/// training set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFiles {
    /// Files of the training set.
    pub train: Vec<SourceFile>,
    /// Files of the validation set, if they are separate.
    pub validation: Option<Vec<SourceFile>>,
    /// Files of the test set, if they are separate.
    pub test: Option<Vec<SourceFile>>,
}

impl SourceFiles {
    /// Adds the paths to stored files; `None` if there are more or fewer.
    pub(crate) fn with_paths(mut self, paths: [Option<Vec<PathBuf>>; 3]) -> Option<Self> {
        let files = [Some(&mut self.train), self.validation.as_mut(), self.test.as_mut()];
        for (files, paths) in files.into_iter().zip(paths) {
            let (files, paths) =
                (files.map_or(&mut [][..], |files| files), paths.unwrap_or_default());
            if files.len() != paths.len() {
                return None;
            }
            files.iter_mut().zip(paths).for_each(|(file, path)| file.path = path);
        }
        Some(self)
    }

    /// Returns the files of the training, validation and test set.
    pub fn sets(&self) -> [&[SourceFile]; 3] {
        [
            &self.train,
            self.validation.as_deref().unwrap_or(&self.train),
            self.test.as_deref().unwrap_or(&self.train),
        ]
    }
}

/// Returns the file of a row of a set, and where it is in the file.
pub fn locate(files: &[SourceFile], row: usize) -> (&Path, Position) {
    let file = files.iter().rev().find(|file| file.first_row <= row);
    file.map_or((Path::new(""), Position::Row(row + 1)), |file| {
        (&file.path, file.position(row - file.first_row))
    })
}

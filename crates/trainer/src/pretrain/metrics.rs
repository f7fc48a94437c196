//! `metrics.jsonl` of a pretraining run, which goes on where the run goes on.

use std::{
    fs::{self, File, OpenOptions},
    io::{LineWriter, Write},
    path::{Path, PathBuf},
};

use super::events::PretrainEvent;
use crate::{
    error::{Error, Result},
    files::write_atomically,
};

/// Writes events to a file as they happen.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    file: LineWriter<File>,
}

impl Metrics {
    /// Opens the file of a run that has taken so many steps. What a run wrote after
    /// its last checkpoint is dropped: it will happen again.
    pub fn open(path: &Path, steps: usize) -> Result<Self> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let mut kept = String::new();
        if steps > 0 {
            let text = match fs::read_to_string(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                read => read.map_err(failed)?,
            };
            for line in text.lines() {
                // A line that was cut off when the run was killed is no event.
                let event = serde_json::from_str::<PretrainEvent>(line);
                if event.is_ok_and(|event| event.step() <= steps) {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
        }
        write_atomically(path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file: LineWriter::new(file) })
    }

    pub fn write(&mut self, event: &PretrainEvent) -> Result<()> {
        let failed = |source| Error::Write { path: self.path.clone(), source };
        let mut line = serde_json::to_string(event).map_err(|error| failed(error.into()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_happen_again_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let event = |step| PretrainEvent::Sample { step, text: "a".to_owned() };
        let mut metrics = Metrics::open(&path, 0).unwrap();
        for step in [1, 2, 3] {
            metrics.write(&event(step)).unwrap();
        }
        drop(metrics);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"event\":\"sam");
        fs::write(&path, text).unwrap();
        Metrics::open(&path, 2).unwrap().write(&event(9)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let steps: Vec<usize> = text
            .lines()
            .map(|line| serde_json::from_str::<PretrainEvent>(line).unwrap().step())
            .collect();
        assert_eq!(steps, [1, 2, 9]);
        drop(Metrics::open(&path, 0).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}

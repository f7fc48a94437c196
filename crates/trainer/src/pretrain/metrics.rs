//! `metrics.jsonl` of a pretraining run, which goes on where the run goes on.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use super::events::PretrainEvent;
use crate::{
    error::{Error, Result},
    run::files::{JsonLines, write_atomically},
};

/// Opens the file of a run that has taken so many steps. What a run wrote after
/// its last checkpoint is dropped: it will happen again.
pub(crate) fn open(path: &Path, steps: usize) -> Result<JsonLines> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let mut kept = String::new();
    if steps > 0 {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
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
    JsonLines::append(path, kept.as_bytes())
}

/// Whether a file is that of a pretraining, if only begun.
pub(crate) fn is_begun(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let mut first = String::new();
    // An event is not long.
    match BufReader::new(file).take(1 << 20).read_line(&mut first) {
        Ok(_) if first.ends_with('\n') => serde_json::from_str::<PretrainEvent>(&first).is_ok(),
        Ok(_) => first.is_empty() || first.starts_with("{\"event\":"),
        Err(_) => false,
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
        let mut metrics = open(&path, 0).unwrap();
        for step in [1, 2, 3] {
            metrics.write(&event(step)).unwrap();
        }
        drop(metrics);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"event\":\"sam");
        fs::write(&path, text).unwrap();
        open(&path, 2).unwrap().write(&event(9)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let steps: Vec<usize> = text
            .lines()
            .map(|line| serde_json::from_str::<PretrainEvent>(line).unwrap().step())
            .collect();
        assert_eq!(steps, [1, 2, 9]);
        drop(open(&path, 0).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}

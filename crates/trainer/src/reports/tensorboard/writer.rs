//! Writer of event files.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message;

use super::{
    proto::{Metadata, Plugin, Record, Shape, Size, Strings, Summary, Value},
    record::framed,
};
use crate::{
    error::{Error, Result},
    training::event::Event,
};

/// File format, stored in the first record.
pub(super) const FILE_VERSION: &str = "brain.Event:2";

/// Event file that grows. Like `metrics.jsonl`, and unlike other files of a run, it has its
/// name from the beginning: TensorBoard reads it while it is written and skips an incomplete
/// last record.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
    /// Optimizer steps taken according to the events.
    steps: u64,
    /// Step of the last generated text, and its number among the texts of that step.
    sampled: Option<usize>,
    samples: usize,
}

impl EventWriter {
    /// Creates a new file in `folder`, which is created if missing, named like TensorBoard's:
    /// `events.out.tfevents.<seconds>.<host>.<process>.<number>`.
    pub fn create(folder: &Path) -> Result<Self> {
        /// Files created by this process.
        static CREATED: AtomicUsize = AtomicUsize::new(0);
        storage::create_directory(folder)?;
        let (time, host, process) = (now(), host_name(), std::process::id());
        loop {
            let number = CREATED.fetch_add(1, Ordering::Relaxed);
            let name = format!("events.out.tfevents.{time:010.0}.{host}.{process}.{number}");
            match Self::create_file(&folder.join(name), time) {
                // Another machine or container may share the folder and the name.
                Err(Error::Storage(error)) if error.kind() == ErrorKind::AlreadyExists => {}
                writer => return writer,
            }
        }
    }

    /// Creates the file `path`, whose name must contain `tfevents` for TensorBoard to find
    /// it. `wall_time` is the time of its first record, see [`now`].
    ///
    /// # Errors
    /// [`Error::Storage`], also if the file exists.
    pub fn create_file(path: &Path, wall_time: f64) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(storage::Error::write(path))?;
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            steps: 0,
            sampled: None,
            samples: 0,
        };
        let file_version = Some(FILE_VERSION.to_owned());
        writer.write(&Record { wall_time, step: 0, file_version, summary: None })?;
        writer.flush()?;
        Ok(writer)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a value to the curve `tag`, at `step` of the horizontal axis. TensorBoard stores
    /// values as float32 and groups curves by the prefix of their tags before `/`.
    /// `wall_time` is in seconds since 1970 ([`now`]).
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64, wall_time: f64) -> Result<()> {
        self.scalars(step, wall_time, &[(tag, value)])
    }

    /// Writes the values of an event with the current time. They can be read at once, except
    /// the values of [`Event::Step`], which are many and wait for the next other event.
    pub fn write_event(&mut self, event: &Event) -> Result<()> {
        self.write_event_at(event, now())
    }

    /// Writes the values of an event with the time at which it happened.
    pub fn write_event_at(&mut self, event: &Event, wall_time: f64) -> Result<()> {
        match *event {
            Event::Sample { step, ref prompt, ref text } => {
                self.samples = if self.sampled == Some(step) { self.samples + 1 } else { 1 };
                self.sampled = Some(step);
                let tag = format!("sample/{}", self.samples);
                self.text(&tag, step as u64 + 1, &markdown(prompt.as_deref(), text), wall_time)?;
            }
            Event::Tokens { steps, is_whole, measures } => {
                let group = if is_whole { "whole_validation" } else { "validation" };
                let kinds = [("completions", measures.completions), ("all", Some(measures.all))];
                for (kind, measures) in kinds {
                    let Some(measures) = measures else { continue };
                    let [perplexity, accuracy] =
                        ["perplexity", "accuracy"].map(|name| format!("{group}/{kind}_{name}"));
                    let values = [
                        (perplexity.as_str(), measures.perplexity),
                        (accuracy.as_str(), measures.accuracy),
                    ];
                    self.scalars(steps as u64, wall_time, &values)?;
                }
            }
            Event::Step { step, loss, learning_rate, gradient_norm, .. } => {
                self.steps = step as u64 + 1;
                let mut values = vec![("loss/train_batch", loss), ("learning_rate", learning_rate)];
                values.extend(gradient_norm.map(|norm| ("gradient_norm", norm)));
                return self.scalars(step as u64, wall_time, &values);
            }
            Event::Eval { step, train_loss, validation_loss } => {
                self.steps = step as u64 + 1;
                let values = [("loss/train", train_loss), ("loss/validation", validation_loss)];
                self.scalars(self.steps, wall_time, &values)?;
            }
            Event::Initial { train_accuracy, validation_accuracy, test_accuracy } => {
                let mut values = vec![
                    ("accuracy/train", train_accuracy),
                    ("accuracy/validation", validation_accuracy),
                ];
                values.extend(test_accuracy.map(|test| ("accuracy/test", test)));
                self.scalars(0, wall_time, &values)?;
            }
            Event::Epoch { train_accuracy, validation_accuracy, .. } => {
                let values = [
                    ("accuracy/train", train_accuracy),
                    ("accuracy/validation", validation_accuracy),
                ];
                self.scalars(self.steps, wall_time, &values)?;
            }
            Event::Validation { loss, accuracy, .. } => {
                let values =
                    [("whole_validation/loss", loss), ("whole_validation/accuracy", accuracy)];
                self.scalars(self.steps, wall_time, &values)?;
            }
            Event::Final { train_accuracy, validation_accuracy, test_accuracy, .. } => {
                let mut values = vec![
                    ("final_accuracy/train", train_accuracy),
                    ("final_accuracy/validation", validation_accuracy),
                ];
                values.extend(test_accuracy.map(|test| ("final_accuracy/test", test)));
                self.scalars(self.steps, wall_time, &values)?;
            }
        }
        self.flush()
    }

    /// Flushes everything, so that TensorBoard can read it. Dropping the writer does the same
    /// but cannot report an error.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.file.flush().map_err(storage::Error::write(&self.path))?)
    }

    fn scalars(&mut self, step: u64, wall_time: f64, values: &[(&str, f64)]) -> Result<()> {
        let value = |&(tag, value): &(&str, f64)| Value {
            tag: tag.to_owned(),
            simple_value: Some(value as f32),
            ..Value::default()
        };
        let summary = Some(Summary { values: values.iter().map(value).collect() });
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.write(&Record { wall_time, step, file_version: None, summary })
    }

    /// Writes Markdown for the text plugin.
    fn text(&mut self, tag: &str, step: u64, text: &str, wall_time: f64) -> Result<()> {
        /// `DT_STRING` of TensorFlow.
        const STRING: i32 = 7;
        let value = Value {
            tag: tag.to_owned(),
            tensor: Some(Strings {
                dtype: STRING,
                shape: Some(Shape { sizes: vec![Size { size: 1 }] }),
                values: vec![text.as_bytes().to_vec()],
            }),
            metadata: Some(Metadata { plugin: Some(Plugin { name: "text".to_owned() }) }),
            ..Value::default()
        };
        let summary = Some(Summary { values: vec![value] });
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.write(&Record { wall_time, step, file_version: None, summary })
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        let record = framed(&record.encode_to_vec());
        Ok(self.file.write_all(&record).map_err(storage::Error::write(&self.path))?)
    }
}

/// Returns a prompt and its continuation as code blocks, which keep their line breaks.
fn markdown(prompt: Option<&str>, text: &str) -> String {
    let block = |text: &str| {
        let lines = text.lines().map(|line| format!("    {line}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    match prompt {
        Some(prompt) => format!("Prompt:\n\n{}\n\nGenerated:\n\n{}", block(prompt), block(text)),
        None => block(text),
    }
}

/// Returns the current time in seconds since 1970; 0 if the clock is before.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Returns the host name, restricted to characters allowed in file names.
fn host_name() -> String {
    as_file_name(&gethostname::gethostname().to_string_lossy())
}

fn as_file_name(name: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    let name: String =
        name.chars().map(|char| if allowed(char) { char } else { '_' }).take(64).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::reports::tensorboard::event_reader::{read, scalars};

    #[test]
    fn file_names_are_unique_and_found_by_tensorboard() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        let writers = [(); 3].map(|()| EventWriter::create(&folder).unwrap());
        let mut names: Vec<&str> = writers
            .iter()
            .map(|writer| writer.path().file_name().unwrap().to_str().unwrap())
            .collect();
        for name in &names {
            let rest = name.strip_prefix("events.out.tfevents.").unwrap();
            let seconds: u64 = rest.split('.').next().unwrap().parse().unwrap();
            assert!(now() - seconds as f64 <= 60.0, "{name}");
            assert!(rest.contains(&format!(".{}.", std::process::id())), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 3);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    }

    #[test]
    fn host_name_may_be_anything() {
        assert_eq!(as_file_name("node-7.example"), "node-7.example");
        assert_eq!(as_file_name("../ü"), "..__");
        assert_eq!(as_file_name(""), "localhost");
    }

    #[test]
    fn existing_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tfevents");
        fs::write(&path, "mine").unwrap();
        let error = EventWriter::create_file(&path, 0.0).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write {}: ", path.display())), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        let error = EventWriter::create(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write {}: ", path.display())), "{error}");
    }

    #[test]
    fn values_are_at_the_number_of_steps_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path()).unwrap();
        let (learning_rate, gradient_norm, rows) = (0.125, Some(2.0), vec![1]);
        let step = |step, epoch, loss| {
            let rows = rows.clone();
            Event::Step { step, epoch, loss, learning_rate, gradient_norm, rows }
        };
        for event in [
            Event::Initial {
                train_accuracy: 0.5,
                validation_accuracy: 0.25,
                test_accuracy: Some(0.75),
            },
            step(0, 1, 2.0),
            Event::Eval { step: 0, train_loss: 1.5, validation_loss: 1.75 },
            step(1, 1, 1.0),
            Event::Epoch { epoch: 1, train_accuracy: 0.875, validation_accuracy: 0.625 },
            step(2, 2, 0.5),
            Event::Final {
                train_accuracy: 1.0,
                validation_accuracy: 0.125,
                test_accuracy: Some(0.375),
                trainable_parameters: 1,
                total_parameters: 2,
                seconds: 3.0,
            },
        ] {
            writer.write_event_at(&event, 10.0).unwrap();
        }
        let found = scalars(&fs::read(writer.path()).unwrap());
        let expected = [
            ("accuracy/train", 0, 0.5),
            ("accuracy/validation", 0, 0.25),
            ("accuracy/test", 0, 0.75),
            ("loss/train_batch", 0, 2.0),
            ("learning_rate", 0, 0.125),
            ("gradient_norm", 0, 2.0),
            ("loss/train", 1, 1.5),
            ("loss/validation", 1, 1.75),
            ("loss/train_batch", 1, 1.0),
            ("learning_rate", 1, 0.125),
            ("gradient_norm", 1, 2.0),
            ("accuracy/train", 2, 0.875),
            ("accuracy/validation", 2, 0.625),
            ("loss/train_batch", 2, 0.5),
            ("learning_rate", 2, 0.125),
            ("gradient_norm", 2, 2.0),
            ("final_accuracy/train", 3, 1.0),
            ("final_accuracy/validation", 3, 0.125),
            ("final_accuracy/test", 3, 0.375),
        ];
        let expected = expected.map(|(tag, step, value)| (tag.to_owned(), step, value, 10.0));
        assert_eq!(found, expected);
    }

    #[test]
    fn all_events_but_steps_are_flushed() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path()).unwrap();
        let count = |writer: &EventWriter| read(&fs::read(writer.path()).unwrap()).unwrap().len();
        assert_eq!(count(&writer), 1);
        writer
            .write_event(&Event::Eval { step: 0, train_loss: 1.0, validation_loss: 1.0 })
            .unwrap();
        assert_eq!(count(&writer), 2);
        writer.scalar("x", 1, 0.0, 0.0).unwrap();
        writer.flush().unwrap();
        assert_eq!(count(&writer), 3);
    }
}

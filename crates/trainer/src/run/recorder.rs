//! Recorder of the events and checkpoints of a run.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gpt2_model::TreeLine;
use storage::JsonLines;

use crate::{
    config::settings::OutputSettings,
    error::Result,
    reports::tensorboard::EventWriter,
    run::directory::METRICS,
    task::{classification::batches::Accuracies, data::Initial},
    training::{
        checkpoint::{self, Checkpoint, Identity, TrainingState},
        checkpoint_error::CheckpointError,
        event::Event,
        fit::{Action, TrainingHook},
        observer::{Observer, TrainingStart},
    },
};

/// Records the events of a run in its files, for its report and for the observer.
pub(crate) struct Recorder<'a> {
    /// None in a process that writes no files.
    files: Option<Files>,
    settings: OutputSettings,
    identity: Identity,
    stop: Arc<AtomicBool>,
    observer: &'a mut dyn Observer,
    events: Vec<Event>,
}

/// Files of the events and checkpoints.
struct Files {
    out: PathBuf,
    metrics: JsonLines,
    board: Option<EventWriter>,
}

impl<'a> Recorder<'a> {
    /// Creates the files of a run in `out`, if it is given, or continues the files of a checkpoint
    /// without the events after it, which will happen again.
    pub fn new(
        out: Option<&Path>,
        settings: &OutputSettings,
        identity: Identity,
        from: Option<&Checkpoint>,
        stop: Arc<AtomicBool>,
        observer: &'a mut dyn Observer,
    ) -> Result<Self> {
        let opened = out.map(|out| Files::open(out, settings, from)).transpose()?;
        let (files, events) = opened.unzip();
        let (settings, events) = (settings.clone(), events.unwrap_or_default());
        Ok(Self { files, settings, identity, stop, observer, events })
    }

    pub fn stage(&mut self, name: &str) {
        self.observer.stage(name);
    }

    pub fn notice(&mut self, note: &str) {
        self.observer.notice(note);
    }

    pub fn model(&mut self, tree: &[TreeLine]) {
        self.observer.model(tree);
    }

    pub fn training(&mut self, start: TrainingStart) {
        self.observer.training(start);
    }

    /// Measures before training, if a checkpoint has them.
    pub fn initial(&self) -> Option<Initial> {
        let events = &self.events;
        let accuracies = events.iter().find_map(|event| match *event {
            Event::Initial { train_accuracy, validation_accuracy, test_accuracy } => {
                Some(Accuracies {
                    train: train_accuracy,
                    validation: validation_accuracy,
                    test: test_accuracy,
                })
            }
            _ => None,
        })?;
        let language_model = events.iter().find_map(|event| match *event {
            Event::Tokens { steps: 0, is_whole: true, measures } => Some(measures),
            _ => None,
        });
        Some(Initial { accuracies, language_model })
    }

    /// Syncs the file of events and returns all events of the run.
    pub fn into_events(self) -> Result<Vec<Event>> {
        if let Some(files) = &self.files {
            files.metrics.sync()?;
        }
        Ok(self.events)
    }
}

impl Files {
    /// Opens the files, and returns the events that they have.
    fn open(
        out: &Path,
        settings: &OutputSettings,
        from: Option<&Checkpoint>,
    ) -> Result<(Self, Vec<Event>)> {
        let path = out.join(METRICS);
        let (metrics, events) = match from {
            None => (JsonLines::create(&path)?, Vec::new()),
            Some(checkpoint) => truncate_events(&path, checkpoint)?,
        };
        let board = if settings.tensorboard {
            Some(EventWriter::create(&out.join("tensorboard"))?)
        } else {
            None
        };
        Ok((Self { out: out.to_owned(), metrics, board }, events))
    }
}

impl TrainingHook for Recorder<'_> {
    fn event(&mut self, event: Event) -> Result<()> {
        if let Some(Files { metrics, board, .. }) = &mut self.files {
            metrics.write(&event)?;
            if let Some(board) = board {
                board.write_event(&event)?;
            }
        }
        self.observer.event(&event);
        self.events.push(event);
        Ok(())
    }

    fn action(&mut self, step: usize, epoch_ends: bool) -> Action {
        if self.stop.load(Ordering::SeqCst) {
            return Action::SaveAndStop;
        }
        let every = self.settings.checkpoint_every;
        if epoch_ends || every.is_some_and(|every| step.is_multiple_of(every)) {
            Action::Save
        } else {
            Action::Continue
        }
    }

    fn save(&mut self, state: &TrainingState<'_>) -> Result<()> {
        let Some(Files { out, metrics, .. }) = &mut self.files else { return Ok(()) };
        let keep = self.settings.keep_checkpoints;
        checkpoint::save(out, keep, &self.identity, metrics.written()?, state)
    }
}

/// Truncates the file of events to the events before a checkpoint, and reads these.
fn truncate_events(path: &Path, checkpoint: &Checkpoint) -> Result<(JsonLines, Vec<Event>)> {
    let written = &checkpoint.progress().metrics;
    let mismatch = || checkpoint.refused(CheckpointError::Metrics { path: path.to_owned() });
    let text = fs::read(path).map_err(|_| mismatch())?;
    let kept = written.prefix_of(&text).ok_or_else(mismatch)?;
    let events = serde_json::Deserializer::from_slice(kept).into_iter::<Event>();
    let events = events.collect::<std::result::Result<_, _>>().map_err(|_| mismatch())?;
    let file = OpenOptions::new().write(true).open(path).map_err(storage::Error::write(path))?;
    file.set_len(written.bytes).map_err(storage::Error::write(path))?;
    Ok((JsonLines::append(path, kept)?, events))
}

//! Writes down what happens in a run, and its checkpoints.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    sync::atomic::Ordering,
};

use gpt2_model::TreeLine;

use crate::{
    config::settings::RunConfig,
    error::{Error, Result},
    reports::tensorboard::EventWriter,
    run::files::JsonLines,
    run::phases::Control,
    task::loaders::Accuracies,
    training::checkpoint::{self, Checkpoint, Identity, Standing},
    training::event::Event,
    training::fit::{Keeper, Wish},
    training::observer::Observer,
};

/// Name of the file of events.
const METRICS: &str = "metrics.jsonl";

/// Keeps the events of a run, in its files and for its report.
pub(crate) struct Recorder<'a> {
    config: &'a RunConfig,
    control: &'a Control,
    identity: Identity,
    observer: &'a mut dyn Observer,
    metrics: JsonLines,
    board: Option<EventWriter>,
    events: Vec<Event>,
}

impl<'a> Recorder<'a> {
    /// Begins the files of a run, or goes on with those that a checkpoint belongs to:
    /// what was written after it will happen again and is dropped.
    pub fn new(
        config: &'a RunConfig,
        control: &'a Control,
        identity: Identity,
        from: Option<&Checkpoint>,
        observer: &'a mut dyn Observer,
    ) -> Result<Self> {
        let path = config.out.join(METRICS);
        let (metrics, events) = match from {
            None => (JsonLines::create(&path)?, Vec::new()),
            Some(checkpoint) => cut(&path, checkpoint)?,
        };
        let board = match config.tensorboard {
            true => Some(EventWriter::create(&config.out.join("tensorboard"))?),
            false => None,
        };
        Ok(Self { config, control, identity, observer, metrics, board, events })
    }

    pub fn stage(&mut self, what: &str) {
        self.observer.stage(what);
    }

    pub fn notice(&mut self, what: &str) {
        self.observer.notice(what);
    }

    pub fn model(&mut self, tree: &[TreeLine]) {
        self.observer.model(tree);
    }

    pub fn training(&mut self, steps: usize) {
        self.observer.training(steps);
    }

    /// The accuracies before training, if they are known from before.
    pub fn initial(&self) -> Option<Accuracies> {
        self.events.iter().find_map(|event| match *event {
            Event::Initial { train_accuracy, validation_accuracy, test_accuracy } => {
                Some(Accuracies {
                    train: train_accuracy,
                    validation: validation_accuracy,
                    test: test_accuracy,
                })
            }
            _ => None,
        })
    }

    /// All events of the run, which are on the disk.
    pub fn into_events(self) -> Result<Vec<Event>> {
        self.metrics.sync()?;
        Ok(self.events)
    }
}

impl Keeper for Recorder<'_> {
    fn event(&mut self, event: Event) -> Result<()> {
        self.metrics.write(&event)?;
        if let Some(board) = &mut self.board {
            board.write_event(&event)?;
        }
        self.observer.event(&event);
        self.events.push(event);
        Ok(())
    }

    fn wish(&mut self, step: usize, epoch_ends: bool) -> Wish {
        if self.control.stop.load(Ordering::SeqCst) {
            return Wish::KeepAndStop;
        }
        let every = self.config.checkpoint_every;
        match epoch_ends || every.is_some_and(|every| step.is_multiple_of(every)) {
            true => Wish::Keep,
            false => Wish::GoOn,
        }
    }

    fn keep(&mut self, standing: &Standing<'_>) -> Result<()> {
        let (out, keep) = (&self.config.out, self.config.keep_checkpoints);
        checkpoint::save(out, keep, &self.identity, self.metrics.written()?, standing)
    }
}

/// Cuts the file of events back to what a checkpoint knows of it, to go on with it, and
/// reads that.
fn cut(path: &Path, checkpoint: &Checkpoint) -> Result<(JsonLines, Vec<Event>)> {
    let written = &checkpoint.progress().metrics;
    let short = || {
        checkpoint.refused(format!(
            "{} is not the file that belongs to it; put that back, or delete the checkpoint, and \
             --resume goes on from an earlier one, or else from the start",
            path.display()
        ))
    };
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let text = fs::read(path).map_err(|_| short())?;
    let kept = written.of(&text).ok_or_else(short)?;
    let events = serde_json::Deserializer::from_slice(kept).into_iter::<Event>();
    let events = events.collect::<std::result::Result<_, _>>().map_err(|_| short())?;
    let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    file.set_len(written.bytes).map_err(failed)?;
    Ok((JsonLines::append(path, kept)?, events))
}

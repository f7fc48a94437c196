//! The third phase of a run: training.

use std::sync::{Arc, atomic::AtomicBool};

use dataset::TorchRng;
use lora::Injector;
use tch::Tensor;

use crate::{
    config::{layers::RESOLVED_FILE, resolve::ResolvedRun},
    error::{Error, Result},
    inference::{AdapterMetadata, INITIAL_ADAPTER, StartingAdapter, save_adapter},
    run::{
        directory::WritableDirectory,
        inputs::{Inputs, Start},
        recorder::Recorder,
    },
    task::{classification::batches::Accuracies, data::TaskData, objective::Task},
    trainable::{
        network::Network,
        parameters::{Train, Trainable},
    },
    training::{
        checkpoint::{self, Checkpoint},
        event::Event,
        fit::{Fit, Fitted, TrainingHook},
        observer::{Observer, TrainingStart},
    },
};

/// A run that trains. From here on its directory is written.
pub(crate) struct Session<'a, D: TaskData> {
    pub directory: WritableDirectory,
    pub run: ResolvedRun,
    pub data: D,
    pub network: D::Network,
    pub trainable: Trainable,
    pub recorder: Recorder<'a>,
    pub initial: Accuracies,
    pub total_parameters: u64,
    checkpoint: Option<Checkpoint>,
    /// Parameters of the base model that a continued adapter replaces.
    replaced: Vec<(String, Tensor)>,
    pub metadata: AdapterMetadata,
    /// Digest of the adapter that is continued.
    pub adapter_digest: Option<String>,
}

/// A run whose training is over.
pub(crate) struct TrainedSession<'a, D: TaskData> {
    pub session: Session<'a, D>,
    pub fitted: Fitted,
    pub steps_per_epoch: usize,
    pub rng: TorchRng,
}

impl<'a, D: TaskData> Session<'a, D> {
    /// Writes the settings and the split, makes the network and evaluates it.
    ///
    /// Random numbers are drawn as the book's program draws them: the generator is seeded
    /// before the head, before the first accuracies (which the adapters' draws follow), and
    /// before training.
    pub fn new(
        inputs: Inputs<D>,
        stop: Arc<AtomicBool>,
        observer: &'a mut dyn Observer,
    ) -> Result<Self> {
        let Inputs { directory, run, data, start, base, identity } = inputs;
        let (directory, checkpoint) = directory.into_writable();
        // The directory is known by this file, so it is written first.
        let toml = run.repeating().to_toml()?;
        storage::write_atomic(&directory.path().join(RESOLVED_FILE), toml.as_bytes())?;
        data.write()?;
        let settings = &run.settings;
        let from = checkpoint.as_ref();
        let adapter_digest = identity.inputs.adapter.clone();
        let mut recorder =
            Recorder::new(&directory, &settings.output, identity, from, stop, observer)?;
        let seeded = || TorchRng::manual_seed(settings.training.seed.into());
        let (mut network, continued, replaced) = match start {
            Start::Base(body) => (data.network(*body, settings, &mut seeded())?, None, Vec::new()),
            Start::Adapter(start) => {
                let StartingAdapter { body, head, state, replaced, .. } = *start;
                (data.continued(body, head)?, Some(state), replaced)
            }
        };
        let total_parameters = network.count().total;
        // A new adapter changes nothing, but this one does.
        let continued = match continued {
            None => None,
            Some(state) => Some(data.lora(&mut network, &run, Injector::from_state(state)?)?),
        };
        let mut rng = seeded();
        let initial = match recorder.initial() {
            Some(initial) => initial,
            None => {
                recorder.stage("evaluating before training");
                let initial = data.initial(&network, settings, &mut rng)?;
                recorder.event(Event::Initial {
                    train_accuracy: initial.train,
                    validation_accuracy: initial.validation,
                    test_accuracy: initial.test,
                })?;
                initial
            }
        };
        let trainable = match (continued, settings.train) {
            (Some(continued), _) => continued,
            (None, Train::Lora) => {
                data.lora(&mut network, &run, Injector::new(run.lora.clone(), &mut rng)?)?
            }
            (None, base) => {
                let (decay, dtype) = (settings.training.weight_decay_on, settings.machine.dtype);
                Trainable::base(&mut network, base, decay, dtype)?
            }
        };
        recorder.model(&network.tree());
        let metadata = data.metadata(&run, &base);
        let mut session = Self {
            directory,
            data,
            network,
            trainable,
            recorder,
            initial,
            total_parameters,
            checkpoint,
            replaced,
            metadata,
            adapter_digest,
            run,
        };
        if session.checkpoint.is_none() {
            session.save_adapter(INITIAL_ADAPTER)?;
        }
        Ok(session)
    }

    /// Trains.
    pub fn train(mut self) -> Result<TrainedSession<'a, D>> {
        let settings = &self.run.settings;
        let mut rng = TorchRng::manual_seed(settings.training.seed.into());
        let task = self.data.task(&self.network, settings)?;
        let fit = Fit {
            task: &task,
            trainable: &self.trainable,
            settings: &settings.training,
            machine: &settings.machine,
        };
        let (steps, warmup) = (fit.steps(), settings.training.warmup_steps);
        if warmup >= steps {
            self.recorder.notice(&format!(
                "the warmup of {warmup} steps does not end within the {steps} steps of the run"
            ));
        }
        let done = self.checkpoint.as_ref().map_or(0, |from| from.progress().position.step);
        let examples_per_step = settings.training.examples_per_step();
        self.recorder.training(TrainingStart { steps, done, examples_per_step });
        let fitted = fit.run(&mut rng, self.checkpoint.as_ref(), &mut self.recorder);
        let steps_per_epoch = task.steps_per_epoch();
        drop(task);
        let fitted = fitted.inspect_err(|error| self.name_last_checkpoint(error))?;
        Ok(TrainedSession { session: self, fitted, steps_per_epoch, rng })
    }

    /// Saves the adapter below the directory of the run, if one is trained, with a new head
    /// and the metadata to use them.
    pub fn save_adapter(&mut self, name: &str) -> Result<()> {
        let Some(adapter) = self.trainable.adapter() else { return Ok(()) };
        let folder = self.directory.path().join(name);
        let note =
            save_adapter(&folder, &mut self.network, adapter, &self.replaced, &self.metadata)?;
        note.iter().for_each(|note| self.recorder.notice(note));
        Ok(())
    }

    /// Names the checkpoint from before the loss diverged.
    fn name_last_checkpoint(&mut self, error: &Error) {
        if let Error::Diverged { .. } | Error::Anomaly { .. } = error
            && let Ok(mut checkpoints) = checkpoint::list(self.directory.path())
            && let Some((_, path)) = checkpoints.pop()
        {
            self.recorder.notice(&format!("last checkpoint before it: {}", path.display()));
        }
    }
}

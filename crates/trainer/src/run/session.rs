//! Third phase of a run: training.

use std::sync::{Arc, atomic::AtomicBool};

use dataset::TorchRng;
use distributed::Group;
use lora::{AdapterState, Injector};
use tch::Tensor;

use crate::{
    config::{layers::RESOLVED_FILE, resolve::ResolvedRun, settings::Settings},
    error::{Error, Result},
    inference::{AdapterMetadata, INITIAL_ADAPTER, StartingAdapter, save_adapter},
    run::{
        directory::WritableDirectory,
        inputs::{Inputs, Start},
        recorder::Recorder,
    },
    task::{
        classification::batches::Accuracies,
        data::{Initial, TaskData},
        objective::Task,
    },
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

/// A run that trains. From this phase on, its directory is written.
pub(crate) struct Session<'a, D: TaskData> {
    pub directory: WritableDirectory,
    pub run: ResolvedRun,
    pub data: D,
    pub network: D::Network,
    pub trainable: Trainable,
    pub recorder: Recorder<'a>,
    pub initial: Initial,
    pub total_parameters: u64,
    checkpoint: Option<Checkpoint>,
    /// Parameters of the base model that a continued adapter replaces.
    replaced: Vec<(String, Tensor)>,
    pub metadata: AdapterMetadata,
    /// Digest of the adapter that is continued.
    pub adapter_digest: Option<String>,
    group: Group,
}

/// A run after training.
pub(crate) struct TrainedSession<'a, D: TaskData> {
    pub session: Session<'a, D>,
    pub fitted: Fitted,
    pub steps_per_epoch: usize,
    pub rng: TorchRng,
}

/// Network that training starts from, the state of a continued adapter, and the parameters of
/// the base model that this replaces.
pub(super) type NewNetwork<N> = (N, Option<AdapterState>, Vec<(String, Tensor)>);

/// Builds the network of a run. The head is initialized from the seed.
pub(super) fn new_network<D: TaskData>(
    data: &D,
    start: Start,
    settings: &Settings,
) -> Result<NewNetwork<D::Network>> {
    match start {
        Start::Base(body) => {
            let mut rng = TorchRng::manual_seed(settings.training.seed.into());
            Ok((data.network(*body, settings, &mut rng)?, None, Vec::new()))
        }
        Start::Adapter(start) => {
            let StartingAdapter { body, head, state, replaced, .. } = *start;
            Ok((data.continued(body, head)?, Some(state), replaced))
        }
    }
}

/// Selects the trainable parameters of a new network. Adapters are initialized from `rng`.
pub(super) fn new_trainable<D: TaskData>(
    data: &D,
    network: &mut D::Network,
    run: &ResolvedRun,
    rng: &mut TorchRng,
) -> Result<Trainable> {
    let settings = &run.settings;
    if settings.train == Train::Lora {
        return data.lora(network, run, Injector::new(run.lora.clone(), rng)?);
    }
    let (decay, dtype) = (settings.training.weight_decay_on, settings.machine.dtype);
    Trainable::base(network, settings.train, decay, dtype)
}

impl<'a, D: TaskData> Session<'a, D> {
    /// Writes the settings and the split, builds the network and evaluates it.
    ///
    /// Random numbers are drawn in the order of the book's program: the generator is seeded
    /// before the head is initialized, before the first evaluation (which the adapters'
    /// initialization follows), and before training.
    pub fn new(
        inputs: Inputs<D>,
        stop: Arc<AtomicBool>,
        observer: &'a mut dyn Observer,
    ) -> Result<Self> {
        let Inputs { directory, run, data, start, base, identity, group } = inputs;
        let (directory, checkpoint) = directory.into_writable();
        if let Some(out) = directory.output() {
            // Written first, because it marks the directory as one of a run.
            let toml = run.repeating().to_toml()?;
            storage::write_atomic(&out.join(RESOLVED_FILE), toml.as_bytes())?;
            data.write()?;
        }
        let settings = &run.settings;
        let from = checkpoint.as_ref();
        let adapter_digest = identity.inputs.adapter.clone();
        let out = directory.output();
        let mut recorder = Recorder::new(out, &settings.output, identity, from, stop, observer)?;
        let (mut network, continued, replaced) = new_network(&data, start, settings)?;
        let total_parameters = network.count().total;
        // Unlike a new adapter, a continued one changes the first evaluation.
        let continued = match continued {
            None => None,
            Some(state) => Some(data.lora(&mut network, &run, Injector::from_state(state)?)?),
        };
        let mut rng = TorchRng::manual_seed(settings.training.seed.into());
        let initial = match (recorder.initial(), from) {
            (Some(initial), _) => initial,
            // Only rank 0 has the events before the checkpoint.
            (None, Some(_)) => Initial { accuracies: Accuracies::default(), language_model: None },
            (None, None) => {
                recorder.stage("evaluating before training");
                let initial = data.initial(&network, settings, &mut rng)?;
                let Initial { accuracies, language_model } = initial;
                recorder.event(Event::Initial {
                    train_accuracy: accuracies.train,
                    validation_accuracy: accuracies.validation,
                    test_accuracy: accuracies.test,
                })?;
                if let Some(measures) = language_model {
                    recorder.event(Event::Tokens { steps: 0, is_whole: true, measures })?;
                }
                initial
            }
        };
        let trainable = match continued {
            Some(continued) => continued,
            None => new_trainable(&data, &mut network, &run, &mut rng)?,
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
            group,
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
            group: &self.group,
        };
        let (steps, warmup) = (fit.steps(), settings.training.warmup_steps);
        if warmup >= steps {
            self.recorder.notice(&format!(
                "the warmup of {warmup} steps is not shorter than the run of {steps} steps"
            ));
        }
        let done = self.checkpoint.as_ref().map_or(0, |from| from.progress().position.step);
        let examples_per_step = settings.training.examples_per_step();
        let epochs = steps.div_ceil(task.steps_per_epoch().max(1));
        self.recorder.training(TrainingStart { steps, done, epochs, examples_per_step });
        let fitted = fit.run(&mut rng, self.checkpoint.as_ref(), &mut self.recorder);
        let steps_per_epoch = task.steps_per_epoch();
        drop(task);
        let fitted = fitted.inspect_err(|error| self.name_last_checkpoint(error))?;
        Ok(TrainedSession { session: self, fitted, steps_per_epoch, rng })
    }

    /// Saves the adapter, if one is trained, with its head and metadata in the subdirectory
    /// `name` of the run.
    pub fn save_adapter(&mut self, name: &str) -> Result<()> {
        let (Some(adapter), Some(out)) = (self.trainable.adapter(), self.directory.output()) else {
            return Ok(());
        };
        let folder = out.join(name);
        let note =
            save_adapter(&folder, &mut self.network, adapter, &self.replaced, &self.metadata)?;
        note.iter().for_each(|note| self.recorder.notice(note));
        Ok(())
    }

    /// Names the last checkpoint after the loss has diverged.
    fn name_last_checkpoint(&mut self, error: &Error) {
        if let Error::Diverged { .. } | Error::Anomaly { .. } = error
            && let Ok(mut checkpoints) = checkpoint::list(self.directory.path())
            && let Some((_, path)) = checkpoints.pop()
        {
            self.recorder
                .notice(&format!("last checkpoint before the loss diverged: {}", path.display()));
        }
    }
}

//! The training loop.

use std::time::Instant;

use dataset::TorchRng;
use distributed::Group;
use gpt2_model::tensor;
use storage::Sha256;
use tch::Tensor;

use crate::{
    config::settings::{MachineSettings, TrainingSettings},
    error::{Error, Result},
    task::objective::{Losses, Sample, Task},
    trainable::parameters::Trainable,
    training::{
        checkpoint::{Checkpoint, Position, TrainingState},
        early_stopping::{Best, EarlyStopping},
        event::Event,
        pending_losses::{PendingLosses, TakenStep},
        scalar::scalar,
        schedule::Schedule,
        step::{StepConfig, Stepper},
    },
};

/// A training: task, trainable parameters and settings.
#[derive(Debug)]
pub struct Fit<'a, T> {
    /// Batches, loss and evaluation.
    pub task: &'a T,
    /// The trainable parameters of the task's model.
    pub trainable: &'a Trainable,
    /// The training loop.
    pub settings: &'a TrainingSettings,
    /// Data type of the frozen parameters.
    pub machine: &'a MachineSettings,
    /// Processes that train together.
    pub group: &'a Group,
}

/// Outcome of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    /// Steps taken; fewer than planned after early stopping.
    pub steps: usize,
    /// Best epoch on the validation set, if it was evaluated.
    pub best: Option<Best>,
    /// Wall time in seconds, evaluations included.
    pub seconds: f64,
}

/// Receives the events of a training, and may save and stop it.
pub(crate) trait TrainingHook {
    /// An event; an error ends the training.
    fn event(&mut self, event: Event) -> Result<()>;

    /// Action after a step, or at the end of an epoch.
    fn action(&mut self, _step: usize, _epoch_ends: bool) -> Action {
        Action::Continue
    }

    /// Saves the state of the training.
    fn save(&mut self, _state: &TrainingState<'_>) -> Result<()> {
        Ok(())
    }
}

/// Action requested by a [`TrainingHook`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Continue,
    Save,
    SaveAndStop,
}

struct EventsOnly<'a>(&'a mut dyn FnMut(Event) -> Result<()>);

impl TrainingHook for EventsOnly<'_> {
    fn event(&mut self, event: Event) -> Result<()> {
        (self.0)(event)
    }
}

/// Trains the parameters of `fit.trainable` on `fit.task`. All random numbers are drawn from
/// `rng`; `on_event` receives every step, evaluation and epoch.
///
/// # Errors
/// [`Error::Diverged`] if the loss becomes NaN or infinite; any error of the model and of
/// `on_event`.
pub fn fit<T: Task>(
    fit: &Fit<'_, T>,
    rng: &mut TorchRng,
    on_event: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<Fitted> {
    fit.run(rng, None, &mut EventsOnly(on_event))
}

/// State of the training loop.
struct Loop<'a, T> {
    fit: &'a Fit<'a, T>,
    parameters: Vec<Tensor>,
    stepper: Stepper,
    stopping: EarlyStopping,
    position: Position,
    losses: PendingLosses,
    schedule: Schedule,
    /// Optimizer steps of the training.
    steps: usize,
    start: Instant,
    /// Seconds before this process began.
    seconds_before: f64,
}

impl<T: Task> Fit<'_, T> {
    /// Trains from the start or from a checkpoint.
    pub(crate) fn run(
        &self,
        rng: &mut TorchRng,
        from: Option<&Checkpoint>,
        hook: &mut dyn TrainingHook,
    ) -> Result<Fitted> {
        let mut training = Loop::new(self, rng, from)?;
        while !training.position.is_over {
            training.epoch(rng, hook)?;
        }
        training.stopping.restore_best(&training.parameters)?;
        training.check_parameters()?;
        Ok(Fitted {
            steps: training.position.step,
            best: training.stopping.best(),
            seconds: training.seconds(),
        })
    }

    /// Optimizer steps of the training.
    pub fn steps(&self) -> usize {
        let steps = self.settings.epochs * self.task.steps_per_epoch() as f64;
        self.settings.steps.unwrap_or((steps.round() as usize).max(1))
    }
}

impl<'a, T: Task> Loop<'a, T> {
    fn new(fit: &'a Fit<'a, T>, rng: &mut TorchRng, from: Option<&Checkpoint>) -> Result<Self> {
        let Fit { task, trainable, settings, machine, group } = *fit;
        let config = StepConfig::of(settings, machine);
        let groups = trainable.parameter_groups();
        let stepper = Stepper::new(groups, settings.adamw(), config)?;
        let mut stepper = stepper.with_group(group.clone());
        let parameters = trainable.parameters();
        let mut stopping = EarlyStopping::new(settings.keep, settings.early_stopping);
        let mut position = Position::start(rng);
        if let Some(checkpoint) = from {
            checkpoint.restore(&parameters, &mut stepper, &mut stopping)?;
            position = checkpoint.progress().position.clone();
            *rng = TorchRng::from_state(&position.rng)?;
        }
        let steps = fit.steps();
        Ok(Self {
            fit,
            parameters,
            stepper,
            stopping,
            losses: PendingLosses::new(task.device()),
            schedule: settings.learning_rates(steps),
            steps,
            start: Instant::now(),
            seconds_before: position.seconds,
            position,
        })
    }

    /// Trains the rest of an epoch and evaluates it.
    fn epoch(&mut self, rng: &mut TorchRng, hook: &mut dyn TrainingHook) -> Result<()> {
        let task = self.fit.task;
        let (epoch, done) = (self.position.epoch, self.position.done);
        let batches = if done == 0 {
            self.position.epoch_rng = rng.state();
            task.epoch(epoch, 0, rng)
        } else {
            task.epoch(epoch, done, &mut TorchRng::from_state(&self.position.epoch_rng)?)
        };
        for batch in batches {
            self.step(&batch?, rng, hook)?;
            if self.position.step >= self.steps {
                break;
            }
            // The end of an epoch is saved below, after its evaluation.
            if self.position.done < task.steps_per_epoch() {
                self.act(hook.action(self.position.step, false), rng, hook)?;
            }
        }
        self.report_losses(true, hook)?;
        let [train_accuracy, validation_accuracy] = task.accuracies(rng)?;
        hook.event(Event::Epoch { epoch, train_accuracy, validation_accuracy })?;
        let mut is_over = self.position.step >= self.steps;
        if self.stopping.needs_validation() {
            let measures = task.validate()?;
            let best = Best { epoch, loss: measures.loss, accuracy: measures.accuracy };
            let is_best = self.stopping.record(best, &self.parameters)?;
            let Best { loss, accuracy, .. } = best;
            hook.event(Event::Validation { epoch, loss, accuracy, is_best })?;
            is_over |= self.stopping.stops_after(epoch);
        }
        if is_over && !self.stopping.keeps_best() {
            self.check_parameters()?;
        }
        self.position.epoch += 1;
        (self.position.done, self.position.is_over) = (0, is_over);
        self.act(hook.action(self.position.step, true), rng, hook)
    }

    /// Takes a step, reports it, and evaluates if an evaluation is due.
    fn step(
        &mut self,
        batch: &T::Batch,
        rng: &mut TorchRng,
        hook: &mut dyn TrainingHook,
    ) -> Result<()> {
        let Fit { task, trainable, settings, .. } = *self.fit;
        let (step, epoch) = (self.position.step, self.position.epoch);
        let learning_rate = self.schedule.at(step);
        self.stepper.set_lr(learning_rate);
        let taken = trainable.while_training(rng, |dropout_seed| {
            self.stepper.set_dropout_seed(dropout_seed);
            self.stepper.step(task, batch)
        });
        let anomaly = self.stepper.anomaly();
        if taken.is_err() || anomaly.is_some() {
            // The steps before it are reported first.
            self.report_losses(true, hook)?;
        }
        let (loss, examples) = (taken?, task.examples(batch));
        if let Some(index) = anomaly {
            let parameter = trainable.names().swap_remove(index);
            let examples = task.describe(&examples);
            return Err(Error::Anomaly { step, parameter, examples });
        }
        let gradient_norm = self.stepper.gradient_norm();
        self.losses.push(TakenStep { step, epoch, loss, learning_rate, gradient_norm, examples });
        let evaluates = step.is_multiple_of(settings.eval_every);
        self.report_losses(evaluates, hook)?;
        let samples = settings.sample_every.is_some_and(|every| (step + 1).is_multiple_of(every));
        if samples {
            self.report_losses(true, hook)?;
            for Sample { prompt, text } in task.samples()? {
                hook.event(Event::Sample { step, prompt, text })?;
            }
        }
        if evaluates {
            let Losses { train, validation, language_model } = task.losses(rng)?;
            hook.event(Event::Eval { step, train_loss: train, validation_loss: validation })?;
            if let Some(measures) = language_model {
                hook.event(Event::Tokens { steps: step + 1, is_whole: false, measures })?;
            }
        }
        self.position.step += 1;
        self.position.done += 1;
        Ok(())
    }

    /// Reports the losses of the steps so far, if there are enough of them or if `now`.
    fn report_losses(&mut self, now: bool, hook: &mut dyn TrainingHook) -> Result<()> {
        let describe = |examples: &[usize]| self.fit.task.describe(examples);
        self.losses.read(now, &describe, &mut |event| hook.event(event))
    }

    /// Refuses parameters that the last step has made NaN or infinite, because no later loss
    /// would reveal them.
    fn check_parameters(&self) -> Result<()> {
        for (index, parameter) in self.parameters.iter().enumerate() {
            if scalar(&parameter.f_isfinite()?.f_all()?)? == 0.0 {
                let parameter = self.fit.trainable.names().swap_remove(index);
                return Err(Error::DivergedAtEnd { steps: self.position.step, parameter });
            }
        }
        Ok(())
    }

    /// Saves the state and stops, as requested by the hook of any process.
    fn act(&mut self, action: Action, rng: &TorchRng, hook: &mut dyn TrainingHook) -> Result<()> {
        let group = self.fit.group;
        let all = [Action::Continue, Action::Save, Action::SaveAndStop];
        let action = all[group.max(action as i64)?.clamp(0, 2) as usize];
        if action == Action::Continue {
            return Ok(());
        }
        self.check_equality()?;
        self.report_losses(true, hook)?;
        self.position.rng = rng.state();
        self.position.seconds = self.seconds();
        hook.save(&TrainingState {
            position: &self.position,
            stepper: &self.stepper,
            stopping: &self.stopping,
            parameters: &self.parameters,
        })?;
        // A launcher may kill the others as soon as one process has ended.
        group.barrier()?;
        // After the last step, little time is saved by stopping.
        if action == Action::Save || self.position.is_over {
            return Ok(());
        }
        Err(Error::Interrupted { step: self.position.step, steps: self.steps })
    }

    /// Compares the parameters of all processes: on different processors, equal steps may round
    /// differently.
    fn check_equality(&self) -> Result<()> {
        if self.fit.group.world() == 1 {
            return Ok(());
        }
        let mut digest = Sha256::new();
        for parameter in &self.parameters {
            digest.update(tensor::bytes(parameter)?);
        }
        Ok(self.fit.group.agree("trained parameters", digest.finish().as_bytes())?)
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.start.elapsed().as_secs_f64()
    }
}

impl TrainingSettings {
    /// Learning-rate schedule of a training of `steps` steps.
    fn learning_rates(&self, steps: usize) -> Schedule {
        Schedule {
            decay: self.schedule,
            lr: self.lr,
            min_lr: self.lr * self.min_lr_ratio,
            warmup: self.warmup_steps,
            // A rate of zero would waste the last step.
            steps: steps.saturating_add(usize::from(self.min_lr_ratio == 0.0)),
        }
    }
}

impl Position {
    fn start(rng: &TorchRng) -> Self {
        let rng = rng.state();
        let (epoch_rng, seconds) = (rng.clone(), 0.0);
        Self { step: 0, epoch: 1, done: 0, is_over: false, epoch_rng, rng, seconds }
    }
}

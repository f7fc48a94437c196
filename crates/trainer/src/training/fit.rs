//! The training loop.

use std::time::Instant;

use dataset::TorchRng;
use gpt2_model::Gpt2Classifier;
use tch::Tensor;

use crate::{
    config::settings::FitConfig,
    error::{Error, Result},
    task::evaluator::Evaluator,
    task::loaders::Loaders,
    trainable::parameters::Trained,
    training::adamw::AdamWConfig,
    training::checkpoint::{Checkpoint, Position, Standing},
    training::early_stopping::{Best, Judge},
    training::event::Event,
    training::pending_losses::{Losses, Taken},
    training::schedule::Schedule,
    training::step::{StepConfig, Stepper},
};

/// What came of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    /// Steps taken: fewer than planned where training was stopped early.
    pub steps: usize,
    /// The epoch that was best on the validation part, where that was looked at.
    pub best: Option<Best>,
    /// Time of it all, evaluations included.
    pub seconds: f64,
}

/// What is trained, on what, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit<'a> {
    pub model: &'a Gpt2Classifier,
    pub trained: &'a Trained,
    pub loaders: &'a Loaders<'a>,
    pub config: &'a FitConfig,
    pub adamw: AdamWConfig,
    pub class_weights: Option<&'a [f64]>,
}

/// Who is told how a training goes, and may keep and stop it.
pub(crate) trait Keeper {
    /// Something happened; an error ends the training.
    fn event(&mut self, event: Event) -> Result<()>;

    /// What to do after a step, or at the end of an epoch.
    fn wish(&mut self, _step: usize, _epoch_ends: bool) -> Wish {
        Wish::GoOn
    }

    /// Keeps where the training stands.
    fn keep(&mut self, _standing: &Standing<'_>) -> Result<()> {
        Ok(())
    }
}

/// What a [`Keeper`] wants of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    GoOn,
    /// To be told where it stands.
    Keep,
    /// The same, and that it ends.
    KeepAndStop,
}

struct EventsAlone<'a>(&'a mut dyn FnMut(Event) -> Result<()>);

impl Keeper for EventsAlone<'_> {
    fn event(&mut self, event: Event) -> Result<()> {
        (self.0)(event)
    }
}

/// Trains what is `trained` of `model`. Every event is given to `on_event` as it
/// happens; an error of its own ends the training. `class_weights` has a weight for
/// each class ([`ClassWeights::resolve`](crate::ClassWeights::resolve)).
///
/// Each pass over a part draws from `rng` as PyTorch's `DataLoader` does, those
/// of evaluations too. With dropout, each step draws a seed of its masks.
///
/// # Errors
/// [`Error::Diverged`] if the loss is no number any more; whatever the model refuses.
#[allow(clippy::too_many_arguments, reason = "each is a thing of its own")]
pub fn fit(
    model: &Gpt2Classifier,
    trained: &Trained,
    loaders: &Loaders<'_>,
    config: &FitConfig,
    adamw: AdamWConfig,
    class_weights: Option<&[f64]>,
    rng: &mut TorchRng,
    on_event: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<Fitted> {
    let fit = Fit { model, trained, loaders, config, adamw, class_weights };
    fit.run(rng, None, &mut EventsAlone(on_event))
}

impl Fit<'_> {
    /// Trains, from the start or from where a checkpoint was taken.
    pub fn run(
        &self,
        rng: &mut TorchRng,
        from: Option<&Checkpoint>,
        keeper: &mut dyn Keeper,
    ) -> Result<Fitted> {
        let Self { loaders, config, .. } = *self;
        let evaluator = Evaluator { model: self.model, pooling: config.pooling };
        let mut stepper = self.stepper()?;
        let parameters: Vec<Tensor> = self.trained.parameters();
        let mut judge = Judge::new(config.keep, config.early_stopping);
        let mut position = Position::start(rng);
        if let Some(checkpoint) = from {
            checkpoint.restore(&parameters, &mut stepper, &mut judge)?;
            position = checkpoint.progress().position.clone();
            *rng = TorchRng::from_state(&position.rng)?;
        }
        let schedule = self.schedule();
        let mut losses = Losses::new(self.model.body().device());
        let (start, before) = (Instant::now(), position.seconds);
        let steps = loaders.steps_per_epoch();
        while !position.is_over {
            let epoch = position.epoch;
            let batches = if position.done == 0 {
                position.epoch_rng = rng.state();
                loaders.train(rng)
            } else {
                loaders.train(&mut TorchRng::from_state(&position.epoch_rng)?)
            };
            for batch in batches.skip(position.done) {
                let step = position.step;
                stepper.set_lr(schedule.at(step));
                let taken = self.trained.while_training(rng, || stepper.step(evaluator, &batch));
                let loss = match taken {
                    Ok(loss) => loss,
                    Err(error) => {
                        // What was done before it is told first.
                        losses.read(true, &mut |event| keeper.event(event))?;
                        return Err(error);
                    }
                };
                if let Some(number) = stepper.anomaly() {
                    losses.read(true, &mut |event| keeper.event(event))?;
                    let parameter = self.trained.names().swap_remove(number);
                    return Err(Error::Anomaly { step, parameter, rows: batch.row_numbers });
                }
                losses.push(Taken { step, epoch, loss, rows: batch.row_numbers });
                let evaluates = step.is_multiple_of(config.eval_every);
                losses.read(evaluates, &mut |event| keeper.event(event))?;
                if evaluates {
                    keeper.event(self.losses(evaluator, step, rng)?)?;
                }
                position.step += 1;
                position.done += 1;
                // The end of an epoch is a place of its own.
                let wish = match position.done < steps {
                    true => keeper.wish(position.step, false),
                    false => Wish::GoOn,
                };
                if wish != Wish::GoOn {
                    losses.read(true, &mut |event| keeper.event(event))?;
                    position.stand(rng, before + start.elapsed().as_secs_f64());
                    let standing = Standing::of(&position, &stepper, &judge, &parameters);
                    self.keep(wish, &standing, keeper)?;
                }
            }
            losses.read(true, &mut |event| keeper.event(event))?;
            keeper.event(self.accuracies(evaluator, epoch, rng)?)?;
            let mut is_over = epoch >= config.epochs;
            if judge.is_asked() {
                let (loss, accuracy) = loaders.validate(evaluator)?;
                let is_best = judge.note(Best { epoch, loss, accuracy }, &parameters)?;
                keeper.event(Event::Validation { epoch, loss, accuracy, is_best })?;
                is_over |= judge.stops_after(epoch);
            }
            (position.epoch, position.done, position.is_over) = (epoch + 1, 0, is_over);
            let wish = keeper.wish(position.step, true);
            if wish != Wish::GoOn {
                position.stand(rng, before + start.elapsed().as_secs_f64());
                let standing = Standing::of(&position, &stepper, &judge, &parameters);
                self.keep(wish, &standing, keeper)?;
            }
        }
        judge.restore(&parameters)?;
        let seconds = before + start.elapsed().as_secs_f64();
        Ok(Fitted { steps: position.step, best: judge.best(), seconds })
    }

    /// Has a place kept, and ends the training there if that is wished.
    fn keep(&self, wish: Wish, standing: &Standing<'_>, keeper: &mut dyn Keeper) -> Result<()> {
        keeper.keep(standing)?;
        // Of one that is over, the rest is soon done.
        if wish != Wish::KeepAndStop || standing.position.is_over {
            return Ok(());
        }
        Err(Error::Interrupted { step: standing.position.step, steps: self.steps() })
    }

    fn stepper(&self) -> Result<Stepper> {
        let config = self.config;
        let step_config = StepConfig {
            rows_at_a_time: (config.gradient_accumulation_steps > 1).then_some(config.batch_size),
            ..config.step
        };
        let treated = self.trained.treated(config.lora_plus_ratio);
        let mut stepper = Stepper::new(treated, self.adamw, step_config)?;
        if let Some(weights) = self.class_weights {
            stepper.weight_classes(weights, self.model.body().device())?;
        }
        Ok(stepper)
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            decay: self.config.schedule,
            lr: self.adamw.lr,
            min_lr: 0.0,
            warmup: self.config.warmup_steps,
            // Zero comes after the last step, which is to count too.
            steps: self.steps().saturating_add(1),
        }
    }

    fn steps(&self) -> usize {
        self.config.epochs.saturating_mul(self.loaders.steps_per_epoch())
    }

    /// Losses on the first batches of both parts, after a step.
    fn losses(&self, evaluator: Evaluator<'_>, step: usize, rng: &mut TorchRng) -> Result<Event> {
        let (loaders, most) = (self.loaders, self.config.eval_batches);
        let train_loss = evaluator.mean_loss(loaders.train_pieces(rng).take(most))?;
        let validation_loss = evaluator.mean_loss(loaders.validation(rng).take(most))?;
        Ok(Event::Eval { step, train_loss, validation_loss })
    }

    /// Accuracies on the first batches of both parts, after an epoch.
    fn accuracies(
        &self,
        evaluator: Evaluator<'_>,
        epoch: usize,
        rng: &mut TorchRng,
    ) -> Result<Event> {
        let (loaders, most) = (self.loaders, self.config.eval_batches);
        let train_accuracy = evaluator.accuracy(loaders.train_pieces(rng).take(most))?;
        let validation_accuracy = evaluator.accuracy(loaders.validation(rng).take(most))?;
        Ok(Event::Epoch { epoch, train_accuracy, validation_accuracy })
    }
}

impl Position {
    fn start(rng: &TorchRng) -> Self {
        let rng = rng.state();
        let (epoch_rng, seconds) = (rng.clone(), 0.0);
        Self { step: 0, epoch: 1, done: 0, is_over: false, epoch_rng, rng, seconds }
    }

    fn stand(&mut self, rng: &TorchRng, seconds: f64) {
        self.rng = rng.state();
        self.seconds = seconds;
    }
}

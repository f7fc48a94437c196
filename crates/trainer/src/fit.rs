//! The training loop.

use std::time::Instant;

use dataset::TorchRng;
use gpt2_model::Gpt2Classifier;
use tch::Tensor;

use crate::{
    adamw::AdamWConfig,
    best::{Best, Judge},
    config::FitConfig,
    error::Result,
    evaluate::Evaluator,
    events::Event,
    loaders::Loaders,
    losses::{Losses, Taken},
    schedule::Schedule,
    step::{StepConfig, Stepper},
    trained::Trained,
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

/// Trains what is `trained` of `model`. Every event is given to `on_event` as it
/// happens; an error of its own ends the training. `class_weights` has a weight for
/// each class ([`ClassWeights::resolve`](crate::ClassWeights::resolve)).
///
/// Each pass over a part draws from `rng` as PyTorch's `DataLoader` does, those
/// of evaluations too. With dropout, each step draws a seed of its masks.
///
/// # Errors
/// [`Error::Diverged`](crate::Error::Diverged) if the loss is no number any more;
/// whatever the model refuses.
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
    let start = Instant::now();
    let evaluator = Evaluator { model, pooling: config.pooling };
    let device = model.body().device();
    let step_config = StepConfig {
        rows_at_a_time: (config.gradient_accumulation_steps > 1).then_some(config.batch_size),
        ..config.step
    };
    let mut stepper = Stepper::new(trained.treated(config.lora_plus_ratio), adamw, step_config)?;
    if let Some(weights) = class_weights {
        stepper.weight_classes(weights, device)?;
    }
    let parameters: Vec<Tensor> = trained.parameters();
    let schedule = Schedule {
        decay: config.schedule,
        lr: adamw.lr,
        min_lr: 0.0,
        warmup: config.warmup_steps,
        steps: config.epochs.saturating_mul(loaders.steps_per_epoch()),
    };
    let mut judge = Judge::new(config.keep, config.early_stopping);
    let mut losses = Losses::new(device);
    let mut step = 0;
    for epoch in 1..=config.epochs {
        for batch in loaders.train(rng) {
            stepper.set_lr(schedule.at(step));
            let loss = match trained.while_training(rng, || stepper.step(evaluator, &batch)) {
                Ok(loss) => loss,
                Err(error) => {
                    // What was done before it is told first.
                    losses.read(true, on_event)?;
                    return Err(error);
                }
            };
            losses.push(Taken { step, epoch, loss, rows: batch.row_numbers });
            let evaluates = step % config.eval_every == 0;
            losses.read(evaluates, on_event)?;
            if evaluates {
                let most = config.eval_batches;
                let train_loss = evaluator.mean_loss(loaders.train(rng).take(most))?;
                let validation_loss = evaluator.mean_loss(loaders.validation(rng).take(most))?;
                on_event(Event::Eval { step, train_loss, validation_loss })?;
            }
            step += 1;
        }
        losses.read(true, on_event)?;
        let most = config.eval_batches;
        let train_accuracy = evaluator.accuracy(loaders.train(rng).take(most))?;
        let validation_accuracy = evaluator.accuracy(loaders.validation(rng).take(most))?;
        on_event(Event::Epoch { epoch, train_accuracy, validation_accuracy })?;
        if judge.is_asked() {
            let (loss, accuracy) = loaders.validate(evaluator)?;
            let is_best = judge.note(Best { epoch, loss, accuracy }, &parameters)?;
            on_event(Event::Validation { epoch, loss, accuracy, is_best })?;
            if judge.stops_after(epoch) {
                break;
            }
        }
    }
    judge.restore(&parameters)?;
    Ok(Fitted { steps: step, best: judge.best(), seconds: start.elapsed().as_secs_f64() })
}

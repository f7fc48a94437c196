//! Dry run: settings, data, parameters, and an estimate of time and memory, without writing
//! anything.

use std::time::Instant;

use dataset::TorchRng;
use distributed::Group;
use lora::Injector;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    config::{paths::is_pipe, resolve::ResolvedRun, settings::Settings},
    error::{Error, Result},
    process::peak_memory,
    run::{
        directory::{RunDirectory, check_inputs},
        inputs::Inputs,
        seeds::with_seed,
        session::{new_network, new_trainable},
    },
    task::{
        classification::data::ClassificationData,
        data::{EvaluationBatches, TaskData},
        kind::TaskKind,
        language_model::data::LanguageModelData,
        objective::Task,
        statistics::DataStatistics,
    },
    trainable::{network::Network, parameters::Trainable},
    training::{
        early_stopping::Keep,
        fit::Fit,
        observer::Observer,
        scalar::scalar,
        step::{StepConfig, Stepper},
    },
};

/// Most training steps that are measured, after the first.
const MEASURED_STEPS: usize = 10;
/// Seconds after which no further step is measured.
const MEASURED_SECONDS: f64 = 20.0;
/// Most batches of an epoch among which the largest is looked for.
const INSPECTED_BATCHES: usize = 2000;

/// Result of a dry run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// All settings by option name, as in `run.toml`.
    pub settings: Map<String, Value>,
    /// Statistics of the data.
    pub data: DataStatistics,
    /// Parameters of the model and its head, without the adapter.
    pub total_parameters: u64,
    /// Trainable parameters.
    pub trainable_parameters: u64,
    /// Optimizer steps; fewer with early stopping.
    pub steps: usize,
    /// Optimizer steps per epoch.
    pub steps_per_epoch: usize,
    /// Examples per optimizer step.
    pub examples_per_step: usize,
    /// Number of runs: one for each of `--seeds`.
    pub runs: usize,
    /// Estimate of time and memory.
    pub estimate: Estimate,
}

/// Estimate of time and memory from training steps that were taken on this machine and
/// discarded.
///
/// Writing checkpoints, the adapter or model and the plots takes a few seconds more. Compared
/// with the wall time and peak memory of runs of the pocket model on one thread of a busy
/// machine: for 40 LoRA steps, training and evaluation time together were 11 % too low and 4 %
/// too high in two runs, and the memory was 17 % too low, because merging for the final
/// evaluation is not included. For 16 steps of all parameters, where saving takes longer than
/// training, the time was less than half, and the memory 5 % too high.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Device, `cpu` or `cuda:N`.
    pub device: String,
    /// CPU threads.
    pub threads: usize,
    /// Training steps measured, on the first batches.
    pub measured_steps: usize,
    /// Mean seconds of a step. Measured seconds per token, times the tokens of an average
    /// batch of an epoch.
    pub seconds_per_step: f64,
    /// Seconds of reading the data and loading the model.
    pub loading_seconds: f64,
    /// Seconds of all training steps of one run.
    pub training_seconds: f64,
    /// Seconds of all evaluations of one run, by the number of their batches and the measured
    /// seconds of one evaluation.
    pub evaluation_seconds: f64,
    /// Seconds of all runs.
    pub seconds: f64,
    /// Bytes of the trainable parameters, their gradients and the state of AdamW (16 bytes
    /// per parameter), on the device.
    pub training_state_bytes: u64,
    /// Peak memory in bytes: measured in this process after loading the model as a run does and
    /// a step on the largest batch of an epoch, plus two copies of a checkpoint, which are
    /// needed to write it. Memory of a CUDA device is not included. `None` on systems that do
    /// not report it.
    pub peak_memory_bytes: Option<u64>,
}

/// Prepares a run, takes a few training steps on its data, discards them, and returns what
/// was found. Writes nothing.
///
/// # Errors
/// As [`run()`](crate::run()), which would refuse the same inputs.
pub fn dry_run(run: &ResolvedRun, observer: &mut dyn Observer) -> Result<DryRun> {
    let settings = &run.settings;
    let runs = settings.training.seeds.len().max(1);
    let first = settings.training.seeds.first().map(|&seed| with_seed(run, seed));
    let run = first.as_ref().unwrap_or(run);
    let given = settings.data.validation_data.iter().chain(&settings.data.test_data);
    check_inputs(given.chain(&run.data).map(|path| path.as_path()), &run.out)?;
    let mut found = match settings.task {
        TaskKind::Classify => inspect::<ClassificationData>(run, observer)?,
        TaskKind::LanguageModel => inspect::<LanguageModelData>(run, observer)?,
    };
    found.runs = runs;
    found.estimate.seconds *= runs as f64;
    if run.data.iter().any(|path| is_pipe(path)) {
        observer.notice("the data was read from a pipe, which a run has to be given again");
    }
    Ok(found)
}

fn inspect<D: TaskData>(run: &ResolvedRun, observer: &mut dyn Observer) -> Result<DryRun> {
    let start_of_loading = Instant::now();
    let group = &Group::alone();
    let directory = RunDirectory::inspect(&run.out, observer)?;
    let Inputs { run, data, start, .. } = Inputs::<D>::prepare(directory, run, group, observer)?;
    let settings = &run.settings;
    let mut rng = TorchRng::manual_seed(settings.training.seed.into());
    let (mut network, continued, _) = new_network(&data, start, settings)?;
    let total_parameters = network.count().total;
    let trainable = match continued {
        Some(state) => data.lora(&mut network, &run, Injector::from_state(state)?)?,
        None => new_trainable(&data, &mut network, &run, &mut rng)?,
    };
    let trainable_parameters = network.count().trainable;
    let task = data.task(&network, settings)?;
    let fit = Fit {
        task: &task,
        trainable: &trainable,
        settings: &settings.training,
        machine: &settings.machine,
        group,
    };
    let (steps, steps_per_epoch) = (fit.steps(), task.steps_per_epoch());
    let loading_seconds = start_of_loading.elapsed().as_secs_f64();
    observer.stage("measuring training steps");
    let measured = measure::<D>(&task, &trainable, settings, &mut rng)?;
    let batches = data.evaluation_batches(settings);
    // Value and two moments of each parameter, and its value in the best epoch.
    let copies = if settings.training.keep == Keep::Best { 4 } else { 3 };
    let checkpoint_bytes = 4 * copies * trainable_parameters;
    let training_seconds = measured.seconds_per_step * steps as f64;
    let evaluation_seconds =
        measured.seconds_of_losses * evaluations(&batches, settings, steps, steps_per_epoch);
    Ok(DryRun {
        settings: run.repeating().to_layer()?,
        data: data.statistics()?,
        total_parameters,
        trainable_parameters,
        steps,
        steps_per_epoch,
        examples_per_step: settings.training.examples_per_step(),
        runs: 1,
        estimate: Estimate {
            device: settings.machine.device.to_string(),
            threads: settings.machine.threads.unwrap_or(1),
            measured_steps: measured.steps,
            seconds_per_step: measured.seconds_per_step,
            loading_seconds,
            training_seconds,
            evaluation_seconds,
            seconds: loading_seconds + training_seconds + evaluation_seconds,
            training_state_bytes: 16 * trainable_parameters,
            peak_memory_bytes: peak_memory().map(|peak| peak + 2 * checkpoint_bytes),
        },
    })
}

struct Measured {
    steps: usize,
    seconds_per_step: f64,
    /// Seconds of an evaluation during training.
    seconds_of_losses: f64,
}

/// Takes training steps: the first, which is not timed because it allocates, on the largest
/// batch of an epoch, the others on its first batches. Then times an evaluation.
fn measure<'a, D: TaskData + 'a>(
    task: &D::Task<'a>,
    trainable: &Trainable,
    settings: &Settings,
    rng: &mut TorchRng,
) -> Result<Measured> {
    let order = rng.state();
    let (mut largest, mut tokens, mut batches) = ((0, 0), 0, 0);
    for (index, batch) in task.epoch(1, 0, rng).take(INSPECTED_BATCHES).enumerate() {
        let of_batch = D::batch_tokens(&batch?);
        largest = largest.max((of_batch, index));
        (tokens, batches) = (tokens + of_batch, batches + 1);
    }
    let config = StepConfig::of(&settings.training, &settings.machine);
    let groups = trainable.parameter_groups();
    let mut stepper = Stepper::new(groups, settings.training.adamw(), config)?;
    // Parameters that a warmup keeps may diverge at the full learning rate.
    stepper.set_lr(0.0);
    let mut step = |batch, rng: &mut TorchRng| -> Result<f64> {
        let start = Instant::now();
        let loss = trainable.while_training(rng, |dropout_seed| {
            stepper.set_dropout_seed(dropout_seed);
            stepper.step(task, &batch)
        })?;
        // Reading the loss waits for the device.
        scalar(&loss)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let epoch = |skip| Ok::<_, Error>(task.epoch(1, skip, &mut TorchRng::from_state(&order)?));
    for batch in epoch(largest.1)?.take(1) {
        step(batch?, rng)?;
    }
    let (mut steps, mut seconds, mut measured_tokens) = (0, 0.0, 0);
    for batch in epoch(0)?.take(MEASURED_STEPS) {
        let batch = batch?;
        measured_tokens += D::batch_tokens(&batch);
        seconds += step(batch, rng)?;
        steps += 1;
        if seconds > MEASURED_SECONDS {
            break;
        }
    }
    let tokens_per_step = tokens as f64 / f64::from(batches.max(1));
    let start = Instant::now();
    task.losses(rng)?;
    Ok(Measured {
        steps,
        seconds_per_step: seconds / measured_tokens.max(1) as f64 * tokens_per_step,
        seconds_of_losses: start.elapsed().as_secs_f64(),
    })
}

/// Batches of all evaluations of a run, in multiples of one evaluation during training.
fn evaluations(
    batches: &EvaluationBatches,
    settings: &Settings,
    steps: usize,
    steps_per_epoch: usize,
) -> f64 {
    let training = &settings.training;
    let epochs = steps.div_ceil(steps_per_epoch.max(1));
    let validates = training.keep == Keep::Best || training.early_stopping.is_some();
    let of_epoch = if validates { batches.validation } else { 0 };
    let of_losses = batches.of_losses(training.eval_batches).max(1);
    let whole = batches.before_training + epochs * of_epoch + batches.after_training;
    // Losses every --eval-every steps, accuracies after each epoch.
    (steps.div_ceil(training.eval_every) + epochs) as f64 + whole as f64 / of_losses as f64
}

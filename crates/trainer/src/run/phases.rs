//! A whole run, from the files it is given to the folder it leaves behind.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use dataset::{Preparation, TorchRng};
use gpt2_model::{DType, DeviceChoice, Fingerprint, Gpt2, Gpt2Classifier, resolve_device};
use lora::{Adapter, Injector, LoraConfig, ParameterCount};
use serde::Serialize;
use serde_json::{Map, Value};
use tch::{Device, Tensor};

use crate::{
    config::args::TrainArgs,
    config::file::RESOLVED_FILE,
    config::paths,
    config::settings::{PadTo, RunConfig},
    error::{Error, Result},
    inference::predictor::AdapterUse,
    metrics::{Classification, ClassificationReport},
    reports::curves,
    reports::run_report::{EpochAccuracy, PartSizes, Report},
    run::directory,
    run::examples::{check_vocabulary, encode, note_rows, note_truncation},
    run::files::{write_atomically, write_json, write_jsonl},
    run::lock::Claim,
    run::recorder::Recorder,
    task::evaluator::{Evaluator, Prediction},
    task::loaders::Loaders,
    trainable::parameters::{HEAD, Head, Trained, head_tensors},
    training::checkpoint::{self, Checkpoint, Identity},
    training::event::Event,
    training::fit::{Fit, Keeper},
    training::observer::Observer,
};

/// Name of the report, which is written last.
pub(crate) const REPORT: &str = "report.json";

/// Batches of each part that the new head is tried on before training.
const INITIAL_BATCHES: usize = 10;

/// Runs the recipe and writes into `config.out`: `config.json` (everything
/// resolved), `run.toml` (the same as options), `train.csv`, `validation.csv`, `test.csv`, `metrics.jsonl`,
/// `adapter_init/` and `adapter/`, `loss` and `accuracy` plots as SVG and PNG,
/// `predictions.jsonl` (the test part, in its order) and `report.json`.
///
/// The random numbers are drawn as the book's program draws them: the generator
/// is seeded before the head, before the first accuracies (which the adapter's
/// draws follow), and before training.
///
/// # Errors
/// Whatever cannot be read, computed or written, in one sentence.
pub fn run(config: &RunConfig, observer: &mut dyn Observer) -> Result<Report> {
    run_with(config, &Control::default(), observer)
}

/// Whether a run goes on from where it was, and whether it is to stop.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Go on from the last checkpoint in the folder, if there is one.
    pub resume: bool,
    /// Once it is true, the run keeps a checkpoint and ends with
    /// [`Error::Interrupted`].
    pub stop: Arc<AtomicBool>,
}

/// As [`run`]. While it trains, `checkpoints/` of the folder has a checkpoint of the
/// end of each epoch, and every `config.checkpoint_every` steps, the last
/// `config.keep_checkpoints` of them; a run that goes on from one ends with the bytes
/// of one that was never stopped, but for times.
///
/// # Errors
/// As [`run`]; [`Error::Checkpoint`] for a checkpoint that is damaged or of a run
/// with other settings, data or base; [`Error::Interrupted`].
pub fn run_with(
    config: &RunConfig,
    control: &Control,
    observer: &mut dyn Observer,
) -> Result<Report> {
    config.check()?;
    let others = config.validation_data.iter().chain(&config.test_data);
    places::apart(others.chain([&config.data]).map(|path| path.as_path()), &config.out)?;
    let _claim = Claim::new(&config.out)?;
    run_folder::check(&config.out)?;
    run_folder::sweep(&config.out, &["adapter_init", "adapter", "checkpoints"])?;
    let checkpoint = find_checkpoint(&config.out, control.resume, observer)?;
    let choice: DeviceChoice = config.device.parse().map_err(Error::Config)?;
    let device = resolve_device(choice)?;
    config.fit.step.dtype.check(device)?;
    if let Some(threads) = config.threads {
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
    }

    observer.stage("reading and splitting the messages");
    let preparation = Preparation::new(config.labelled(), &config.split(), &config.out)?;
    let prepared = preparation.prepared();
    note_rows(prepared, observer);

    observer.stage(if config.random_init { "drawing the model" } else { "loading the model" });
    let body = places::load(&config.model, config.random_init, config.seed.into(), device)?;
    let fingerprint = Fingerprint::of(&body)?;
    let mut body = body.with_arithmetic(config.arithmetic).with_dtype(config.fit.step.dtype)?;
    check_vocabulary(body.config(), &config.model)?;
    check_targets(&config.lora, config.head, &mut body)?;
    let context = body.config().n_positions as usize;
    let parts = encode(prepared, config, context)?;
    let truncated = note_truncation(&parts, observer);
    let loaders = Loaders::new(&parts, &config.fit)?;
    let labels = &prepared.split.labels;
    let class_weights =
        config.class_weights.resolve(labels, &parts.train.per_class(labels.len()))?;
    let resolved = RunConfig {
        max_length: Some(parts.max_length),
        threads: Some(usize::try_from(tch::get_num_threads()).unwrap_or(1)),
        device: device_name(device),
        ..config.clone()
    };
    let identity = Identity {
        config: resolved.clone(),
        data: prepared.source_sha256.clone(),
        base: checkpoint::digest_of_model(&config.model, config.random_init)?,
    };
    match &checkpoint {
        Some(checkpoint) => checkpoint.check(&identity)?,
        None if control.resume => run_folder::check_begun(&config.out, &resolved)?,
        None => {}
    }
    let (data_sha256, model_sha256) = (identity.data.clone(), identity.base.clone());
    // Nothing is written before everything was looked at. What says that the folder is
    // that of a run comes first.
    write_json(&config.out.join(run_folder::CONFIG), &resolved)?;
    preparation.write()?;
    let options = TrainArgs::repeating(&resolved).to_toml()?;
    write_atomically(&config.out.join(RESOLVED_FILE), options.as_bytes())?;
    let mut recorder = Recorder::new(config, control, identity, checkpoint.as_ref(), observer)?;

    let seeded = || TorchRng::manual_seed(config.seed.into());
    let mut model = Gpt2Classifier::new(body, labels.len(), &mut seeded())?;
    if config.head == Head::Full {
        model = model.without_bias();
    }
    let total_parameters = count(&model).total;

    let mut rng = seeded();
    let initial = match recorder.initial() {
        Some(initial) => initial,
        None => {
            recorder.stage("trying the new head before training");
            let evaluator = Evaluator { model: &model, pooling: config.fit.pooling };
            let initial = loaders.accuracies(evaluator, INITIAL_BATCHES, &mut rng)?;
            recorder.event(Event::Initial {
                train_accuracy: initial.train,
                validation_accuracy: initial.validation,
                test_accuracy: initial.test,
            })?;
            initial
        }
    };

    let head = head_tensors(&model);
    let injector = Injector::new(config.lora.clone(), &mut rng)?;
    let trained = Trained::new(&mut model, injector, config.head)?;
    recorder.model(&model.tree());
    let about = AdapterUse::of_run(config, fingerprint, labels, parts.max_length).to_map();
    if checkpoint.is_none() {
        save_adapter(trained.adapter(), &head, &about, &config.out.join("adapter_init"))?;
    }

    let steps = config.fit.epochs * loaders.steps_per_epoch();
    if config.fit.warmup_steps >= steps {
        recorder.notice(&format!(
            "the warm-up of {} steps is not over when the {steps} steps of the run are",
            config.fit.warmup_steps
        ));
    }
    recorder.training(steps);
    let mut rng = seeded();
    let fit = Fit {
        model: &model,
        trained: &trained,
        loaders: &loaders,
        config: &config.fit,
        adamw: config.adamw,
        class_weights: class_weights.as_deref(),
    };
    let fitted = match fit.run(&mut rng, checkpoint.as_ref(), &mut recorder) {
        Err(error @ (Error::Diverged { .. } | Error::Anomaly { .. })) => {
            if let Some((_, path)) = checkpoint::list(&config.out)?.pop() {
                recorder.notice(&format!("the last checkpoint before it: {}", path.display()));
            }
            return Err(error);
        }
        fitted => fitted?,
    };
    let seconds = fitted.seconds;
    save_adapter(trained.adapter(), &head, &about, &config.out.join("adapter"))?;

    recorder.stage("evaluating the three parts");
    let trainable_parameters = count(&model).trainable;
    // As everyone computes who uses the adapter.
    if config.fit.pad_to == PadTo::None || config.fit.step.dtype != DType::Float32 {
        model.merge()?;
    }
    let evaluator = Evaluator { model: &model, pooling: config.fit.pooling };
    let (accuracy, predictions) = loaders.final_accuracies(evaluator, &mut rng)?;
    write_predictions(&config.out.join("predictions.jsonl"), &predictions, labels)?;
    recorder.event(Event::Final {
        train_accuracy: accuracy.train,
        validation_accuracy: accuracy.validation,
        test_accuracy: accuracy.test,
        trainable_parameters,
        total_parameters,
        seconds,
    })?;
    let events = recorder.into_events()?;
    curves::write(&events, loaders.steps_per_epoch(), loaders.rows_of_a_step(), &config.out)?;

    let weights = config.out.join("adapter").join(lora::WEIGHTS_FILE);
    let report = Report {
        recipe: config.recipe,
        model: config.model.clone(),
        data: config.data.clone(),
        out: config.out.clone(),
        data_sha256,
        model_sha256,
        device: device_name(device),
        labels: labels.clone(),
        rows: PartSizes {
            train: parts.train.len(),
            validation: parts.validation.len(),
            test: parts.test.len(),
        },
        counts: prepared.counts.clone(),
        classes: prepared.classes.clone(),
        truncated,
        max_length: parts.max_length,
        total_parameters,
        trainable_parameters,
        adapter_bytes: fs::metadata(&weights)
            .map_err(|source| Error::Write { path: weights, source })?
            .len(),
        steps: fitted.steps,
        best: fitted.best,
        initial,
        accuracy,
        test: Some(measure(&predictions, labels)?),
        epochs: EpochAccuracy::of(&events),
        seconds,
    };
    write_json(&config.out.join(REPORT), &report)?;
    checkpoint::delete(&config.out)?;
    Ok(report)
}

/// Refuses targets that the model has not, before anything is written or computed.
fn check_targets(config: &LoraConfig, head: Head, body: &mut Gpt2) -> Result<()> {
    let mut layers = Vec::new();
    body.visit_linears(&mut |slot| {
        layers.push((slot.name.to_owned(), slot.outputs));
        Ok::<(), Error>(())
    })?;
    if head == Head::Lora {
        layers.push((HEAD.to_owned(), &[]));
    }
    Ok(config.check_layers(layers.iter().map(|(name, parts)| (name.as_str(), *parts)))?)
}

/// The checkpoint to go on from. Refuses a folder whose checkpoints would be lost.
fn find_checkpoint(
    out: &Path,
    resume: bool,
    observer: &mut dyn Observer,
) -> Result<Option<Checkpoint>> {
    let shown = out.display();
    if !resume {
        if out.join(REPORT).exists() {
            return Err(Error::Config(format!(
                "{shown} has the results of a run already (its {REPORT}); give --out another folder"
            )));
        }
        return match checkpoint::list(out)?.is_empty() {
            true => Ok(None),
            false => Err(Error::Config(format!(
                "{shown} has checkpoints of a run that is not finished; go on from them with \
                 --resume, or give --out another folder"
            ))),
        };
    }
    let found = Checkpoint::last(out)?;
    match &found {
        Some(checkpoint) => {
            let step = checkpoint.progress().position.step;
            observer.notice(&format!("going on after step {step}"));
        }
        None if out.join(REPORT).exists() => {
            return Err(Error::Config(format!(
                "the run in {shown} is finished: its {REPORT} is there; give --out another folder"
            )));
        }
        None => observer.notice("there is no checkpoint yet; training from the start"),
    }
    Ok(found)
}

/// Measures of the predictions for a part.
fn measure(predictions: &[Prediction], labels: &[String]) -> Result<ClassificationReport> {
    let mut seen = Classification::new(labels.iter().cloned())?;
    for prediction in predictions {
        seen.push(prediction.label, &prediction.probabilities())?;
    }
    Ok(seen.report()?)
}

fn count(model: &Gpt2Classifier) -> ParameterCount {
    ParameterCount::of(model.named_parameters().into_iter().map(|(_, parameter)| parameter))
}

fn save_adapter(
    adapter: &Adapter,
    head: &[(String, Tensor)],
    about: &Map<String, Value>,
    folder: &Path,
) -> Result<()> {
    let mut state = adapter.state()?;
    for (name, tensor) in head {
        state.add_tensor(name, tensor)?;
    }
    state.more_mut().clone_from(about);
    Ok(state.save(folder)?)
}

/// One line of `predictions.jsonl`.
#[derive(Serialize)]
struct PredictionLine<'a> {
    row: usize,
    label: &'a str,
    predicted: &'a str,
    logits: &'a [f32],
}

fn write_predictions<'a>(
    path: &Path,
    predictions: &'a [Prediction],
    labels: &'a [String],
) -> Result<()> {
    let label = |class: usize| labels.get(class).map_or("", String::as_str);
    let line = |prediction: &'a Prediction| PredictionLine {
        row: prediction.row,
        label: label(prediction.label),
        predicted: label(prediction.predicted()),
        logits: &prediction.logits,
    };
    write_jsonl(path, predictions.iter().map(line))
}

pub(crate) fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        _ => "cpu".to_owned(),
    }
}

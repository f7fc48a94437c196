//! A whole pretraining run, from text to a model folder.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use dataset::{Corpus, CorpusConfig, END_OF_TEXT, Tokenizer, TrainWindows};
use gpt2_model::{DeviceChoice, GenerateConfig, Gpt2, Gpt2Config, Sampling, generate};
use tch::Device;

use super::{
    bigram::Bigram,
    checkpoint::{self, Checkpoint, Progress},
    config::{Length, PretrainConfig},
    events::{PretrainEvent, PretrainObserver},
    learner::{Learner, evaluate},
    metrics,
    perplexity::perplexity,
    report::PretrainReport,
    sampled::Sampler,
};
use crate::{
    config::paths,
    config::settings::MAX_COUNT,
    error::{Error, Result},
    run::directory,
    run::files::write_json,
    run::lock::Claim,
    run::phases::device_name,
    training::schedule::{Decay, Schedule},
};

/// Names of what a run leaves in its folder, beside the model.
const METRICS: &str = "metrics.jsonl";
const REPORT: &str = "report.json";

/// Tokens of a sample of text.
const SAMPLE_TOKENS: usize = 60;

/// Trains a model and writes into `config.out`: `config.json` and
/// `model.safetensors` in the Hugging Face layout of GPT-2, `metrics.jsonl`, and
/// `report.json`. While it runs, `checkpoint/` is there too; with `resume` a run
/// goes on from it and ends with the same bytes as one that was never stopped.
///
/// Once `stop` is true the run writes a checkpoint and ends with
/// [`Error::Stopped`].
///
/// # Errors
/// Whatever cannot be read, computed or written, in one sentence.
pub fn run(
    config: &PretrainConfig,
    resume: bool,
    stop: &AtomicBool,
    observer: &mut dyn PretrainObserver,
) -> Result<PretrainReport> {
    config.check()?;
    let read = config.text.iter().chain([&config.config]).chain(&config.init);
    places::apart(read.map(|path| path.as_path()), &config.out)?;
    let _claim = Claim::new(&config.out)?;
    let has_checkpoint = check_folder(&config.out, resume)?;
    run_folder::sweep(&config.out, &["checkpoint"])?;
    let choice: DeviceChoice = config.device.parse().map_err(Error::Config)?;
    let device = gpt2_model::resolve_device(choice)?;
    if let Some(threads) = config.threads {
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
    }
    let shape = Gpt2Config::from_file(&config.config)?;
    check_shape(config, &shape)?;

    observer.stage("reading and tokenizing the text");
    let corpus_config =
        CorpusConfig { documents: config.documents, held_out: config.held_out, seed: config.seed };
    let corpus = Corpus::read(&config.text, &corpus_config)?;
    let digest = corpus.digest();
    let bigram = Bigram::new(&corpus.train, shape.vocab_size as usize);
    let mut windows =
        TrainWindows::new(&corpus.train, config.context, config.batch_size, config.seed)?;
    let steps = match config.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => {
            ((epochs * windows.batches_per_epoch() as f64).round() as usize).max(1)
        }
    };
    if steps > MAX_COUNT {
        return Err(Error::Config(format!("so many epochs are {steps} steps; give fewer")));
    }
    let schedule = Schedule {
        decay: Decay::Cosine,
        lr: config.adamw.lr,
        min_lr: config.min_lr,
        warmup: config.warmup.min(steps),
        steps,
    };
    let sampler = config
        .softmax_candidates
        .filter(|&size| size < shape.vocab_size as usize)
        .map(|size| Sampler::new(bigram.unigram().counts(), size, config.seed, device));

    observer.stage("making the model");
    let model = begin(config, &shape, device)?;
    let mut learner = Learner::new(model, config.adamw, config.clip, config.precision)?;
    let mut progress = Progress {
        step: 0,
        seconds: 0.0,
        config: config.clone(),
        shape: Some(shape.clone()),
        corpus: digest.clone(),
    };
    if has_checkpoint {
        let checkpoint = Checkpoint::load(&config.out)?;
        checkpoint.check(config, &shape, &digest)?;
        learner.restore(&checkpoint)?;
        progress.step = checkpoint.progress().step;
        progress.seconds = checkpoint.progress().seconds;
    } else if resume {
        observer.notice("there is no checkpoint yet; training from the start");
    }
    let mut metrics = metrics::open(&config.out.join(METRICS), progress.step)?;

    observer.training(progress.step, steps, config.batch_size * config.context);
    let mut began = Instant::now();
    while progress.step < steps {
        let batch = windows.batch(progress.step);
        let candidates = match &sampler {
            Some(sampler) => Some(sampler.candidates(progress.step, &batch.targets)?),
            None => None,
        };
        let lr = schedule.at(progress.step);
        learner.optimizer.set_lr(lr);
        let done = learner.step(&batch, candidates.as_ref())?;
        let step = progress.step + 1;
        progress.step = step;
        if !(done.loss.is_finite() && done.gradient_norm.is_finite()) {
            let kept = checkpoint::file(&config.out);
            if kept.exists() {
                observer.notice(&format!("the last checkpoint before it: {}", kept.display()));
            }
            let windows = windows.starts(step - 1);
            return Err(Error::PretrainDiverged { step, loss: done.loss, windows });
        }
        let mut events = vec![PretrainEvent::Step {
            step,
            lr,
            loss: done.loss,
            gradient_norm: done.gradient_norm,
        }];
        let is_time = |every: usize| step.is_multiple_of(every) || step == steps;
        if is_time(config.eval_every) {
            let loss = learner.evaluate(&corpus.held_out, config.context)?;
            events.push(PretrainEvent::Eval {
                step,
                held_out_loss: loss,
                held_out_perplexity: loss.exp(),
            });
        }
        if is_time(config.sample_every) {
            learner.exact();
            events.push(PretrainEvent::Sample { step, text: sample(&learner.model, config.seed)? });
        }
        for event in events {
            metrics.write(&event)?;
            observer.event(&event);
        }
        let stopped = stop.load(Ordering::SeqCst);
        if is_time(config.checkpoint_every) || stopped {
            progress.seconds += began.elapsed().as_secs_f64();
            began = Instant::now();
            // A checkpoint counts on the lines that were written before it.
            metrics.sync()?;
            checkpoint::save(&config.out, &progress, learner.parameters(), &learner.optimizer)?;
            observer.checkpoint(step);
        }
        if stopped && step < steps {
            return Err(Error::Stopped { step, steps });
        }
    }

    observer.stage("writing and evaluating the model");
    learner.model.save(&config.out, config.dtype_out)?;
    // What is reported is what others will load.
    let written = Gpt2::load(&config.out, device)?;
    let held_out_loss = evaluate(&written, &corpus.held_out, config.context)?;
    let file = config.out.join("model.safetensors");
    let report = PretrainReport {
        out: config.out.clone(),
        text: config.text.clone(),
        device: device_name(device),
        train_documents: corpus.documents[0],
        held_out_documents: corpus.documents[1],
        train_tokens: corpus.train.len(),
        held_out_tokens: corpus.held_out.len(),
        train_vocabulary: bigram.unigram().distinct(),
        steps,
        tokens_seen: steps * config.batch_size * config.context,
        epochs: steps as f64 / windows.batches_per_epoch() as f64,
        held_out_perplexity: held_out_loss.exp(),
        bigram_perplexity: perplexity(&bigram, &corpus.held_out),
        unigram_perplexity: perplexity(bigram.unigram(), &corpus.held_out),
        parameters: learner.parameters().iter().map(|(_, value)| value.numel() as u64).sum(),
        model_bytes: fs::metadata(&file)
            .map_err(|source| Error::Write { path: file, source })?
            .len(),
        seconds: progress.seconds,
    };
    write_json(&config.out.join(REPORT), &report)?;
    checkpoint::delete(&config.out)?;
    Ok(report)
}

/// Whether the folder has a checkpoint to go on from. Refuses a folder whose
/// model or checkpoint would be lost.
fn check_folder(out: &Path, resume: bool) -> Result<bool> {
    let shown = out.display();
    if out.join(REPORT).exists() {
        return Err(Error::Config(format!(
            "the run in {shown} is finished: its model and {REPORT} are there; give --out another \
             folder, or begin from the model with --init {shown}"
        )));
    }
    let has_checkpoint = checkpoint::file(out).exists();
    if has_checkpoint && !resume {
        return Err(Error::Config(format!(
            "{shown} has the checkpoint of a run; go on from it with --resume, or give --out \
             another folder"
        )));
    }
    if has_checkpoint {
        return Ok(true);
    }
    if out.join("model.safetensors").exists() {
        return Err(Error::Config(format!(
            "{shown} has a model already; give --out another folder"
        )));
    }
    // Of this run there is nothing yet but the first lines of its events.
    let metrics = out.join(METRICS);
    let is_ours = !metrics.exists() || metrics::is_begun(&metrics);
    let foreign = ["config.json", "checkpoints", "train.csv"].into_iter();
    let foreign = foreign.chain((!is_ours).then_some(METRICS));
    match foreign.into_iter().find(|name| out.join(name).exists()) {
        None => Ok(false),
        Some(name) => Err(Error::Config(format!(
            "{shown}/{name} is of no pretraining; give --out another folder"
        ))),
    }
}

fn check_shape(config: &PretrainConfig, shape: &Gpt2Config) -> Result<()> {
    if config.context as i64 > shape.n_positions {
        return Err(Error::Config(format!(
            "context is {}, but the model has {} positions (n_positions)",
            config.context, shape.n_positions
        )));
    }
    if shape.vocab_size <= i64::from(END_OF_TEXT) {
        return Err(Error::Config(format!(
            "vocab_size is {}, but GPT-2's tokenizer has {} tokens; give the model as many",
            shape.vocab_size,
            END_OF_TEXT + 1
        )));
    }
    Ok(())
}

/// The model to begin with.
fn begin(config: &PretrainConfig, shape: &Gpt2Config, device: Device) -> Result<Gpt2> {
    let Some(folder) = &config.init else {
        return Ok(Gpt2::random(shape, config.seed.into(), device)?);
    };
    let model = Gpt2::load(folder, device)?;
    if model.config() != shape {
        return Err(Error::Config(format!(
            "the model in {} has another shape than {} says",
            folder.display(),
            config.config.display()
        )));
    }
    Ok(model)
}

/// What the model writes by itself, as if a document began.
fn sample(model: &Gpt2, seed: u32) -> Result<String> {
    let config = GenerateConfig {
        max_new_tokens: SAMPLE_TOKENS,
        sampling: Sampling::Random { temperature: 0.8, top_k: Some(40), seed: seed.into() },
        stop_token: Some(i64::from(END_OF_TEXT)),
    };
    let new = generate(model, &[i64::from(END_OF_TEXT)], &config, |_| ())?;
    let ids: Vec<u32> = new.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
    Ok(Tokenizer::gpt2().decode(&ids))
}

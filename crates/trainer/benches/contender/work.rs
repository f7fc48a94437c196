//! Units of work: training steps, classification of the test set, and text generation.

use std::{cell::Cell, ops::ControlFlow, time::Instant};

use anyhow::{Context, Result};
use dataset::{Batch, Padding, TokenizedSet, TorchRng};
use distributed::Group;
use gpt2_model::{
    Arithmetic, Cost, DType, GenerateConfig, Gpt2, Gpt2Classifier, KernelProfile, Pooling, Prompt,
    generate_batch,
};
use lora::Injector;
use serde_json::{Value, json};
use tch::Tensor;
use trainer::{
    AdamWConfig, AdapterSettings, Evaluator, Objective, StepConfig, Stepper, Trainable,
    TrainingSettings, adapt, task::ClassificationObjective,
};

use crate::{Contender, job::Job, roof};

/// Sets the arithmetic, by default the one that the programs choose.
fn with_arithmetic(body: Gpt2, arithmetic: Option<Arithmetic>) -> Gpt2 {
    let arithmetic = arithmetic.unwrap_or_else(|| body.preferred_arithmetic());
    body.with_arithmetic(arithmetic)
}

/// Builds the model of a job with a head and adapters initialized as in a run.
fn adapted(
    job: &mut Job,
    arithmetic: Option<Arithmetic>,
    dtype: DType,
) -> Result<(Gpt2Classifier, lora::Adapter)> {
    let body = with_arithmetic(job.take_model()?.with_dtype(dtype)?, arithmetic);
    let mut rng = TorchRng::manual_seed(job.seed.into());
    let mut model = Gpt2Classifier::new(body, job.classes, &mut rng)?;
    let config =
        lora::LoraConfig { rank: job.rank, alpha: job.alpha, ..AdapterSettings::default().lora()? };
    let adapter = adapt(&mut model, Injector::new(config, &mut rng)?)?;
    Ok((model, adapter))
}

/// Result of some steps.
struct Trained {
    seconds: f64,
    /// Time of forward and backward passes.
    objective_seconds: f64,
    tokens: i64,
    losses: Vec<f64>,
}

/// Objective whose time is measured.
struct Timed<'a> {
    objective: ClassificationObjective<'a>,
    seconds: Cell<f64>,
}

impl Objective for Timed<'_> {
    type Batch = Batch;

    fn micro_batches(&self, batch: &Batch) -> Option<Vec<Batch>> {
        self.objective.micro_batches(batch)
    }

    fn weight(&self, batch: &Batch) -> f64 {
        self.objective.weight(batch)
    }

    fn backward(&self, batch: &Batch, factor: f64) -> trainer::Result<Tensor> {
        let start = Instant::now();
        let loss = self.objective.backward(batch, factor);
        self.seconds.set(self.seconds.get() + start.elapsed().as_secs_f64());
        loss
    }
}

/// Trains on consecutive batches.
pub struct Training {
    job: Job,
    model: Gpt2Classifier,
    stepper: Stepper,
    train: TokenizedSet,
    pooling: Pooling,
    padding: Padding,
    /// True if activations are recomputed in the backward pass.
    checkpoints: bool,
    /// Examples of a micro-batch.
    micro_batch_size: usize,
    next: usize,
}

impl Training {
    /// Training as with `trainer`, without padding.
    pub fn packed(job: Job, arithmetic: Option<Arithmetic>, dtype: DType) -> Result<Self> {
        Self::new(job, Pooling::LastToken, Padding::Packed, arithmetic, dtype)
    }

    /// Training with `--gradient-checkpointing`.
    pub fn checkpointed(job: Job) -> Result<Self> {
        let training = Self::packed(job, Some(Arithmetic::Fused), DType::Float32)?;
        Ok(Self { checkpoints: true, ..training })
    }

    /// Divides each batch into micro-batches, which the processes of a group share.
    pub fn shared_by(self, group: Group, micro_batches: usize) -> Self {
        let micro_batch_size = self.job.batch_size.div_ceil(micro_batches);
        Self { stepper: self.stepper.with_group(group), micro_batch_size, ..self }
    }

    /// Number of trainable parameters.
    pub fn parameters(&self) -> usize {
        self.stepper.optimizer().state().map(|(mean, _)| mean.numel()).sum()
    }

    /// Training as with `trainer --recipe book`.
    pub fn book(job: Job) -> Result<Self> {
        let padding = Padding::To(job.max_length);
        let arithmetic = Some(Arithmetic::Stepwise);
        Self::new(job, Pooling::LastPosition, padding, arithmetic, DType::Float32)
    }

    fn new(
        mut job: Job,
        pooling: Pooling,
        padding: Padding,
        arithmetic: Option<Arithmetic>,
        dtype: DType,
    ) -> Result<Self> {
        let (model, adapter) = adapted(&mut job, arithmetic, dtype)?;
        let arithmetic = model.body().arithmetic();
        let config = StepConfig { dtype, arithmetic, ..StepConfig::default() };
        let recipe = TrainingSettings::default().adamw();
        let adamw = AdamWConfig { lr: job.lr, weight_decay: job.weight_decay, ..recipe };
        let trainable = Trainable::adapter_only(adapter, 1.0);
        let stepper = Stepper::new(trainable.parameter_groups(), adamw, config)?;
        let train = job.train.encoded()?;
        let (checkpoints, micro_batch_size, next) = (false, usize::MAX, 0);
        Ok(Self {
            job,
            model,
            stepper,
            train,
            pooling,
            padding,
            checkpoints,
            micro_batch_size,
            next,
        })
    }

    fn train(&mut self, steps: usize) -> Result<Trained> {
        let start = Instant::now();
        let (mut tokens, mut losses, mut objective_seconds) = (0, Vec::new(), 0.0);
        for number in self.next..self.next + steps {
            let batch = Batch::of(&self.train, self.job.batch(number), self.padding)?;
            let evaluator = Evaluator::new(&self.model, self.pooling);
            let objective = ClassificationObjective::new(evaluator)
                .micro_batches_of(self.micro_batch_size)
                .gradient_checkpointing(self.checkpoints);
            let objective = Timed { objective, seconds: Cell::new(0.0) };
            let loss = self.stepper.step(&objective, &batch)?;
            objective_seconds += objective.seconds.get();
            losses.push(loss.f_double_value(&[])?);
            tokens += batch.lengths.iter().sum::<i64>();
        }
        self.next += steps;
        Ok(Trained { seconds: start.elapsed().as_secs_f64(), objective_seconds, tokens, losses })
    }

    /// Trains, and returns the share of each kind of work in the time of the steps.
    fn breakdown(&mut self, steps: usize) -> Result<Value> {
        let threads = f64::from(tch::get_num_threads());
        // What earlier steps took.
        let _ = self.model.take_kernel_profile();
        let Trained { seconds, objective_seconds, .. } = self.train(steps)?;
        let KernelProfile { frozen, terms, attention, norms, total, waiting } =
            self.model.take_kernel_profile();
        let known = frozen.seconds + terms.seconds + attention.seconds + norms.seconds;
        let in_kernels = total.seconds + waiting.seconds;
        let uncounted = |seconds: f64| Cost { seconds, operations: 0.0 };
        let work = [
            ("frozen products", frozen),
            ("adapters", terms),
            ("attention", attention),
            ("norms and GELU", norms),
            ("copies and additions", uncounted(total.seconds - known)),
            ("waiting for the other threads", waiting),
            (
                "embeddings, head, loss (libtorch)",
                uncounted(threads * objective_seconds - in_kernels),
            ),
            ("optimizer", uncounted(threads * (seconds - objective_seconds))),
        ];
        let work = work.map(|(name, Cost { seconds, operations })| {
            json!({ "name": name, "seconds": seconds / threads, "operations": operations })
        });
        Ok(json!({
            "seconds": seconds,
            "steps": steps,
            "limit_gflops": roof::kernel_limit(threads as usize)?,
            "work": work,
        }))
    }
}

impl Contender for Training {
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>> {
        match words {
            ["train", steps] => {
                let steps = steps.parse().context("expected an integer")?;
                let Trained { seconds, tokens, losses, .. } = self.train(steps)?;
                Ok(Some(json!({
                    "seconds": seconds, "steps": steps, "tokens": tokens, "losses": losses
                })))
            }
            ["breakdown", steps] => {
                Ok(Some(self.breakdown(steps.parse().context("expected an integer")?)?))
            }
            ["roof"] => Ok(Some(roof::measure(&self.job, self.model.body().config())?)),
            _ => Ok(None),
        }
    }
}

/// Classifies the test set like [`trainer::Predictor`].
pub struct Predicting {
    model: Gpt2Classifier,
    test: TokenizedSet,
}

impl Predicting {
    pub fn new(mut job: Job, arithmetic: Option<Arithmetic>, dtype: DType) -> Result<Self> {
        let (mut model, _) = adapted(&mut job, arithmetic, DType::Float32)?;
        model.merge()?;
        // Merged weights are float32, and rounded afterwards.
        let (body, score) = model.into_parts();
        let body = with_arithmetic(body.with_dtype(dtype)?, arithmetic);
        let model = Gpt2Classifier::with_head(body, score);
        Ok(Self { model, test: job.test.encoded()? })
    }
}

impl Contender for Predicting {
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>> {
        if words != ["evaluate"] {
            return Ok(None);
        }
        let start = Instant::now();
        let evaluator = Evaluator::new(&self.model, Pooling::LastToken);
        let rows = evaluator.predict_packed(&self.test, 0..self.test.len())?.len();
        let tokens: usize = self.test.ids().iter().map(Vec::len).sum();
        let seconds = start.elapsed().as_secs_f64();
        Ok(Some(json!({ "seconds": seconds, "rows": rows, "tokens": tokens })))
    }
}

/// Prompts that are continued together.
const PROMPTS: usize = 8;
/// Most tokens of a prompt.
const PROMPT_TOKENS: usize = 16;
/// New tokens of each prompt.
const NEW_TOKENS: usize = 128;

/// Continues the beginnings of examples with the base model, greedily.
pub struct Generating {
    model: Gpt2,
    prompts: Vec<Prompt>,
}

impl Generating {
    pub fn new(mut job: Job) -> Result<Self> {
        let prompt = |(number, ids): (u64, &Vec<u32>)| Prompt {
            ids: ids.iter().take(PROMPT_TOKENS).copied().map(i64::from).collect(),
            number,
        };
        let prompts = (0..).zip(&job.test.ids).take(PROMPTS).map(prompt).collect();
        Ok(Self { model: job.take_model()?, prompts })
    }
}

impl Contender for Generating {
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>> {
        if words != ["generate"] {
            return Ok(None);
        }
        let start = Instant::now();
        let config = GenerateConfig { max_new_tokens: NEW_TOKENS, ..GenerateConfig::default() };
        let mut on_token = |_, _| ControlFlow::Continue(());
        let texts = generate_batch(&self.model, &self.prompts, &config, PROMPTS, &mut on_token)?;
        let tokens: usize = texts.iter().map(|text| text.tokens.len()).sum();
        let seconds = start.elapsed().as_secs_f64();
        Ok(Some(json!({ "seconds": seconds, "rows": texts.len(), "tokens": tokens })))
    }
}

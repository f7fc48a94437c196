//! Units of work: training steps, classification of the test set, and text generation.

use std::{ops::ControlFlow, time::Instant};

use anyhow::Result;
use dataset::{Batch, Padding, TokenizedSet, TorchRng};
use distributed::Group;
use gpt2_model::{
    Arithmetic, DType, GenerateConfig, Gpt2, Gpt2Classifier, KernelProfile, Pooling, Prompt,
    generate_batch,
};
use lora::Injector;
use serde_json::{Value, json};
use trainer::{Evaluator, Stepper, Trainable, adapt, task::ClassificationObjective};

use crate::{
    Contender,
    job::Job,
    roof,
    steps::{Steps, Timed, Trained},
};

/// Sets the arithmetic, by default the one that the programs choose.
pub fn with_arithmetic(body: Gpt2, arithmetic: Option<Arithmetic>) -> Gpt2 {
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
    let adapter = adapt(&mut model, Injector::new(job.lora()?, &mut rng)?)?;
    Ok((model, adapter))
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
        let trainable = Trainable::adapter_only(adapter, 1.0);
        let stepper = job.stepper(&trainable, model.body().arithmetic(), dtype)?;
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
}

impl Steps for Training {
    fn train(&mut self, steps: usize) -> Result<Trained> {
        let start = Instant::now();
        let (mut tokens, mut losses, mut objective_seconds) = (0, Vec::new(), 0.0);
        for number in self.next..self.next + steps {
            let batch = Batch::of(&self.train, self.job.batch(number), self.padding)?;
            let evaluator = Evaluator::new(&self.model, self.pooling);
            let objective = ClassificationObjective::new(evaluator)
                .micro_batches_of(self.micro_batch_size)
                .gradient_checkpointing(self.checkpoints);
            let objective = Timed::new(objective);
            let loss = self.stepper.step(&objective, &batch)?;
            objective_seconds += objective.seconds();
            losses.push(loss.f_double_value(&[])?);
            tokens += batch.lengths.iter().sum::<i64>();
        }
        self.next += steps;
        Ok(Trained { seconds: start.elapsed().as_secs_f64(), objective_seconds, tokens, losses })
    }

    fn take_profile(&self) -> KernelProfile {
        self.model.take_kernel_profile()
    }
}

impl Contender for Training {
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>> {
        match words {
            ["roof"] => Ok(Some(roof::measure(&self.job, self.model.body().config())?)),
            _ => self.answer_steps(words),
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

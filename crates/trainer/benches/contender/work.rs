//! Units of work: training steps, and classification of the test set.

use std::time::Instant;

use anyhow::{Context, Result};
use dataset::{Batch, Padding, TokenizedSet, TorchRng};
use gpt2_model::{Arithmetic, DType, Gpt2Classifier, Pooling};
use lora::Injector;
use serde_json::{Value, json};
use trainer::{
    AdamWConfig, AdapterSettings, Evaluator, StepConfig, Stepper, Trainable, TrainingSettings,
    adapt, task::ClassificationObjective,
};

use crate::{Contender, job::Job, roof};

/// Builds the model of a job with a head and adapters initialized as in a run.
fn adapted(
    job: &mut Job,
    arithmetic: Arithmetic,
    dtype: DType,
) -> Result<(Gpt2Classifier, lora::Adapter)> {
    let body = job.take_model()?.with_arithmetic(arithmetic).with_dtype(dtype)?;
    let mut rng = TorchRng::manual_seed(job.seed.into());
    let mut model = Gpt2Classifier::new(body, job.classes, &mut rng)?;
    let config =
        lora::LoraConfig { rank: job.rank, alpha: job.alpha, ..AdapterSettings::default().lora()? };
    let adapter = adapt(&mut model, Injector::new(config, &mut rng)?)?;
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
    next: usize,
}

impl Training {
    /// Training as with `trainer`, without padding.
    pub fn packed(job: Job, arithmetic: Arithmetic, dtype: DType) -> Result<Self> {
        let config = StepConfig { dtype, ..StepConfig::default() };
        Self::new(job, arithmetic, Pooling::LastToken, Padding::Packed, config)
    }

    /// Training with `--gradient-checkpointing`.
    pub fn checkpointed(job: Job) -> Result<Self> {
        let training = Self::packed(job, Arithmetic::Fused, DType::Float32)?;
        Ok(Self { checkpoints: true, ..training })
    }

    /// Training as with `trainer --recipe book`.
    pub fn book(job: Job) -> Result<Self> {
        let padding = Padding::To(job.max_length);
        let config = StepConfig::default();
        Self::new(job, Arithmetic::Stepwise, Pooling::LastPosition, padding, config)
    }

    fn new(
        mut job: Job,
        arithmetic: Arithmetic,
        pooling: Pooling,
        padding: Padding,
        config: StepConfig,
    ) -> Result<Self> {
        let (model, adapter) = adapted(&mut job, arithmetic, config.dtype)?;
        let recipe = TrainingSettings::default().adamw();
        let adamw = AdamWConfig { lr: job.lr, weight_decay: job.weight_decay, ..recipe };
        let trainable = Trainable::adapter_only(adapter, 1.0);
        let stepper = Stepper::new(trainable.parameter_groups(), adamw, config)?;
        let train = job.train.encoded()?;
        Ok(Self { job, model, stepper, train, pooling, padding, checkpoints: false, next: 0 })
    }

    fn train(&mut self, steps: usize) -> Result<Value> {
        let start = Instant::now();
        let (mut tokens, mut losses) = (0, Vec::new());
        for number in self.next..self.next + steps {
            let batch = Batch::of(&self.train, self.job.batch(number), self.padding)?;
            let evaluator = Evaluator { model: &self.model, pooling: self.pooling };
            let objective =
                ClassificationObjective::new(evaluator).gradient_checkpointing(self.checkpoints);
            let loss = self.stepper.step(&objective, &batch)?;
            losses.push(loss.f_double_value(&[])?);
            tokens += batch.lengths.iter().sum::<i64>();
        }
        self.next += steps;
        let seconds = start.elapsed().as_secs_f64();
        Ok(json!({ "seconds": seconds, "steps": steps, "tokens": tokens, "losses": losses }))
    }
}

impl Contender for Training {
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>> {
        match words {
            ["train", steps] => {
                Ok(Some(self.train(steps.parse().context("expected an integer")?)?))
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
    pub fn new(mut job: Job, arithmetic: Arithmetic) -> Result<Self> {
        let (mut model, _) = adapted(&mut job, arithmetic, DType::Float32)?;
        model.merge()?;
        Ok(Self { model, test: job.test.encoded()? })
    }
}

impl Contender for Predicting {
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>> {
        if words != ["evaluate"] {
            return Ok(None);
        }
        let start = Instant::now();
        let evaluator = Evaluator { model: &self.model, pooling: Pooling::LastToken };
        let rows = evaluator.predict_packed(&self.test, 0..self.test.len())?.len();
        let tokens: usize = self.test.ids().iter().map(Vec::len).sum();
        let seconds = start.elapsed().as_secs_f64();
        Ok(Some(json!({ "seconds": seconds, "rows": rows, "tokens": tokens })))
    }
}

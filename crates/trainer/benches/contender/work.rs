//! Units of work: steps of training, and a classification of the test part.

use std::time::Instant;

use anyhow::{Context, Result};
use dataset::{Batch, END_OF_TEXT, Encoded, TorchRng};
use gpt2_model::{Arithmetic, DType, Gpt2Classifier, Pooling};
use lora::Injector;
use serde_json::{Value, json};
use trainer::{
    AdamW, AdamWConfig, Evaluator, StepConfig, adapt, recipe_adamw, recipe_lora, train_step,
};

use crate::{Contender, job::Job, roof};

/// The model of a job with its head and adapters, as a run draws them.
fn adapted(
    job: &mut Job,
    arithmetic: Arithmetic,
    dtype: DType,
) -> Result<(Gpt2Classifier, lora::Adapter)> {
    let body = job.take_model()?.with_arithmetic(arithmetic).with_dtype(dtype)?;
    let mut rng = TorchRng::manual_seed(job.seed.into());
    let mut model = Gpt2Classifier::new(body, job.classes, &mut rng)?;
    let config = lora::LoraConfig { rank: job.rank, alpha: job.alpha, ..recipe_lora() };
    let adapter = adapt(&mut model, Injector::new(config, &mut rng)?)?;
    Ok((model, adapter))
}

/// Trains on one batch after the other.
pub struct Training {
    job: Job,
    model: Gpt2Classifier,
    optimizer: AdamW,
    pooling: Pooling,
    width: Option<usize>,
    config: StepConfig,
    next: usize,
}

impl Training {
    /// As `trainer` does by default, or with one of its options.
    pub fn packed(job: Job, config: StepConfig) -> Result<Self> {
        Self::new(job, Arithmetic::Fused, Pooling::LastToken, None, config)
    }

    /// As `trainer --recipe book` does.
    pub fn book(job: Job) -> Result<Self> {
        let width = Some(job.max_length);
        let config = StepConfig::default();
        Self::new(job, Arithmetic::Stepwise, Pooling::LastPosition, width, config)
    }

    fn new(
        mut job: Job,
        arithmetic: Arithmetic,
        pooling: Pooling,
        width: Option<usize>,
        config: StepConfig,
    ) -> Result<Self> {
        let (model, adapter) = adapted(&mut job, arithmetic, config.dtype)?;
        let adamw = AdamWConfig { lr: job.lr, weight_decay: job.weight_decay, ..recipe_adamw() };
        let optimizer = AdamW::new(adapter.parameters(), adamw)?;
        Ok(Self { job, model, optimizer, pooling, width, config, next: 0 })
    }

    fn batch(&self, rows: &[usize]) -> Batch {
        let train = &self.job.train;
        let mut ids = Vec::new();
        for (end, &row) in (1..).zip(rows) {
            ids.extend(train.ids[row].iter().copied().map(i64::from));
            if let Some(width) = self.width {
                ids.resize(end * width, i64::from(END_OF_TEXT));
            }
        }
        Batch {
            ids,
            width: self.width,
            lengths: rows.iter().map(|&row| train.ids[row].len() as i64).collect(),
            labels: rows.iter().map(|&row| train.labels[row] as i64).collect(),
            row_numbers: rows.to_vec(),
        }
    }

    fn train(&mut self, steps: usize) -> Result<Value> {
        let start = Instant::now();
        let (mut tokens, mut losses) = (0, Vec::new());
        for number in self.next..self.next + steps {
            let rows = self.job.batch(number).to_vec();
            let batch = self.batch(&rows);
            let evaluator = Evaluator { model: &self.model, pooling: self.pooling };
            let loss = train_step(evaluator, &mut self.optimizer, &batch, self.config)?;
            losses.push(loss.f_double_value(&[])?);
            tokens += self.job.tokens(&rows);
        }
        self.next += steps;
        let seconds = start.elapsed().as_secs_f64();
        Ok(json!({ "seconds": seconds, "steps": steps, "tokens": tokens, "losses": losses }))
    }
}

impl Contender for Training {
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>> {
        match words {
            ["train", steps] => Ok(Some(self.train(steps.parse().context("no number")?)?)),
            ["roof"] => Ok(Some(roof::measure(&self.job, self.model.body().config())?)),
            _ => Ok(None),
        }
    }
}

/// Classifies the test part as [`trainer::Predictor`] does.
pub struct Predicting {
    model: Gpt2Classifier,
    test: Encoded,
}

impl Predicting {
    pub fn new(mut job: Job) -> Result<Self> {
        let (mut model, _) = adapted(&mut job, Arithmetic::Fused, DType::Float32)?;
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

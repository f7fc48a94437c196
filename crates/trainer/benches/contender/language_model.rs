//! Training steps of a language model: adapters on all linear layers, loss of all tokens.

use std::time::Instant;

use anyhow::Result;
use dataset::TorchRng;
use gpt2_model::{Arithmetic, DType, Gpt2, KernelProfile};
use lora::Injector;
use serde_json::Value;
use trainer::{
    Stepper, Trainable, adapt,
    task::{LanguageModelBatch, LanguageModelObjective},
};

use crate::{
    Contender,
    job::{Examples, Job},
    steps::{Steps, Timed, Trained},
    work::with_arithmetic,
};

/// Trains on consecutive batches without padding.
pub struct LanguageModelTraining {
    model: &'static Gpt2,
    objective: Timed<LanguageModelObjective<'static>>,
    stepper: Stepper,
    examples: Examples,
    next: usize,
}

impl LanguageModelTraining {
    pub fn new(mut job: Job, arithmetic: Option<Arithmetic>, dtype: DType) -> Result<Self> {
        let mut model = with_arithmetic(job.take_model()?.with_dtype(dtype)?, arithmetic);
        let mut rng = TorchRng::manual_seed(job.seed.into());
        let adapter = adapt(&mut model, Injector::new(job.lora()?, &mut rng)?)?;
        let trainable = Trainable::adapter_only(adapter, 1.0);
        let stepper = job.stepper(&trainable, model.arithmetic(), dtype)?;
        // The objective lives as long as the process, like the objective of a run.
        let model: &'static Gpt2 = Box::leak(Box::new(model));
        let objective = Timed::new(LanguageModelObjective::new(model, dtype)?);
        Ok(Self { model, objective, stepper, examples: job.language_model, next: 0 })
    }
}

impl Steps for LanguageModelTraining {
    fn train(&mut self, steps: usize) -> Result<Trained> {
        let (start, before) = (Instant::now(), self.objective.seconds());
        let (mut tokens, mut losses) = (0, Vec::new());
        for _ in 0..steps {
            let batches = &self.examples.batches;
            let rows = &batches[self.next % batches.len()];
            self.next += 1;
            let sequences = rows.iter().map(|&row| self.examples.ids[row].as_slice());
            tokens += sequences.clone().map(|ids| ids.len() as i64).sum::<i64>();
            let batch = LanguageModelBatch::of_sequences(sequences);
            losses.push(self.stepper.step(&self.objective, &batch)?.f_double_value(&[])?);
        }
        let objective_seconds = self.objective.seconds() - before;
        Ok(Trained { seconds: start.elapsed().as_secs_f64(), objective_seconds, tokens, losses })
    }

    fn take_profile(&self) -> KernelProfile {
        self.model.take_kernel_profile()
    }
}

impl Contender for LanguageModelTraining {
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>> {
        self.answer_steps(words)
    }
}

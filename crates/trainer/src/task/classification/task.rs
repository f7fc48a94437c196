//! Classification task of the training loop.

use dataset::{Batch, TorchRng};
use tch::{Device, Tensor};

use crate::{
    config::settings::TrainingSettings,
    error::Result,
    task::{
        classification::{
            batches::Loaders, evaluator::Evaluator, objective::ClassificationObjective,
        },
        objective::{Losses, Measures, Objective, Task},
    },
};

/// Classification of labeled text: model, batches and loss.
#[derive(Debug)]
pub struct ClassificationTask<'a> {
    objective: ClassificationObjective<'a>,
    loaders: Loaders<'a>,
    eval_batches: usize,
}

impl<'a> ClassificationTask<'a> {
    /// Creates the task of a model on the batches of `loaders`, with a weight per class if
    /// `class_weights` is given.
    pub fn new(
        evaluator: Evaluator<'a>,
        loaders: Loaders<'a>,
        settings: &TrainingSettings,
        class_weights: Option<&[f64]>,
    ) -> Result<Self> {
        let mut objective = ClassificationObjective::new(evaluator)
            .micro_batches_of(settings.batch_size)
            .gradient_checkpointing(settings.gradient_checkpointing);
        if let Some(weights) = class_weights {
            objective = objective.class_weights(weights, evaluator.model.body().device())?;
        }
        Ok(Self { objective, loaders, eval_batches: settings.eval_batches })
    }
}

impl Objective for ClassificationTask<'_> {
    type Batch = Batch;

    fn micro_batches(&self, batch: &Batch) -> Option<Vec<Batch>> {
        self.objective.micro_batches(batch)
    }

    fn weight(&self, batch: &Batch) -> f64 {
        self.objective.weight(batch)
    }

    fn backward(&self, batch: &Batch, factor: f64) -> Result<Tensor> {
        self.objective.backward(batch, factor)
    }
}

impl Task for ClassificationTask<'_> {
    fn device(&self) -> Device {
        self.objective.evaluator().model.body().device()
    }

    fn steps_per_epoch(&self) -> usize {
        self.loaders.steps_per_epoch()
    }

    fn epoch<'s>(
        &'s self,
        _epoch: usize,
        skip: usize,
        rng: &mut TorchRng,
    ) -> Box<dyn Iterator<Item = Result<Batch>> + 's> {
        Box::new(self.loaders.train(rng).skip(skip).map(Ok))
    }

    fn examples(&self, batch: &Batch) -> Vec<usize> {
        batch.row_numbers.clone()
    }

    fn describe(&self, examples: &[usize]) -> String {
        format!("rows {examples:?} of train.csv")
    }

    fn losses(&self, rng: &mut TorchRng) -> Result<Losses> {
        let evaluator = self.objective.evaluator();
        let train = self.loaders.train_micro_batches(rng).take(self.eval_batches);
        let train = evaluator.mean_loss(train)?;
        let validation = self.loaders.validation(rng).take(self.eval_batches);
        let validation = evaluator.mean_loss(validation)?;
        Ok(Losses { train, validation, language_model: None })
    }

    fn accuracies(&self, rng: &mut TorchRng) -> Result<[f64; 2]> {
        let evaluator = self.objective.evaluator();
        let train = self.loaders.train_micro_batches(rng).take(self.eval_batches);
        let train = evaluator.accuracy(train)?;
        let validation = self.loaders.validation(rng).take(self.eval_batches);
        Ok([train, evaluator.accuracy(validation)?])
    }

    fn validate(&self) -> Result<Measures> {
        self.loaders.validate(self.objective.evaluator())
    }
}

//! Cross-entropy of labeled examples, and its gradients.

use dataset::Batch;
use tch::{Device, Tensor};

use crate::{
    error::Result,
    task::{
        classification::evaluator::{Evaluator, cross_entropy},
        objective::Objective,
    },
};

/// Mean cross-entropy of a batch, with class weights.
#[derive(Debug)]
pub struct ClassificationObjective<'a> {
    evaluator: Evaluator<'a>,
    micro_batch_size: usize,
    gradient_checkpointing: bool,
    class_weights: Option<ClassTensor>,
}

/// Class weights on the host and on the device.
#[derive(Debug)]
struct ClassTensor {
    values: Vec<f64>,
    /// `[classes]`
    tensor: Tensor,
}

impl<'a> ClassificationObjective<'a> {
    /// Creates the objective of a model, without micro-batches and class weights.
    pub fn new(evaluator: Evaluator<'a>) -> Self {
        Self {
            evaluator,
            micro_batch_size: usize::MAX,
            gradient_checkpointing: false,
            class_weights: None,
        }
    }

    /// Computes batches of more than `size` examples in micro-batches of that size.
    #[must_use]
    pub fn micro_batches_of(self, size: usize) -> Self {
        Self { micro_batch_size: size, ..self }
    }

    /// Recomputes activations in the backward pass, for batches without padding.
    #[must_use]
    pub fn gradient_checkpointing(self, recomputes: bool) -> Self {
        Self { gradient_checkpointing: recomputes, ..self }
    }

    /// Sets class weights: the loss of a batch is the weighted mean of the losses of its
    /// examples.
    pub fn class_weights(self, weights: &[f64], device: Device) -> Result<Self> {
        let values: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
        let tensor = Tensor::f_from_slice(&values)?.f_to_device(device)?;
        let class_weights = Some(ClassTensor { values: weights.to_vec(), tensor });
        Ok(Self { class_weights, ..self })
    }

    /// The model and its pooling.
    pub(crate) fn evaluator(&self) -> Evaluator<'a> {
        self.evaluator
    }
}

impl Objective for ClassificationObjective<'_> {
    type Batch = Batch;

    fn micro_batches(&self, batch: &Batch) -> Option<Vec<Batch>> {
        let is_large = batch.rows() > self.micro_batch_size;
        is_large.then(|| batch.pieces(self.micro_batch_size))
    }

    fn weight(&self, batch: &Batch) -> f64 {
        match &self.class_weights {
            None => batch.rows() as f64,
            Some(weights) => {
                let weight = |&label: &i64| weights.values.get(label as usize).unwrap_or(&1.0);
                batch.labels.iter().map(weight).sum()
            }
        }
    }

    fn backward(&self, batch: &Batch, factor: f64) -> Result<Tensor> {
        let weights = self.class_weights.as_ref().map(|weights| &weights.tensor);
        let loss = |logits: &Tensor| {
            let loss = cross_entropy(logits, batch, weights)?;
            if factor == 1.0 { Ok(loss) } else { loss.f_mul_scalar(factor) }
        };
        if batch.width.is_none() {
            let (model, rows) = (self.evaluator.model, self.evaluator.packed(batch)?);
            return Ok(if self.gradient_checkpointing {
                model.backward_checkpointed(&rows, loss)?
            } else {
                model.backward_packed(&rows, loss)?
            });
        }
        let loss = loss(&self.evaluator.logits(batch)?)?;
        loss.f_backward()?;
        Ok(loss.f_detach()?)
    }
}

//! One step of training.

use dataset::Batch;
use gpt2_model::{DType, PackedRows};
use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

use crate::{
    adamw::{AdamW, AdamWConfig},
    error::Result,
    evaluate::{Evaluator, cross_entropy},
    loss_scale::LossScale,
};

/// How a step is computed. It changes time and memory, and the result only by
/// rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepConfig {
    /// What the frozen weights are kept and multiplied in.
    pub dtype: DType,
    /// Blocks are computed a second time for their gradients instead of being
    /// remembered; only for batches without padding.
    pub gradient_checkpointing: bool,
}

/// Takes one step after the other.
#[derive(Debug)]
pub struct Stepper {
    optimizer: AdamW,
    config: StepConfig,
    /// Where gradients have to be scaled.
    scale: Option<LossScale>,
}

impl Stepper {
    /// Steps that change `parameters`, which are shared with the model.
    ///
    /// # Errors
    /// Whatever libtorch refuses, for want of memory for example.
    pub fn new(parameters: Vec<Tensor>, adamw: AdamWConfig, config: StepConfig) -> Result<Self> {
        let optimizer = AdamW::new(parameters, adamw)?;
        let scale = config.dtype.scales_loss().then(LossScale::new);
        Ok(Self { optimizer, config, scale })
    }

    /// One step of the optimizer on a batch; returns the loss before it, in nats,
    /// a scalar on the model's device that is not read back.
    ///
    /// Where gradients are scaled and one of them leaves the range of numbers, the
    /// parameters stay as they are.
    ///
    /// # Errors
    /// Whatever the model refuses.
    pub fn step(&mut self, evaluator: Evaluator<'_>, batch: &Batch) -> Result<Tensor> {
        self.optimizer.zero_grad()?;
        let factor = self.scale.map(LossScale::factor);
        let loss = self.backward(evaluator, batch, factor)?;
        let (Some(factor), Some(scale)) = (factor, &mut self.scale) else {
            self.optimizer.step()?;
            return Ok(loss);
        };
        let finite = self.optimizer.unscale(factor)?;
        scale.learn(finite);
        if finite {
            self.optimizer.step()?;
        }
        Ok(loss.f_mul_scalar(factor.recip())?)
    }

    /// Gradients of the loss times `factor`; returns that product.
    fn backward(
        &self,
        evaluator: Evaluator<'_>,
        batch: &Batch,
        factor: Option<f64>,
    ) -> Result<Tensor> {
        let scaled = |loss: Tensor| -> Result<Tensor, TchError> {
            factor.map_or(Ok(loss.shallow_clone()), |factor| loss.f_mul_scalar(factor))
        };
        if self.config.gradient_checkpointing && batch.width.is_none() {
            let model = evaluator.model;
            let rows = PackedRows::new(&batch.ids, &batch.lengths, model.body().device())?;
            let loss = |logits: &Tensor| scaled(cross_entropy(logits, batch)?);
            return Ok(model.backward_checkpointed(&rows, loss)?);
        }
        let loss = scaled(evaluator.loss(batch)?)?;
        loss.f_backward()?;
        Ok(loss.f_detach()?)
    }
}

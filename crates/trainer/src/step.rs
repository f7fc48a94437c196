//! One step of training.

use dataset::Batch;
use gpt2_model::{DType, PackedRows};
use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

use crate::{
    adamw::AdamW,
    error::Result,
    evaluate::{Evaluator, cross_entropy},
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

/// One step of the optimizer on a batch; returns the loss before it, in nats, a
/// scalar on the model's device that is not read back.
///
/// # Errors
/// Whatever the model refuses.
pub fn train_step(
    evaluator: Evaluator<'_>,
    optimizer: &mut AdamW,
    batch: &Batch,
    config: StepConfig,
) -> Result<Tensor> {
    optimizer.zero_grad()?;
    let scale = config.dtype.loss_scale();
    let loss = if config.gradient_checkpointing && batch.width.is_none() {
        let device = evaluator.model.body().device();
        let rows = PackedRows::new(&batch.ids, &batch.lengths, device)?;
        evaluator
            .model
            .backward_checkpointed(&rows, |logits| scaled(cross_entropy(logits, batch)?, scale))?
    } else {
        let loss = scaled(evaluator.loss(batch)?, scale)?;
        loss.f_backward()?;
        loss.f_detach()?
    };
    optimizer.unscale(scale)?;
    optimizer.step()?;
    Ok(scaled(loss, scale.recip())?)
}

fn scaled(loss: Tensor, scale: f64) -> Result<Tensor, TchError> {
    if scale == 1.0 { Ok(loss) } else { loss.f_mul_scalar(scale) }
}

//! One step of training.

use dataset::Batch;
use gpt2_model::{DType, PackedRows};
use serde::{Deserialize, Serialize};
use tch::{Device, TchError, Tensor};

use crate::{
    error::Result,
    task::evaluator::{Evaluator, cross_entropy},
    training::adamw::{AdamW, AdamWConfig, Treatment},
    training::loss_scale::LossScale,
};

/// How a step is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepConfig {
    /// What the frozen weights are kept and multiplied in.
    pub dtype: DType,
    /// Blocks are computed a second time for their gradients instead of being
    /// remembered; only for batches without padding.
    pub gradient_checkpointing: bool,
    /// Gradients are scaled down to a common norm of at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_grad_norm: Option<f64>,
    /// Looks at every loss and gradient and refuses what is no number, before the
    /// optimizer takes it. To know, each step waits for the device.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detect_anomaly: bool,
    /// Most rows that are computed at a time; larger batches are computed in
    /// pieces, whose gradients are those of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_at_a_time: Option<usize>,
}

/// Takes one step after the other.
#[derive(Debug)]
pub struct Stepper {
    optimizer: AdamW,
    config: StepConfig,
    /// Where gradients have to be scaled.
    scale: Option<LossScale>,
    class_weights: Option<ClassTensor>,
    anomaly: Option<usize>,
}

/// Weights of the classes, here and on the device.
#[derive(Debug)]
struct ClassTensor {
    values: Vec<f64>,
    /// `[classes]`
    tensor: Tensor,
}

impl Stepper {
    /// Steps that change `parameters`, which are shared with the model.
    ///
    /// # Errors
    /// Whatever libtorch refuses, for want of memory for example.
    pub fn new(
        parameters: impl IntoIterator<Item = (Tensor, Treatment)>,
        adamw: AdamWConfig,
        config: StepConfig,
    ) -> Result<Self> {
        let optimizer = AdamW::with(parameters, adamw)?;
        let scale = config.dtype.scales_loss().then(LossScale::new);
        Ok(Self { optimizer, config, scale, class_weights: None, anomaly: None })
    }

    /// Weights each row by its class: the loss of a batch is the sum of the rows'
    /// losses times their weights, over the sum of the weights.
    ///
    /// # Errors
    /// Whatever libtorch refuses.
    pub fn weight_classes(&mut self, weights: &[f64], device: Device) -> Result<()> {
        let values: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
        let tensor = Tensor::f_from_slice(&values)?.f_to_device(device)?;
        self.class_weights = Some(ClassTensor { values: weights.to_vec(), tensor });
        Ok(())
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// The factor on the loss, where there is one.
    pub(crate) fn scale(&self) -> Option<LossScale> {
        self.scale
    }

    /// The optimizer, to go on from a saved state.
    pub(crate) fn optimizer_mut(&mut self) -> &mut AdamW {
        &mut self.optimizer
    }

    /// Goes on with a saved factor on the loss.
    pub(crate) fn set_scale(&mut self, scale: Option<LossScale>) {
        self.scale = scale;
    }

    /// Sets the learning rate of the steps to come.
    pub fn set_lr(&mut self, lr: f64) {
        self.optimizer.set_lr(lr);
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
        let loss = match self.config.rows_at_a_time {
            Some(most) if batch.rows() > most => {
                let whole = self.weight(batch);
                let mut sum: Option<Tensor> = None;
                for piece in batch.pieces(most) {
                    let share = self.weight(&piece) / whole;
                    let piece = self.backward(evaluator, &piece, factor.unwrap_or(1.0) * share)?;
                    sum = Some(match sum {
                        Some(sum) => sum.f_add(&piece)?,
                        None => piece,
                    });
                }
                sum.ok_or_else(|| TchError::Shape("a batch without rows".to_owned()))?
            }
            _ => self.backward(evaluator, batch, factor.unwrap_or(1.0))?,
        };
        if self.config.detect_anomaly {
            self.anomaly = self.optimizer.first_gradient_without_numbers()?;
        }
        let (Some(factor), Some(scale)) = (factor, &mut self.scale) else {
            self.change()?;
            return Ok(loss);
        };
        let finite = self.optimizer.unscale(factor)?;
        scale.learn(finite);
        if finite {
            self.change()?;
        }
        Ok(loss.f_mul_scalar(factor.recip())?)
    }

    /// The first gradient of the last step that was no number, where that was looked
    /// for: the place of its parameter among those of the optimizer. Such a step
    /// changes nothing.
    pub(crate) fn anomaly(&self) -> Option<usize> {
        self.anomaly
    }

    fn change(&mut self) -> Result<()> {
        if self.anomaly.is_some() {
            return Ok(());
        }
        if let Some(most) = self.config.max_grad_norm {
            self.optimizer.clip(most)?;
        }
        Ok(self.optimizer.step()?)
    }

    /// What the mean over a batch divides by: its rows, each with the weight of
    /// its class.
    fn weight(&self, batch: &Batch) -> f64 {
        match &self.class_weights {
            None => batch.rows() as f64,
            Some(weights) => {
                let weight = |&label: &i64| weights.values.get(label as usize).unwrap_or(&1.0);
                batch.labels.iter().map(weight).sum()
            }
        }
    }

    /// Gradients of the loss times `factor`; returns that product.
    fn backward(&self, evaluator: Evaluator<'_>, batch: &Batch, factor: f64) -> Result<Tensor> {
        let weights = self.class_weights.as_ref().map(|weights| &weights.tensor);
        let loss = |logits: &Tensor| {
            let loss = cross_entropy(logits, batch, weights)?;
            if factor == 1.0 { Ok(loss) } else { loss.f_mul_scalar(factor) }
        };
        if self.config.gradient_checkpointing && batch.width.is_none() {
            let model = evaluator.model;
            let rows = PackedRows::new(&batch.ids, &batch.lengths, model.body().device())?;
            return Ok(model.backward_checkpointed(&rows, loss)?);
        }
        let loss = loss(&evaluator.logits(batch)?)?;
        loss.f_backward()?;
        Ok(loss.f_detach()?)
    }
}

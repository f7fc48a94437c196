//! One optimizer step.

use gpt2_model::DType;
use tch::{TchError, Tensor};

use crate::{
    config::settings::{MachineSettings, TrainingSettings},
    error::Result,
    task::objective::Objective,
    training::{
        adamw::{AdamW, AdamWConfig, ParameterGroup},
        loss_scale::LossScale,
    },
};

/// How a step is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepConfig {
    /// Data type of the frozen weights; the loss of float16 is scaled.
    pub dtype: DType,
    /// Maximum norm of the gradients.
    pub max_grad_norm: Option<f64>,
    /// Looks at every gradient and refuses NaN and infinite ones before the optimizer sees
    /// them. Each step waits for the device then.
    pub detect_anomaly: bool,
}

impl StepConfig {
    /// The steps of a run.
    pub(crate) fn of(training: &TrainingSettings, machine: &MachineSettings) -> Self {
        Self {
            dtype: machine.dtype,
            max_grad_norm: training.max_grad_norm,
            detect_anomaly: training.detect_anomaly,
        }
    }
}

/// Takes optimizer steps.
#[derive(Debug)]
pub struct Stepper {
    optimizer: AdamW,
    config: StepConfig,
    loss_scale: Option<LossScale>,
    anomaly: Option<usize>,
    gradient_norm: Option<f64>,
}

impl Stepper {
    /// Steps that change `parameters`, which are shared with the model.
    ///
    /// # Errors
    /// Whatever libtorch refuses, for lack of memory for example.
    pub fn new(
        parameters: impl IntoIterator<Item = (Tensor, ParameterGroup)>,
        adamw: AdamWConfig,
        config: StepConfig,
    ) -> Result<Self> {
        let optimizer = AdamW::with(parameters, adamw)?;
        let loss_scale = config.dtype.scales_loss().then(LossScale::new);
        Ok(Self { optimizer, config, loss_scale, anomaly: None, gradient_norm: None })
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// The loss scale, if the loss is scaled.
    pub(crate) fn loss_scale(&self) -> Option<LossScale> {
        self.loss_scale
    }

    /// The optimizer, to restore a saved state.
    pub(crate) fn optimizer_mut(&mut self) -> &mut AdamW {
        &mut self.optimizer
    }

    /// Restores a saved loss scale.
    pub(crate) fn set_loss_scale(&mut self, scale: Option<LossScale>) {
        self.loss_scale = scale;
    }

    /// Sets the learning rate of the steps to come.
    pub fn set_lr(&mut self, lr: f64) {
        self.optimizer.set_lr(lr);
    }

    /// One optimizer step on a batch; returns the loss before it, in nats, a scalar on the
    /// model's device that is not read back.
    ///
    /// Where the loss is scaled and a gradient overflows, the parameters stay as they are.
    pub fn step<O: Objective>(&mut self, objective: &O, batch: &O::Batch) -> Result<Tensor> {
        self.optimizer.zero_grad()?;
        let scale = self.loss_scale.map(LossScale::factor);
        let loss = accumulate(objective, batch, scale.unwrap_or(1.0))?;
        (self.anomaly, self.gradient_norm) = (None, None);
        // Gradients of a scaled loss may overflow: the scale falls then.
        if self.config.detect_anomaly && scale.is_none_or(|factor| factor <= 1.0) {
            self.anomaly = self.optimizer.first_gradient_without_numbers()?;
        }
        let (Some(factor), Some(scale)) = (scale, &mut self.loss_scale) else {
            self.update()?;
            return Ok(loss);
        };
        let finite = self.optimizer.unscale(factor)?;
        scale.learn(finite);
        if finite {
            self.update()?;
        }
        Ok(loss.f_mul_scalar(factor.recip())?)
    }

    /// The first NaN or infinite gradient of the last step, if anomalies are detected: the
    /// index of its parameter in the optimizer. Such a step changes nothing.
    pub(crate) fn anomaly(&self) -> Option<usize> {
        self.anomaly
    }

    /// The norm of the gradients of the last step before clipping, if they are clipped.
    pub(crate) fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm
    }

    fn update(&mut self) -> Result<()> {
        if self.anomaly.is_some() {
            return Ok(());
        }
        if let Some(most) = self.config.max_grad_norm {
            self.gradient_norm = Some(self.optimizer.clip(most)?);
        }
        Ok(self.optimizer.step()?)
    }
}

/// Adds the gradients of `factor` times the mean loss of a batch, in micro-batches if it
/// has some, and returns that product.
fn accumulate<O: Objective>(objective: &O, batch: &O::Batch, factor: f64) -> Result<Tensor> {
    let Some(micro_batches) = objective.micro_batches(batch) else {
        return objective.backward(batch, factor);
    };
    let whole = objective.weight(batch);
    let mut sum: Option<Tensor> = None;
    for micro_batch in micro_batches {
        let share = objective.weight(&micro_batch) / whole;
        let loss = objective.backward(&micro_batch, factor * share)?;
        sum = Some(match sum {
            Some(sum) => sum.f_add(&loss)?,
            None => loss,
        });
    }
    Ok(sum.ok_or_else(|| TchError::Shape("a batch without examples".to_owned()))?)
}

//! One optimizer step.

use distributed::{Group, Order, TreeSum};
use gpt2_model::{Arithmetic, DType};
use tch::{TchError, Tensor};

use crate::{
    config::settings::{MachineSettings, TrainingSettings},
    error::Result,
    task::objective::Objective,
    training::{
        adamw::{AdamW, AdamWConfig, ParameterGroup},
        gradient_sum::{Reduce, flattened, restore},
        loss_scale::LossScale,
    },
};

/// Settings of optimizer steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepConfig {
    /// Data type of the frozen parameters; float16 uses loss scaling.
    pub dtype: DType,
    /// Arithmetic of the optimizer.
    pub arithmetic: Arithmetic,
    /// Gradient clipping: maximum total norm.
    pub max_grad_norm: Option<f64>,
    /// Checks every gradient and skips the step if one is NaN or infinite. Each step then waits
    /// for the device.
    pub detect_anomaly: bool,
    /// All-reduce algorithm of the gradients of micro-batches.
    pub reduce: Reduce,
}

impl StepConfig {
    /// Settings of the steps of a run.
    pub(crate) fn of(training: &TrainingSettings, machine: &MachineSettings) -> Self {
        Self {
            dtype: machine.dtype,
            arithmetic: machine.arithmetic.unwrap_or_default(),
            max_grad_norm: training.max_grad_norm,
            detect_anomaly: training.detect_anomaly,
            reduce: training.reduce,
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
    group: Group,
    dropout_seed: Option<i64>,
}

impl Stepper {
    /// Creates an optimizer of `parameters`, which are shared with the model.
    ///
    /// # Errors
    /// Any libtorch error, for example if memory runs out.
    pub fn new(
        parameters: impl IntoIterator<Item = (Tensor, ParameterGroup)>,
        adamw: AdamWConfig,
        config: StepConfig,
    ) -> Result<Self> {
        let optimizer = AdamW::with(parameters, adamw)?.with_arithmetic(config.arithmetic);
        let loss_scale = config.dtype.scales_loss().then(LossScale::new);
        let (anomaly, gradient_norm, dropout_seed) = (None, None, None);
        let group = Group::alone();
        Ok(Self { optimizer, config, loss_scale, anomaly, gradient_norm, group, dropout_seed })
    }

    /// Shares the micro-batches of each step with the other processes of a group, which must take
    /// the same steps.
    #[must_use]
    pub fn with_group(self, group: Group) -> Self {
        Self { group, ..self }
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Loss scale, if the loss is scaled.
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

    /// Sets the learning rate of the following steps.
    pub fn set_lr(&mut self, lr: f64) {
        self.optimizer.set_lr(lr);
    }

    /// Sets the seed of the dropout masks of the next step. Each micro-batch has a seed of its own,
    /// so that the masks do not depend on the process that computes it.
    pub fn set_dropout_seed(&mut self, seed: Option<i64>) {
        self.dropout_seed = seed;
    }

    /// Takes an optimizer step on a batch. Returns the mean loss before the step, in nats, as a
    /// scalar on the model's device.
    ///
    /// With loss scaling, a step whose gradients overflow is skipped.
    pub fn step<O: Objective>(&mut self, objective: &O, batch: &O::Batch) -> Result<Tensor> {
        let scale = self.loss_scale.map(LossScale::scale);
        let loss = self.gradients(objective, batch, scale.unwrap_or(1.0))?;
        (self.anomaly, self.gradient_norm) = (None, None);
        // Gradients of a scaled loss may overflow, which lowers the scale.
        if self.config.detect_anomaly && scale.is_none_or(|scale| scale <= 1.0) {
            self.anomaly = self.optimizer.first_nonfinite_gradient()?;
        }
        let (Some(factor), Some(scale)) = (scale, &mut self.loss_scale) else {
            self.update()?;
            return Ok(loss);
        };
        let finite = self.optimizer.unscale(factor)?;
        scale.update(finite);
        if finite {
            self.update()?;
        }
        Ok(loss.f_mul_scalar(factor.recip())?)
    }

    /// Parameter index of the first NaN or infinite gradient of the last step, if anomalies are
    /// detected. Such a step is skipped.
    pub(crate) fn anomaly(&self) -> Option<usize> {
        self.anomaly
    }

    /// Total gradient norm of the last step before clipping, if gradients are clipped.
    pub(crate) fn gradient_norm(&self) -> Option<f64> {
        self.gradient_norm
    }

    fn update(&mut self) -> Result<()> {
        if self.anomaly.is_some() {
            return Ok(());
        }
        if let Some(max_norm) = self.config.max_grad_norm {
            self.gradient_norm = Some(self.optimizer.clip(max_norm)?);
        }
        self.optimizer.step()
    }

    /// Computes the gradients of `factor` times the mean loss of a batch, and returns that product.
    /// The gradients of micro-batches are summed in a tree, of which each process computes a part.
    fn gradients<O: Objective>(
        &mut self,
        objective: &O,
        batch: &O::Batch,
        factor: f64,
    ) -> Result<Tensor> {
        let order = Order::from(self.config.reduce);
        let Some(micro_batches) = objective.micro_batches(batch) else {
            self.group.share(1, order)?;
            self.seed_dropout(0);
            self.optimizer.zero_grad()?;
            return objective.backward(batch, factor);
        };
        let whole = objective.weight(batch);
        let (mut sum, mut losses) = (TreeSum::new(), TreeSum::new());
        let own = self.group.share(micro_batches.len(), order)?;
        for index in own.clone() {
            let micro_batch = &micro_batches[index];
            self.seed_dropout(index);
            if order == Order::Tree || index == own.start {
                self.optimizer.zero_grad()?;
            }
            let fraction = objective.weight(micro_batch) / whole;
            let loss = objective.backward(micro_batch, factor * fraction)?;
            match order {
                Order::Tree => sum.add(flattened(&self.parameter_gradients()?, &loss)?)?,
                // The gradients are added where they are.
                Order::Ring => losses.add(loss)?,
            }
        }
        let empty =
            || TchError::Shape("expected a batch with examples, got an empty one".to_owned());
        if order == Order::Ring {
            let loss = losses.finish()?.ok_or_else(empty)?;
            if self.group.world() == 1 {
                return Ok(loss);
            }
            sum.add(flattened(&self.parameter_gradients()?, &loss)?)?;
        }
        let mut sum = sum.finish()?.ok_or_else(empty)?;
        self.group.sum(&mut sum, order)?;
        Ok(restore(&mut self.parameter_gradients()?, &sum)?)
    }

    fn seed_dropout(&self, index: usize) {
        /// Odd, so that no two micro-batches have the same seed.
        const STRIDE: i64 = 0x1e37_79b9_7f4a_7c15;
        if let Some(seed) = self.dropout_seed {
            tch::manual_seed(seed.wrapping_add(STRIDE.wrapping_mul(index as i64)));
        }
    }

    fn parameter_gradients(&self) -> Result<Vec<Tensor>> {
        Ok(self.optimizer.gradients()?.into_iter().map(|(_, gradient)| gradient).collect())
    }
}

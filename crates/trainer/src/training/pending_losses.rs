//! Losses of training steps, read from the device several at a time.

use tch::{Device, Tensor};

use crate::{
    error::{Error, Result},
    training::event::Event,
    training::scalar::scalar,
};

/// Steps on a CUDA device between two reads of their losses, because reading waits until the
/// device has finished all work.
const STEPS_AHEAD: usize = 16;

/// A step whose loss is still on the device.
pub(crate) struct TakenStep {
    pub step: usize,
    pub epoch: usize,
    pub loss: Tensor,
    pub learning_rate: f64,
    pub gradient_norm: Option<f64>,
    pub examples: Vec<usize>,
}

/// Losses that are still on the device.
pub(crate) struct PendingLosses {
    steps: Vec<TakenStep>,
    at_a_time: usize,
}

impl PendingLosses {
    pub fn new(device: Device) -> Self {
        Self { steps: Vec::new(), at_a_time: if device.is_cuda() { STEPS_AHEAD } else { 1 } }
    }

    pub fn push(&mut self, step: TakenStep) {
        self.steps.push(step);
    }

    /// Reports the losses if there are enough of them, or if `now`. `describe` names the
    /// examples of a step in an error.
    pub fn read(
        &mut self,
        now: bool,
        describe: &dyn Fn(&[usize]) -> String,
        on_event: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<()> {
        if !now && self.steps.len() < self.at_a_time {
            return Ok(());
        }
        for taken in self.steps.drain(..) {
            let TakenStep { step, epoch, learning_rate, gradient_norm, examples: rows, .. } = taken;
            let loss = scalar(&taken.loss)?;
            // The optimizer has made NaN of all parameters if the norm is not finite.
            if !loss.is_finite() || gradient_norm.is_some_and(|norm| !norm.is_finite()) {
                return Err(Error::Diverged { step, loss, examples: describe(&rows) });
            }
            on_event(Event::Step { step, epoch, loss, learning_rate, gradient_norm, rows })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(step: usize, loss: f32) -> TakenStep {
        let (loss, examples) = (Tensor::from(loss), vec![step]);
        TakenStep { step, epoch: 1, loss, learning_rate: 0.1, gradient_norm: None, examples }
    }

    /// Steps that are reported when the losses are read.
    fn read(losses: &mut PendingLosses, now: bool) -> Result<Vec<usize>> {
        let mut steps = Vec::new();
        losses.read(now, &|rows| format!("{rows:?}"), &mut |event| {
            if let Event::Step { step, .. } = event {
                steps.push(step);
            }
            Ok(())
        })?;
        Ok(steps)
    }

    #[test]
    fn losses_are_read_several_at_a_time_and_in_order() {
        let mut losses = PendingLosses { steps: Vec::new(), at_a_time: 3 };
        losses.push(taken(0, 0.5));
        losses.push(taken(1, 0.5));
        assert_eq!(read(&mut losses, false).unwrap(), [0; 0]);
        losses.push(taken(2, 0.5));
        assert_eq!(read(&mut losses, false).unwrap(), [0, 1, 2]);
        losses.push(taken(3, 0.5));
        assert_eq!(read(&mut losses, true).unwrap(), [3]);
        losses.push(taken(4, f32::NAN));
        let error = read(&mut losses, true).unwrap_err();
        assert!(matches!(error, Error::Diverged { step: 4, .. }), "{error}");
    }
}

//! Losses of training steps, read back a few at a time.

use tch::{Device, Tensor};

use crate::{
    error::{Error, Result},
    task::evaluator::scalar,
    training::event::Event,
};

/// Steps on a CUDA device between two looks at their losses: to look is to wait
/// until the device has done everything.
const STEPS_AHEAD: usize = 16;

/// A step whose loss was not looked at yet.
pub(crate) struct Taken {
    pub step: usize,
    pub epoch: usize,
    pub loss: Tensor,
    pub rows: Vec<usize>,
}

/// Losses that are on the device.
pub(crate) struct Losses {
    steps: Vec<Taken>,
    at_a_time: usize,
}

impl Losses {
    pub fn new(device: Device) -> Self {
        Self { steps: Vec::new(), at_a_time: if device.is_cuda() { STEPS_AHEAD } else { 1 } }
    }

    pub fn push(&mut self, step: Taken) {
        self.steps.push(step);
    }

    /// Reports the losses if there are enough of them, or if all are wanted `now`.
    pub fn read(&mut self, now: bool, on_event: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        if !now && self.steps.len() < self.at_a_time {
            return Ok(());
        }
        for Taken { step, epoch, loss, rows } in self.steps.drain(..) {
            let loss = scalar(&loss)?;
            if !loss.is_finite() {
                return Err(Error::Diverged { step, loss, rows });
            }
            on_event(Event::Step { step, epoch, loss, rows })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(step: usize, loss: f32) -> Taken {
        Taken { step, epoch: 1, loss: Tensor::from(loss), rows: vec![step] }
    }

    /// The steps that are reported when the losses are read.
    fn read(losses: &mut Losses, now: bool) -> Result<Vec<usize>> {
        let mut steps = Vec::new();
        losses.read(now, &mut |event| {
            if let Event::Step { step, .. } = event {
                steps.push(step);
            }
            Ok(())
        })?;
        Ok(steps)
    }

    #[test]
    fn losses_are_read_several_at_a_time_and_in_order() {
        let mut losses = Losses { steps: Vec::new(), at_a_time: 3 };
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

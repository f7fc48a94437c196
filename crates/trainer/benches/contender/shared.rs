//! Training steps that several processes share, and the sum of their gradients.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use distributed::{Group, Order, Place};
use gpt2_model::DType;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::{Contender, job::Job, work::Training};

/// Micro-batches of a step.
const MICRO_BATCHES: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(120);

/// Training of one process among several.
pub struct SharedTraining {
    /// None while the processes join.
    training: Option<Training>,
    group: Group,
    /// As many elements as a step sums.
    gradients: Tensor,
}

impl SharedTraining {
    pub fn new(job: Job) -> Result<Self> {
        let training = Training::packed(job, None, DType::Float32)?;
        let length = training.parameters() as i64 + 1;
        let gradients = Tensor::f_zeros([length], (Kind::Float, Device::Cpu))?;
        Ok(Self { training: Some(training), group: Group::alone(), gradients })
    }

    fn join(&mut self) -> Result<()> {
        if let Some(place) = Place::of_environment()? {
            self.group = Group::join(place, TIMEOUT)?;
        }
        let training = self.training.take();
        self.training =
            training.map(|training| training.shared_by(self.group.clone(), MICRO_BATCHES));
        Ok(())
    }

    /// Seconds of doing something several times.
    fn timed(&mut self, times: &str, mut work: impl FnMut(&mut Self) -> Result<()>) -> Result<f64> {
        let times: u32 = times.parse().context("expected an integer")?;
        self.group.barrier()?;
        let start = Instant::now();
        for _ in 0..times {
            work(self)?;
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

impl Contender for SharedTraining {
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>> {
        let seconds = match words {
            ["join"] => self.timed("1", Self::join)?,
            ["sum", order, times] => {
                let order = match *order {
                    "tree" => Order::Tree,
                    "ring" => Order::Ring,
                    _ => bail!("unknown order {order}"),
                };
                self.timed(times, |this| Ok(this.group.sum(&mut this.gradients, order)?))?
            }
            ["copy", times] => {
                let mut copy = self.gradients.f_zeros_like()?;
                self.timed(times, |this| Ok(copy.f_copy_(&this.gradients).map(drop)?))?
            }
            _ => {
                let training = self.training.as_mut().context("the training is not ready")?;
                self.group.barrier()?;
                return training.answer(words);
            }
        };
        Ok(Some(json!({ "seconds": seconds })))
    }
}

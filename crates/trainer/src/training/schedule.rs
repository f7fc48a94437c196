//! Learning-rate schedule.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Learning-rate schedule after the warmup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Constant
    #[default]
    Constant,
    /// Linear decay
    Linear,
    /// Cosine decay
    Cosine,
}

/// Learning-rate schedule: linear warmup, then constant, linear or cosine decay (Loshchilov and
/// Hutter 2017, *SGDR*, without restarts).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Decay after the warmup.
    pub decay: Decay,
    /// Peak learning rate, right after the warmup.
    pub lr: f64,
    /// Learning rate of the last step of a decaying schedule.
    pub min_lr: f64,
    /// Steps of the warmup.
    pub warmup: usize,
    /// Steps of the run.
    pub steps: usize,
}

impl Schedule {
    /// Learning rate of a step, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.lr * (step + 1) as f64 / self.warmup as f64;
        }
        if self.decay == Decay::Constant {
            return self.lr;
        }
        let last = self.steps.saturating_sub(1);
        if step >= last {
            return if last > self.warmup { self.min_lr } else { self.lr };
        }
        let progress = (step - self.warmup) as f64 / (last - self.warmup) as f64;
        let remaining = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.min_lr + (self.lr - self.min_lr) * remaining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Decay; 3] = [Decay::Constant, Decay::Linear, Decay::Cosine];

    fn rates(decay: Decay) -> Vec<f64> {
        let schedule = Schedule { decay, lr: 1.0, min_lr: 0.1, warmup: 4, steps: 105 };
        (0..105).map(|step| schedule.at(step)).collect()
    }

    #[test]
    fn learning_rate_warms_up_then_decays_to_the_minimum() {
        for decay in ALL {
            assert_eq!(rates(decay)[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        }
        for decay in [Decay::Linear, Decay::Cosine] {
            let rates = rates(decay);
            assert!((rates[54] - 0.55).abs() < 1e-12, "midpoint: {}", rates[54]);
            assert_eq!(rates[104], 0.1);
            assert!(rates[4..].windows(2).all(|pair| pair[0] > pair[1]));
        }
        assert!(rates(Decay::Constant)[4..].iter().all(|&rate| rate == 1.0));
        // After a quarter of the decay, cosine is above linear.
        assert!((rates(Decay::Linear)[29] - 0.775).abs() < 1e-12);
        assert!((rates(Decay::Cosine)[29] - (0.1 + 0.45 * (1.0 + 0.5f64.sqrt()))).abs() < 1e-12);
    }

    #[test]
    fn learning_rate_of_shortest_runs_is_in_range() {
        for decay in ALL {
            for (warmup, steps) in [(0, 1), (1, 1), (5, 5), (0, 2), (9, 3)] {
                let schedule = Schedule { decay, lr: 1.0, min_lr: 0.1, warmup, steps };
                for step in 0..steps {
                    let rate = schedule.at(step);
                    assert!((0.1..=1.0).contains(&rate), "{schedule:?} at {step}: {rate}");
                }
            }
        }
    }
}

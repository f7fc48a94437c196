//! The learning rate over a run.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How the learning rate goes on after its warm-up.
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

/// Linear warm-up, then a rate that stays, or falls to a floor (the cosine:
/// Loshchilov and Hutter 2017, *SGDR*, without restarts).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// How the rate goes on after the warm-up.
    pub decay: Decay,
    /// Highest rate, right after the warm-up.
    pub lr: f64,
    /// Rate of the last step of a run whose rate falls.
    pub min_lr: f64,
    /// Steps of the warm-up.
    pub warmup: usize,
    /// Steps of the run.
    pub steps: usize,
}

impl Schedule {
    /// The rate of a step, from 0.
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
        let done = (step - self.warmup) as f64 / (last - self.warmup) as f64;
        let left = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - done,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        self.min_lr + (self.lr - self.min_lr) * left
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
    fn the_rate_rises_then_falls_to_the_floor() {
        for decay in ALL {
            assert_eq!(rates(decay)[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        }
        for decay in [Decay::Linear, Decay::Cosine] {
            let rates = rates(decay);
            assert!((rates[54] - 0.55).abs() < 1e-12, "half of the way: {}", rates[54]);
            assert_eq!(rates[104], 0.1);
            assert!(rates[4..].windows(2).all(|pair| pair[0] > pair[1]));
        }
        assert!(rates(Decay::Constant)[4..].iter().all(|&rate| rate == 1.0));
        // A quarter of the way down, a cosine is still above a line.
        assert!((rates(Decay::Linear)[29] - 0.775).abs() < 1e-12);
        assert!((rates(Decay::Cosine)[29] - (0.1 + 0.45 * (1.0 + 0.5f64.sqrt()))).abs() < 1e-12);
    }

    #[test]
    fn the_shortest_runs_have_rates_too() {
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

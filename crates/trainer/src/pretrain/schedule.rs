//! The learning rate over a run.

use serde::{Deserialize, Serialize};

/// Linear warm-up, then half a cosine down to a floor (Loshchilov and Hutter
/// 2017, *SGDR*, without restarts).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Highest rate, right after the warm-up.
    pub lr: f64,
    /// Rate of the last step.
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
        let last = self.steps.saturating_sub(1);
        if step >= last {
            return if last > self.warmup { self.min_lr } else { self.lr };
        }
        let done = (step - self.warmup) as f64 / (last - self.warmup) as f64;
        self.min_lr + (self.lr - self.min_lr) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_the_floor() {
        let schedule = Schedule { lr: 1.0, min_lr: 0.1, warmup: 4, steps: 105 };
        let rates: Vec<f64> = (0..105).map(|step| schedule.at(step)).collect();
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!((rates[54] - 0.55).abs() < 1e-12, "half of the way: {}", rates[54]);
        assert_eq!(rates[104], 0.1);
        assert!(rates[4..].windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn the_shortest_runs_have_rates_too() {
        for (warmup, steps) in [(0, 1), (1, 1), (5, 5), (0, 2), (9, 3)] {
            let schedule = Schedule { lr: 1.0, min_lr: 0.1, warmup, steps };
            for step in 0..steps {
                let rate = schedule.at(step);
                assert!((0.1..=1.0).contains(&rate), "{schedule:?} at {step}: {rate}");
            }
        }
    }
}

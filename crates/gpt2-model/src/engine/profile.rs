//! Time and operations of the CPU kernels.

use std::{ops::AddAssign, time::Instant};

/// Time and floating-point operations of one kind of work, summed over the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Seconds.
    pub seconds: f64,
    /// Floating-point operations of the products; 0 where they are not counted.
    pub operations: f64,
}

/// Time and operations of the passes on the CPU kernels, summed over the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KernelProfile {
    /// Products with frozen weights.
    pub frozen: Cost,
    /// Products of the low-rank terms, with their dropout masks.
    pub terms: Cost,
    /// Causal attention.
    pub attention: Cost,
    /// Layer norms and GELU.
    pub norms: Cost,
    /// All work of the threads, which includes copies and additions.
    pub total: Cost,
    /// Time in which a thread waited for the slowest one.
    pub waiting: Cost,
}

impl Cost {
    /// Adds the time since `start`, and operations.
    pub(super) fn add(&mut self, start: Instant, operations: usize) {
        self.seconds += start.elapsed().as_secs_f64();
        self.operations += operations as f64;
    }
}

impl KernelProfile {
    /// The profile of threads that worked together, given the profile of one of them.
    pub(super) fn of_threads(mut self, threads: usize) -> Self {
        let Self { frozen, terms, attention, norms, total, waiting } = &mut self;
        for cost in [frozen, terms, attention, norms, total, waiting] {
            cost.seconds *= threads as f64;
        }
        self
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.operations += other.operations;
    }
}

impl AddAssign for KernelProfile {
    fn add_assign(&mut self, other: Self) {
        let Self { frozen, terms, attention, norms, total, waiting } = other;
        self.frozen += frozen;
        self.terms += terms;
        self.attention += attention;
        self.norms += norms;
        self.total += total;
        self.waiting += waiting;
    }
}

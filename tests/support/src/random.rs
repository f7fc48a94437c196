//! Randomized tests: their seed, random numbers, and counts.

/// Seed of randomized tests: `TEST_SEED`, which `cargo xtask soak` sets, or 1.
///
/// # Panics
/// If `TEST_SEED` is not a whole number.
pub fn seed() -> u64 {
    std::env::var("TEST_SEED").map_or(1, |seed| seed.parse().expect("TEST_SEED is a whole number"))
}

/// Xorshift generator.
pub struct Random(u64);

impl Random {
    /// Generator of a seed.
    pub fn new(seed: u64) -> Self {
        // The generator stays at zero once it is there.
        let mut random = Self((seed ^ 0x2545_f491_4f6c_dd1d).max(1));
        // Close seeds differ in few bits at first.
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of several choices.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// Reports on standard output how often a test did something; `cargo xtask soak` adds these
/// counts.
///
/// # Panics
/// If the count is zero.
#[track_caller]
pub fn counted(count: usize, what: &str) {
    assert!(count > 0, "there were no {what}");
    println!("counted {count} {what}");
}

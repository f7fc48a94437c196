//! Random choice of the next token.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::generation::{
    logits::{Candidate, candidates, most_probable},
    settings::Sampling,
};

/// Choice of the next tokens of one text.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    rng: Xoshiro256PlusPlus,
}

/// Odd multiplier that gives each prompt another seed. It differs from the increment with which the
/// generator's state is filled from a seed, so that states do not overlap.
const PROMPT: u64 = 0xd134_2543_de82_ef95;

impl Sampler {
    /// Creates a sampler for the prompt with a number.
    pub fn new(sampling: Sampling, prompt: u64) -> Self {
        let seed = match sampling {
            Sampling::Greedy => 0,
            Sampling::Random(settings) => settings.seed.wrapping_add(prompt.wrapping_mul(PROMPT)),
        };
        Self { sampling, rng: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// Chooses a token by its finite logits, at least one.
    pub fn choose(&mut self, logits: &[f32]) -> usize {
        let settings = match &self.sampling {
            Sampling::Greedy => return most_probable(logits),
            Sampling::Random(settings) => settings,
        };
        let candidates = candidates(logits, settings);
        let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
        // 53 random bits in [0, 1).
        let mut left = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for Candidate { token, weight } in &candidates {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        most_probable(logits)
    }
}

//! Which token follows which.

use std::collections::HashMap;

use super::{perplexity::NextToken, unigram::Unigram};

/// A bigram model, interpolated with the unigram model by the rule of Witten and
/// Bell (1991; Chen and Goodman 1999, section 2.4): a token that was followed by
/// many different ones leaves much room for others.
#[derive(Clone, Debug)]
pub struct Bigram {
    unigram: Unigram,
    pairs: HashMap<(u32, u32), u64>,
    /// For each token, how often and by how many different ones it was followed.
    followers: HashMap<u32, Followers>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Followers {
    total: u64,
    distinct: u64,
}

impl Bigram {
    /// The model of a stream of tokens below `vocab_size`.
    pub fn new(stream: &[u32], vocab_size: usize) -> Self {
        let mut pairs = HashMap::new();
        let mut followers: HashMap<u32, Followers> = HashMap::new();
        for pair in stream.windows(2) {
            let count: &mut u64 = pairs.entry((pair[0], pair[1])).or_default();
            *count += 1;
            let followers = followers.entry(pair[0]).or_default();
            followers.total += 1;
            followers.distinct += u64::from(*count == 1);
        }
        Self { unigram: Unigram::new(stream, vocab_size), pairs, followers }
    }

    /// The unigram model of the same stream.
    pub fn unigram(&self) -> &Unigram {
        &self.unigram
    }
}

impl NextToken for Bigram {
    fn probability(&self, previous: u32, next: u32) -> f64 {
        let below = self.unigram.token(next);
        let Some(followers) = self.followers.get(&previous) else { return below };
        let count = self.pairs.get(&(previous, next)).copied().unwrap_or(0) as f64;
        let (total, distinct) = (followers.total as f64, followers.distinct as f64);
        (count + distinct * below) / (total + distinct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_unigrams_are_mixed() {
        // 0 is followed by 1 twice and by 2 once.
        let model = Bigram::new(&[0, 1, 0, 1, 0, 2], 4);
        let below = model.unigram().token(1);
        assert!((model.probability(0, 1) - (2.0 + 2.0 * below) / 5.0).abs() < 1e-12);
        // 2 was never followed, 3 never seen.
        assert_eq!(model.probability(2, 1), below);
        assert_eq!(model.probability(3, 1), below);
    }

    #[test]
    fn the_probabilities_after_each_token_sum_to_one() {
        let model = Bigram::new(&[0, 3, 3, 1, 4, 1, 5, 3, 0, 3], 10);
        for previous in 0..10 {
            let sum: f64 = (0..10).map(|next| model.probability(previous, next)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "after {previous}: {sum}");
        }
    }
}

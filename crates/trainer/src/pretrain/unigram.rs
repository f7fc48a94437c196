//! How often each token occurs: the least that a language model has to know.

use super::perplexity::NextToken;

/// A unigram model, interpolated with the uniform distribution by the rule of
/// Witten and Bell (1991): new tokens come as often as there were new ones.
#[derive(Clone, Debug)]
pub struct Unigram {
    counts: Vec<u64>,
    total: u64,
    distinct: u64,
}

impl Unigram {
    /// The model of a stream of tokens below `vocab_size`. As in every model of
    /// the next token, the first one is given and not counted.
    pub fn new(stream: &[u32], vocab_size: usize) -> Self {
        let mut counts = vec![0; vocab_size];
        for &token in stream.iter().skip(1) {
            if let Some(count) = counts.get_mut(token as usize) {
                *count += 1;
            }
        }
        let total = counts.iter().sum();
        let distinct = counts.iter().filter(|&&count| count > 0).count() as u64;
        Self { counts, total, distinct }
    }

    /// Occurrences of every token.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Tokens that occur.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    /// The probability of a token.
    pub fn token(&self, token: u32) -> f64 {
        let count = self.counts.get(token as usize).copied().unwrap_or(0) as f64;
        let uniform = 1.0 / self.counts.len() as f64;
        // Without any text, the uniform distribution is all there is.
        let new = (self.distinct as f64).max(f64::from(u8::from(self.total == 0)));
        (count + new * uniform) / (self.total as f64 + new)
    }
}

impl NextToken for Unigram {
    fn probability(&self, _previous: u32, next: u32) -> f64 {
        self.token(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_the_uniform_are_mixed() {
        // Counted: 0 once, 1 twice. Three tokens, two of them distinct.
        let model = Unigram::new(&[9, 0, 1, 1], 4);
        assert!((model.token(1) - (2.0 + 2.0 / 4.0) / 5.0).abs() < 1e-12);
        assert!((model.token(3) - (2.0 / 4.0) / 5.0).abs() < 1e-12);
        assert_eq!((model.counts(), model.distinct()), (&[1, 2, 0, 0][..], 2));
        assert!((Unigram::new(&[], 4).token(3) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn the_probabilities_sum_to_one() {
        let model = Unigram::new(&[0, 3, 3, 1, 4, 1, 5, 3], 10);
        let sum: f64 = (0..10).map(|token| model.token(token)).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}

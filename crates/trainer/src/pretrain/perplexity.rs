//! Perplexity: e to the mean negative log-likelihood of a token.

/// A model that tells the next token from the one before.
pub(crate) trait NextToken {
    /// The probability of `next` after `previous`, above 0.
    fn probability(&self, previous: u32, next: u32) -> f64;
}

/// The perplexity of a model on a stream, of which the first token is given.
/// `NaN` if there is no other.
pub(crate) fn perplexity(model: &impl NextToken, stream: &[u32]) -> f64 {
    let sum: f64 = stream.windows(2).map(|pair| -model.probability(pair[0], pair[1]).ln()).sum();
    (sum / stream.len().saturating_sub(1) as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::bigram::Bigram;

    struct Uniform(f64);

    impl NextToken for Uniform {
        fn probability(&self, _: u32, _: u32) -> f64 {
            1.0 / self.0
        }
    }

    #[test]
    fn of_a_uniform_model_it_is_the_size_of_the_vocabulary() {
        assert!((perplexity(&Uniform(50.0), &[1, 2, 3, 4]) - 50.0).abs() < 1e-9);
        assert!(perplexity(&Uniform(50.0), &[1]).is_nan());
    }

    #[test]
    fn a_bigram_knows_more_than_a_unigram_of_text_with_order() {
        let stream: Vec<u32> = (0..600).map(|place| place % 3).collect();
        let bigram = Bigram::new(&stream, 8);
        let (one, two) = (perplexity(bigram.unigram(), &stream), perplexity(&bigram, &stream));
        assert!((one - 3.0).abs() < 0.1, "{one}");
        assert!(two < 1.1, "{two}");
    }
}

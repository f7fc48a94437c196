//! Text generation, token by token.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tch::{Kind, Tensor};

use crate::{
    error::{ArgumentError, Error, Result},
    model::gpt2::Gpt2,
};

/// Choice of the next token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The most probable token.
    Greedy,
    /// A token drawn with the probabilities softmax(logits / temperature).
    Random {
        /// Above 1 flattens the distribution, below 1 sharpens it.
        temperature: f64,
        /// Draw among this number of most probable tokens only (Fan et al. 2018).
        top_k: Option<usize>,
        /// The same seed draws the same text.
        seed: u64,
    },
}

/// Settings of text generation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GenerateConfig {
    /// Maximum number of tokens to add. The model's context may end the text earlier.
    pub max_new_tokens: usize,
    /// Choice of the next token.
    pub sampling: Sampling,
    /// The text ends before this token.
    pub stop_token: Option<i64>,
}

/// Continues `prompt` (token ids) and returns the new token ids; `on_token` is
/// called with each as soon as it is known.
///
/// # Errors
/// [`Error::Argument`] for an empty prompt, a temperature that is not positive,
/// or NaN logits; [`Error::TokenId`] for an unknown id;
/// [`Error::TooLong`] if the prompt leaves no room in the context.
pub fn generate(
    model: &Gpt2,
    prompt: &[i64],
    config: &GenerateConfig,
    mut on_token: impl FnMut(i64),
) -> Result<Vec<i64>> {
    let (vocab_size, context) = (model.config().vocab_size, model.config().n_positions);
    if prompt.is_empty() {
        return Err(ArgumentError::EmptyPrompt.into());
    }
    if let Some(&id) = prompt.iter().find(|&&id| id < 0 || id >= vocab_size) {
        return Err(Error::TokenId { id, vocab_size });
    }
    if prompt.len() as i64 >= context {
        return Err(Error::TooLong { length: prompt.len() as i64 + 1, context });
    }
    let mut chooser = Chooser::new(config.sampling)?;
    let _no_grad = tch::no_grad_guard();
    let mut cache = model.cache();
    let mut input = prompt.to_vec();
    let mut new = Vec::new();
    let room = (context as usize - prompt.len()).min(config.max_new_tokens);
    while new.len() < room {
        let ids = Tensor::f_from_slice(&input)?.f_view([1, -1])?.f_to_device(model.device())?;
        let logits = model.next_token_logits(&ids, &mut cache)?;
        let mut scores = vec![0f32; vocab_size as usize];
        logits
            .f_view([-1])?
            .f_to_kind(Kind::Float)?
            .f_copy_data(&mut scores, vocab_size as usize)?;
        if scores.iter().any(|score| score.is_nan()) {
            return Err(ArgumentError::Logits { tokens: prompt.len() + new.len() }.into());
        }
        let token = chooser.choose(&scores);
        if config.stop_token == Some(token) {
            break;
        }
        on_token(token);
        new.push(token);
        input = vec![token];
    }
    Ok(new)
}

struct Chooser {
    sampling: Sampling,
    rng: Xoshiro256PlusPlus,
}

impl Chooser {
    fn new(sampling: Sampling) -> Result<Self> {
        let mut start = 0;
        if let Sampling::Random { temperature, top_k, seed } = sampling {
            if !temperature.is_finite() || temperature <= 0.0 {
                return Err(ArgumentError::Temperature(temperature).into());
            }
            if top_k == Some(0) {
                return Err(ArgumentError::TopK.into());
            }
            start = seed;
        }
        Ok(Self { sampling, rng: Xoshiro256PlusPlus::seed_from_u64(start) })
    }

    fn choose(&mut self, logits: &[f32]) -> i64 {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // Highest first; of equals the first, so that the choice is determined.
        let by_logit = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
        let (temperature, top_k) = match self.sampling {
            Sampling::Greedy => (1.0, Some(1)),
            Sampling::Random { temperature, top_k, .. } => (temperature, top_k),
        };
        if let Some(k) = top_k.filter(|&k| k < order.len()) {
            order.select_nth_unstable_by(k - 1, by_logit);
            order.truncate(k);
        }
        order.sort_unstable_by(by_logit);
        let Some(&best) = order.first() else { return 0 };
        let highest = f64::from(logits[best]);
        let weight = |token: usize| ((f64::from(logits[token]) - highest) / temperature).exp();
        let total: f64 = order.iter().map(|&token| weight(token)).sum();
        // 53 random bits in [0, 1).
        let mut left = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for &token in &order {
            left -= weight(token);
            if left < 0.0 {
                return token as i64;
            }
        }
        best as i64
    }
}

#[cfg(test)]
mod tests {
    use gpt2_config::Gpt2Config;
    use tch::Device;

    use super::*;

    fn model() -> Gpt2 {
        let config = Gpt2Config::from_json(
            r#"{"vocab_size": 50, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 4}"#,
        );
        Gpt2::random(&config.unwrap(), 1, Device::Cpu).unwrap()
    }

    fn text(sampling: Sampling) -> Vec<i64> {
        let config = GenerateConfig { max_new_tokens: 8, sampling, stop_token: None };
        generate(&model(), &[3, 1, 4], &config, |_| ()).unwrap()
    }

    /// The cache must give the result of the model on the whole text.
    #[test]
    fn greedy_text_is_the_argmax_of_the_whole_model() {
        let model = model();
        let mut all = vec![3i64, 1, 4];
        for token in text(Sampling::Greedy) {
            let ids = Tensor::from_slice(&all).view([1, -1]);
            let logits = model.lm_logits(&ids).unwrap();
            let last = logits.select(1, all.len() as i64 - 1);
            assert_eq!(last.argmax(-1, false).int64_value(&[0]), token);
            all.push(token);
        }
        assert_eq!(all.len(), 11);
    }

    #[test]
    fn sampling_follows_seed_top_k_and_temperature() {
        let random = |temperature, top_k, seed| text(Sampling::Random { temperature, top_k, seed });
        assert_eq!(random(1.0, None, 5), random(1.0, None, 5));
        assert_ne!(random(1.0, None, 5), random(1.0, None, 6));
        assert_eq!(random(1.0, Some(1), 5), text(Sampling::Greedy));
        assert_eq!(random(1e-6, None, 5), text(Sampling::Greedy));
    }

    #[test]
    fn a_text_ends_at_the_context_or_the_stop_token() {
        let model = model();
        let mut config =
            GenerateConfig { max_new_tokens: 99, sampling: Sampling::Greedy, stop_token: None };
        let all = generate(&model, &[3, 1, 4], &config, |_| ()).unwrap();
        assert_eq!(all.len(), 9);
        config.stop_token = Some(all[0]);
        assert!(generate(&model, &[3, 1, 4], &config, |_| ()).unwrap().is_empty());
        let refused = |prompt: &[i64]| generate(&model, prompt, &config, |_| ()).unwrap_err();
        assert!(matches!(refused(&[]), Error::Argument(ArgumentError::EmptyPrompt)));
        assert!(matches!(refused(&[50]), Error::TokenId { id: 50, .. }));
        assert!(matches!(refused(&[1; 12]), Error::TooLong { length: 13, context: 12 }));
    }
}

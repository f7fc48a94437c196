//! Settings of text generation.

use crate::error::{ArgumentError, Result};

/// Choice of the next token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampling {
    /// The most probable token.
    #[default]
    Greedy,
    /// A token drawn at random.
    Random(RandomSampling),
}

/// Settings of random sampling. They apply in the order of the fields, as in `transformers`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomSampling {
    /// The probabilities are softmax(logits / temperature): above 1 flattens the distribution,
    /// below 1 sharpens it.
    pub temperature: f64,
    /// Draw among this number of most probable tokens, and those that are as probable as the last
    /// of them (Fan et al. 2018, *Hierarchical Neural Story Generation*).
    pub top_k: Option<usize>,
    /// Draw among the fewest most probable tokens whose probabilities add up to this number, from
    /// 0 to 1 (Holtzman et al. 2020, *The Curious Case of Neural Text Degeneration*).
    pub top_p: Option<f64>,
    /// Draw among the tokens whose probability is at least this fraction of the highest one
    /// (Nguyen et al. 2024, *Min-p Sampling*).
    pub min_p: Option<f64>,
    /// The same seed draws the same text. Each prompt has a generator of its own, seeded with this
    /// number and the number of the prompt.
    pub seed: u64,
}

impl Default for RandomSampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, min_p: None, seed: 123 }
    }
}

/// Settings of text generation.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateConfig {
    /// Maximum number of tokens to add. The model's context may end the text earlier.
    pub max_new_tokens: usize,
    /// Factor against repetition: positive logits of tokens in the text so far, prompt included,
    /// are divided by it, and negative ones multiplied (Keskar et al. 2019, *CTRL*). 1 changes
    /// nothing. It applies before the settings of [`Sampling`].
    pub repetition_penalty: f64,
    /// Choice of the next token.
    pub sampling: Sampling,
    /// The text ends before any of these tokens.
    pub stop_tokens: Vec<i64>,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: 50,
            repetition_penalty: 1.0,
            sampling: Sampling::Greedy,
            stop_tokens: Vec::new(),
        }
    }
}

impl GenerateConfig {
    /// Refuses settings outside their range.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) names the setting.
    pub fn check(&self) -> Result<()> {
        let is_positive = |value: f64| value.is_finite() && value > 0.0;
        if !is_positive(self.repetition_penalty) {
            return Err(ArgumentError::RepetitionPenalty(self.repetition_penalty).into());
        }
        let Sampling::Random(sampling) = self.sampling else { return Ok(()) };
        let RandomSampling { temperature, top_k, top_p, min_p, .. } = sampling;
        if !is_positive(temperature) {
            return Err(ArgumentError::Temperature(temperature).into());
        }
        if top_k == Some(0) {
            return Err(ArgumentError::TopK.into());
        }
        if let Some(top_p) = top_p.filter(|top_p| !(*top_p > 0.0 && *top_p <= 1.0)) {
            return Err(ArgumentError::TopP(top_p).into());
        }
        if let Some(min_p) = min_p.filter(|min_p| !(0.0..=1.0).contains(min_p)) {
            return Err(ArgumentError::MinP(min_p).into());
        }
        Ok(())
    }
}

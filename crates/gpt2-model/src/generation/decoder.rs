//! Computation of the next tokens' logits.

use crate::{
    engine::decoder::KernelDecoder,
    error::Result,
    generation::{stopping::check_prompt, torch_decoder::TorchDecoder},
    model::gpt2::Gpt2,
};

/// New tokens of a sequence, and its cache.
pub(crate) struct NewTokens<'a, C> {
    pub cache: &'a mut C,
    pub ids: &'a [i64],
}

/// Model that computes the next tokens of several sequences, each of its own length, without
/// padding.
pub(crate) trait Decoder {
    /// Keys and values of a sequence.
    type Cache;

    /// Allocates the cache of a sequence of up to `capacity` tokens.
    fn cache(&self, capacity: usize) -> Result<Self::Cache>;

    /// Extends the caches by new tokens and returns the logits `[sequences, vocab]` of the tokens
    /// after them. In a step each sequence has one new token; otherwise the caches are empty and
    /// the tokens are prompts.
    fn logits(
        &mut self,
        sequences: &mut [NewTokens<'_, Self::Cache>],
        is_step: bool,
    ) -> Result<Vec<f32>>;
}

/// Tokens of the prompts that are computed together, unless one alone has more.
const PROMPT_TOKENS: usize = 2048;

/// Computes the logits after each of some prompts, and calls `visit` with the number of a prompt and
/// the logits `[vocab]` of the token after it.
pub(crate) fn read_prompts<D: Decoder>(
    decoder: &mut D,
    prompts: &mut [NewTokens<'_, D::Cache>],
    visit: &mut dyn FnMut(usize, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let mut first = 0;
    while first < prompts.len() {
        let (mut count, mut tokens) = (0, 0);
        for prompt in &prompts[first..] {
            tokens += prompt.ids.len();
            if count > 0 && tokens > PROMPT_TOKENS {
                break;
            }
            count += 1;
        }
        let mut logits = decoder.logits(&mut prompts[first..first + count], false)?;
        let vocabulary = logits.len() / count;
        for (number, logits) in (first..).zip(logits.chunks_mut(vocabulary)) {
            visit(number, logits)?;
        }
        first += count;
    }
    Ok(())
}

impl Gpt2 {
    /// Returns the logits `[vocab]` of the token after each prompt (token ids), as
    /// [`generate_batch`](crate::generate_batch) computes them: a prompt's do not depend on the
    /// others.
    ///
    /// # Errors
    /// As [`check_prompt`].
    pub fn next_token_logits(&self, prompts: &[Vec<i64>]) -> Result<Vec<Vec<f32>>> {
        let _no_grad = tch::no_grad_guard();
        match KernelDecoder::new(self)? {
            Some(decoder) => self.logits_by(decoder, prompts),
            None => self.logits_by(TorchDecoder::new(self), prompts),
        }
    }

    fn logits_by<D: Decoder>(&self, mut decoder: D, prompts: &[Vec<i64>]) -> Result<Vec<Vec<f32>>> {
        let mut all = Vec::with_capacity(prompts.len());
        for ids in prompts {
            check_prompt(self.config(), ids)?;
            let cache = &mut decoder.cache(ids.len())?;
            all.push(decoder.logits(&mut [NewTokens { cache, ids }], false)?);
        }
        Ok(all)
    }
}

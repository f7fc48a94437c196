//! End of a generated text, and the prompts that leave room for one.

use gpt2_config::Gpt2Config;

use crate::error::{ArgumentError, Error, Result};

/// Reason for which a text ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The next token is a stop token.
    StopToken,
    /// The text has the maximum number of new tokens or fills the model's context.
    Length,
    /// The caller has ended it.
    Interrupted,
}

/// Refuses a prompt that a model cannot continue.
///
/// # Errors
/// [`Error::Argument`] for an empty prompt; [`Error::TokenId`] for an unknown id;
/// [`Error::TooLong`] if the prompt leaves no room in the context.
pub fn check_prompt(config: &Gpt2Config, prompt: &[i64]) -> Result<()> {
    let (vocab_size, context) = (config.vocab_size, config.n_positions);
    if prompt.is_empty() {
        return Err(ArgumentError::EmptyPrompt.into());
    }
    if let Some(&id) = prompt.iter().find(|&&id| id < 0 || id >= vocab_size) {
        return Err(Error::TokenId { id, vocab_size });
    }
    if prompt.len() as i64 >= context {
        return Err(Error::TooLong { length: prompt.len() as i64 + 1, context });
    }
    Ok(())
}

/// Returns the number of tokens that can follow a prompt.
pub(crate) fn room(config: &Gpt2Config, prompt: &[i64], max_new_tokens: usize) -> usize {
    (config.n_positions as usize).saturating_sub(prompt.len()).min(max_new_tokens)
}

//! Agreement of a model and its tokenizer.

use std::path::Path;

use dataset::Tokenizer;
use gpt2_model::{Gpt2, Gpt2Config};

use crate::{config::error::SettingsError, error::Result};

/// Refuses the model in `folder` if it lacks tokens of the tokenizer: texts contain any of them.
/// Returns a note if it has more, which is usual where the size was rounded up.
pub(crate) fn check_vocabulary(
    model: &Gpt2Config,
    tokenizer: &Tokenizer,
    folder: &Path,
) -> Result<Option<String>> {
    let (vocab_size, expected) = (model.vocab_size, i64::from(tokenizer.vocabulary_size()));
    if vocab_size < expected {
        let path = folder.join("config.json");
        return Err(SettingsError::Vocabulary { path, vocab_size, expected }.into());
    }
    let unused = vocab_size - expected;
    Ok((unused > 0).then(|| {
        format!(
            "{}: {unused} of the {vocab_size} tokens of the model (vocab_size) are not tokens of its \
             tokenizer, and no text has them",
            folder.display()
        )
    }))
}

/// Gives a model the special tokens of its tokenizer, which its `config.json` may not name: they are
/// saved with it. GPT-2's need no padding.
pub(crate) fn with_special_tokens(body: Gpt2, tokenizer: &Tokenizer) -> Gpt2 {
    let is_named = body.config().pad_token_id.is_some() || !tokenizer.is_gpt2();
    let padding = is_named.then(|| tokenizer.padding().into());
    let ends = tokenizer.ends_of_text().iter().copied().map(i64::from).collect();
    body.with_special_tokens(ends, padding)
}

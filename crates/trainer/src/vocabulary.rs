//! Agreement of a model and its tokenizer.

use std::path::Path;

use dataset::Tokenizer;
use gpt2_model::{Gpt2, Gpt2Config};

use crate::{config::error::SettingsError, error::Result};

/// Refuses the model in `folder` if it lacks tokens of the tokenizer: texts contain any of them.
/// Returns the notes of the tokenizer, and a note if the model has more tokens, which is usual where the
/// size was rounded up.
pub(crate) fn check_vocabulary(
    model: &Gpt2Config,
    tokenizer: &Tokenizer,
    folder: &Path,
) -> Result<Vec<String>> {
    let (vocab_size, expected) = (model.vocab_size, i64::from(tokenizer.vocabulary_size()));
    if vocab_size < expected {
        let path = folder.join("config.json");
        return Err(SettingsError::Vocabulary { path, vocab_size, expected }.into());
    }
    let mut notes = tokenizer.notes().to_vec();
    let unused = vocab_size - expected;
    if unused > 0 {
        notes.push(format!(
            "{}: {unused} of the {vocab_size} tokens of the model (vocab_size) are not tokens of its \
             tokenizer, and no text has them",
            folder.display()
        ));
    }
    Ok(notes)
}

/// Gives a model the special tokens of its tokenizer, which its `config.json` may not name: they are
/// saved with it. GPT-2's need no padding.
pub(crate) fn with_special_tokens(body: Gpt2, tokenizer: &Tokenizer) -> Gpt2 {
    let is_named = body.config().pad_token_id.is_some() || !tokenizer.is_gpt2();
    let padding = is_named.then(|| tokenizer.padding().into());
    let ends = tokenizer.ends_of_text().iter().copied().map(i64::from).collect();
    let tokens = 0..i64::from(tokenizer.vocabulary_size());
    let begin = body.config().bos_token_id.filter(|id| tokens.contains(id));
    body.with_special_tokens(begin, ends, padding)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Each reads `config.json` by itself.
    #[test]
    fn model_and_tokenizer_refuse_the_same_special_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let shape =
            r#""vocab_size": 50257, "n_positions": 4, "n_embd": 6, "n_layer": 1, "n_head": 2"#;
        let values = [
            "7",
            "[7]",
            "[7, 8]",
            "null",
            "-1",
            "99999",
            "[-1, 7]",
            "[]",
            "[null]",
            "1.5",
            "true",
            "{}",
            "\"7\"",
            "1e3",
            "18446744073709551615",
        ];
        let mut messages = 0;
        for name in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            for value in values {
                let path = folder.path().join("config.json");
                fs::write(&path, format!(r#"{{{shape}, "{name}": {value}}}"#)).unwrap();
                let of_model = Gpt2Config::from_file(&path).err().map(|error| error.to_string());
                let tokenizer = Tokenizer::of_model(folder.path());
                let of_tokenizer = tokenizer.err().map(|error| error.to_string());
                assert_eq!(of_model, of_tokenizer, "{name}: {value}");
                messages += usize::from(of_model.is_some());
            }
        }
        assert_eq!(messages, 3 * 8 + 2 * 3, "wrong values, and lists where there is one token");
    }
}

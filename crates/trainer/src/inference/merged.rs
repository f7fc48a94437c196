//! Models for `transformers`: a base model with an adapter merged into it, or one that was
//! trained as a whole.

use std::path::Path;

use dataset::Tokenizer;
use gpt2_model::{DType, Gpt2Config, Pooling};
use serde_json::json;
use storage::{write_atomic, write_json};

use crate::{
    error::{Error, Result},
    inference::{
        AdapterMetadata, METADATA_FILE, attached::AdaptedModel, error::AdapterError,
        head_bias::fold_bias, language_model::LanguageModel, predictor::PredictorOptions,
        saved_adapter::SavedAdapter,
    },
    task::kind::TaskKind,
};

/// Writes the base model with an adapter merged into it, and the tokenizer, for
/// `transformers.pipeline`. Returns notes, for example that the base
/// model may be a rounded copy of the one that the adapter was trained on.
///
/// # Errors
/// See [`PredictorOptions::load`]; [`AdapterError::CompleteModel`] for a complete model, which has no
/// adapter to merge.
pub fn write_merged(
    adapter: &Path,
    options: &PredictorOptions,
    out: &Path,
    dtype: DType,
) -> Result<Vec<String>> {
    let saved = SavedAdapter::load(adapter)?;
    if saved.is_language_model()? {
        if saved.state.is_none() {
            return Err(complete_model(adapter));
        }
        return merge_language_model(saved, options, out, dtype);
    }
    let adapted: AdaptedModel = options.attached(saved)?;
    let AdaptedModel { mut model, lora, metadata, tokenizer, mut notes, .. } = adapted;
    if lora.is_none() {
        return Err(complete_model(adapter));
    }
    if metadata.pooling == Pooling::LastPosition {
        notes.push(
            "the adapter classifies at the last position of the padded text, but transformers \
             classifies at the last token, so that its predictions differ"
                .to_owned(),
        );
    }
    model.merge()?;
    let config = model.body().config().clone();
    fold_bias(model)?.save(out, dtype, &metadata.labels)?;
    write_companions(out, &config, &tokenizer, &metadata.merged())?;
    Ok(notes)
}

/// As [`write_merged`], of a language model.
fn merge_language_model(
    saved: SavedAdapter,
    options: &PredictorOptions,
    out: &Path,
    dtype: DType,
) -> Result<Vec<String>> {
    let LanguageModel { body, metadata, tokenizer, notes, .. } =
        saved.load_language_model(&options.base)?;
    body.save(out, dtype)?;
    write_companions(out, body.config(), &tokenizer, &metadata.merged())?;
    Ok(notes)
}

fn complete_model(directory: &Path) -> Error {
    let advice = "transformers loads it without merging";
    AdapterError::CompleteModel { directory: directory.to_owned(), advice }.into()
}

/// Writes what `transformers` and this project need beside the weights of a model: the
/// tokenizer, the chat template of the training, and the metadata. The tokenizer of a classifier truncates texts as here
/// (`truncation=True`): to the maximum length of the training.
pub(crate) fn write_companions(
    folder: &Path,
    config: &Gpt2Config,
    tokenizer: &Tokenizer,
    metadata: &AdapterMetadata,
) -> Result<()> {
    let context = usize::try_from(config.n_positions).unwrap_or(usize::MAX);
    let max_length = match metadata.task {
        TaskKind::Classify => metadata.max_length.min(context),
        TaskKind::LanguageModel => context,
    };
    tokenizer.save(folder, max_length)?;
    if metadata.task == TaskKind::LanguageModel {
        let ends = config.ends_of_text();
        let settings = json!({
            "bos_token_id": config.bos_token_id.or(ends.0.first().copied()),
            "eos_token_id": ends,
            "pad_token_id": tokenizer.padding(),
        });
        write_json(&folder.join("generation_config.json"), &settings)?;
        let prompts = metadata.prompts.as_ref();
        if let Some(template) = prompts.and_then(|prompts| prompts.chat_template.as_ref()) {
            write_atomic(&folder.join("chat_template.jinja"), template.as_bytes())?;
        }
    }
    Ok(write_json(&folder.join(METADATA_FILE), metadata)?)
}

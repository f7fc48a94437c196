//! Models for `transformers`: a base model with an adapter merged into it, or one that was
//! trained as a whole.

use std::path::Path;

use dataset::Tokenizer;
use gpt2_model::{DType, Gpt2Config, Pooling};
use storage::write_json;

use crate::{
    error::Result,
    inference::{
        AdapterMetadata, METADATA_FILE, attached::AdaptedModel, error::AdapterError,
        head_bias::fold_bias, predictor::PredictorOptions,
    },
    task::kind::TaskKind,
};

/// Writes the base model with an adapter merged into it, and the tokenizer, for
/// `transformers.pipeline("text-classification")`. Returns notes, for example that the base
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
    let adapted: AdaptedModel = options.adapted(adapter)?;
    let AdaptedModel { mut model, lora, metadata, tokenizer, mut notes, .. } = adapted;
    if lora.is_none() {
        let (directory, advice) = (adapter.to_owned(), "transformers loads it without merging");
        return Err(AdapterError::CompleteModel { directory, advice }.into());
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

/// Writes what `transformers` and this project need beside the weights of a model: the
/// tokenizer, and the metadata. The tokenizer of a classifier truncates texts as here
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
    Ok(write_json(&folder.join(METADATA_FILE), metadata)?)
}

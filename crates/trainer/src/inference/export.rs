//! Export of adapters for Hugging Face PEFT and `transformers`.

use std::path::Path;

use gpt2_model::DType;
use lora::peft::PeftOptions;
use storage::write_json;
use tch::Device;

use crate::{
    config::paths,
    error::{Error, Result},
    inference::head_bias::{bias_into_norm, fold_bias},
    inference::saved_adapter::{AdaptedModel, SavedAdapter},
    inference::{AdapterMetadata, METADATA_FILE},
    trainable::adapters::peft_layers,
    trainable::{network::Network, parameters::Head},
};

/// Properties of an exported adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Note that the base model may be a rounded copy of the one that the adapter was
    /// trained on.
    pub base_note: Option<String>,
    /// Whether the adapter was trained on rounded weights, which PEFT will load without
    /// rounding, so that its logits differ by that. A merged model has the rounding.
    pub rounded: bool,
}

/// Writes an adapter for Hugging Face PEFT on `GPT2ForSequenceClassification`:
/// `adapter_config.json` and `adapter_model.safetensors`, the head included, and
/// `gpt2_lora.json` with the metadata that PEFT does not keep. The adapter's own folder is
/// unchanged.
///
/// The adapters of query, key and value become one on `c_attn`. A bias of the head, which
/// PEFT's head lacks, goes into a copy of the final norm (`ln_f`), which PEFT then loads as a
/// whole; no logit changes.
///
/// # Errors
/// See [`crate::inference::PredictorOptions::load`]; [`crate::Error::Lora`] names a file that
/// cannot be written.
pub fn export_peft(
    adapter: &Path,
    base: Option<&str>,
    device: Device,
    out: &Path,
) -> Result<Exported> {
    let adapted = SavedAdapter::load(adapter)?.load_base_and_attach(base, device)?;
    let AdaptedModel { mut model, lora, metadata, base, base_note, .. } = adapted;
    let Some(lora) = lora else {
        return Err(Error::Config(format!(
            "{} is a complete model without an adapter; transformers loads it as it is",
            adapter.display()
        )));
    };
    let mut state = lora.state()?;
    for (name, tensor) in model.head() {
        state.add_tensor(&name, &tensor)?;
    }
    bias_into_norm(&mut state, &mut model)?;
    let options = PeftOptions {
        fan_in_fan_out: true,
        task_type: Some("SEQ_CLS".to_owned()),
        base_model: Some(paths::name_of(&base)),
    };
    state.to_peft(&peft_layers(&mut model)?, &options)?.save(out)?;
    let rounded = metadata.dtype != DType::Float32;
    // In PEFT, the whole head is in the adapter's file.
    let metadata = AdapterMetadata { head: Head::Full, base_folder: None, ..metadata };
    write_json(&out.join(METADATA_FILE), &metadata)?;
    Ok(Exported { base_note, rounded })
}

/// Writes the base model with an adapter merged into it, for
/// `transformers.AutoModelForSequenceClassification`. Returns a note if the base model may be
/// a rounded copy of the one that the adapter was trained on.
///
/// # Errors
/// See [`export_peft`].
pub fn write_merged(
    adapter: &Path,
    base: Option<&str>,
    device: Device,
    out: &Path,
    dtype: DType,
) -> Result<Option<String>> {
    let adapted = SavedAdapter::load(adapter)?.load_base_and_attach(base, device)?;
    let AdaptedModel { mut model, metadata, base_note, .. } = adapted;
    model.merge()?;
    fold_bias(model)?.save(out, dtype, &metadata.labels)?;
    // How texts become tokens and which token is classified, which transformers does not know.
    let metadata = AdapterMetadata {
        head: Head::Full,
        base_folder: None,
        base_seed: None,
        base_digest: None,
        ..metadata
    };
    write_json(&out.join(METADATA_FILE), &metadata)?;
    Ok(base_note)
}

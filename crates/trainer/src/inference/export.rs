//! Trained adapters in the forms that others read.

use std::path::Path;

use gpt2_model::{DType, StorageType};
use lora::peft::PeftOptions;
use serde_json::{Map, Value};
use tch::Device;

use crate::{
    config::paths,
    error::Result,
    inference::head_bias::{bias_into_norm, fold_bias},
    inference::predictor::AdapterUse,
    inference::saved_adapter::{Restored, USE_FILE, restore},
    run::files::write_json,
    trainable::adapters::peft_layers,
    trainable::parameters::{Head, head_tensors},
};

/// What is to be known of an exported adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The adapter was trained on weights of fewer bits than PEFT will load: its logits
    /// there differ by that rounding. A merged model has it.
    pub rounded: bool,
}

/// Writes an adapter as Hugging Face PEFT reads it on
/// `GPT2ForSequenceClassification`: `adapter_config.json` and
/// `adapter_model.safetensors`, the head included, and `gpt2_lora.json` with what
/// PEFT does not keep. The adapter's own folder stays as it is.
///
/// The adapters of query, key and value become one on `c_attn`. A bias of the head,
/// which PEFT's has not, goes into a copy of the final norm (`ln_f`), which PEFT then
/// loads as a whole; no logit changes.
///
/// # Errors
/// As [`crate::Predictor::load`]; [`crate::Error::Lora`] names a file that cannot be
/// written.
pub fn export_peft(adapter: &Path, base: Option<&str>, out: &Path) -> Result<Exported> {
    let Restored { mut model, trained, about, base, .. } = restore(adapter, base, Device::Cpu)?;
    let mut state = trained.adapter().state()?;
    for (name, tensor) in head_tensors(&model) {
        state.add_tensor(&name, &tensor)?;
    }
    bias_into_norm(&mut state, &mut model)?;
    let options = PeftOptions {
        fan_in_fan_out: true,
        task_type: Some("SEQ_CLS".to_owned()),
        base_model: Some(places::name_of(&base)),
    };
    state.to_peft(&peft_layers(&mut model)?, &options)?.save(out)?;
    let dtype = about.dtype;
    // With the head as it is there.
    let about = AdapterUse { head: Head::Full, base_folder: None, ..about };
    let about: Map<String, Value> = about.to_map();
    write_json(&out.join(USE_FILE), &about)?;
    Ok(Exported { rounded: dtype != DType::Float32 })
}

/// Writes the base model with an adapter merged into it, as
/// `transformers.AutoModelForSequenceClassification` reads it.
///
/// # Errors
/// As [`export_peft`].
pub fn write_merged(
    adapter: &Path,
    base: Option<&str>,
    out: &Path,
    storage: StorageType,
) -> Result<()> {
    let Restored { mut model, about, .. } = restore(adapter, base, Device::Cpu)?;
    model.merge()?;
    Ok(fold_bias(model)?.save(out, storage, &about.labels)?)
}

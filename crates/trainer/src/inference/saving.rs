//! Saving of a trained adapter in PEFT's format.

use std::path::Path;

use gpt2_model::{Gpt2Classifier, Linear, LinearLayer};
use lora::{Adapter, AdapterState, peft::PeftOptions};
use storage::{create_directory, write_json};
use tch::Tensor;

use crate::{
    error::{Error, Result},
    inference::{
        AdapterMetadata, METADATA_FILE,
        head_bias::{NORM, norm, norm_with_bias},
    },
    task::kind::TaskKind,
    trainable::{
        adapters::{PEFT_PREFIX, peft_layers},
        network::Network,
    },
};

/// Writes an adapter on a network for `PeftModel.from_pretrained`: `adapter_config.json`,
/// `adapter_model.safetensors` with the head of a classifier, and `gpt2_lora.json` with the
/// metadata that PEFT does not keep. Returns a note if PEFT will compute other logits.
///
/// The adapters of query, key and value become one on `c_attn`, and an adapter on the head is
/// merged into it. A bias of the head, which PEFT's head lacks, goes into a copy of the final
/// norm (`ln_f`), which PEFT then loads as a whole; no logit changes. `replaced` are parameters
/// of the base model that the adapter replaces, as in its file.
pub(crate) fn save_adapter(
    folder: &Path,
    network: &mut dyn Network,
    adapter: &Adapter,
    replaced: &[(String, Tensor)],
    metadata: &AdapterMetadata,
) -> Result<Option<String>> {
    let mut state = adapter.state()?;
    for (name, tensor) in replaced {
        state.add_tensor(name, tensor)?;
    }
    let mut metadata = metadata.clone();
    let note = match network.head_is_new() {
        true => add_head(&mut state, network, &mut metadata)?,
        false => None,
    };
    let task_type = match metadata.task {
        TaskKind::Classify => "SEQ_CLS",
        TaskKind::LanguageModel => "CAUSAL_LM",
    };
    let options = PeftOptions {
        fan_in_fan_out: true,
        task_type: Some(task_type.to_owned()),
        base_model: metadata.base_for_peft().map(str::to_owned),
    };
    let saved = state.to_peft(&peft_layers(network)?, &options)?;
    create_directory(folder)?;
    // An adapter is recognized by its settings, so they are written last.
    write_json(&folder.join(METADATA_FILE), &metadata)?;
    saved.save(folder)?;
    Ok(note)
}

/// Puts the head with its adapter merged, and with its bias in the final norm, into `state`.
fn add_head(
    state: &mut AdapterState,
    network: &mut dyn Network,
    metadata: &mut AdapterMetadata,
) -> Result<Option<String>> {
    let head = merged_head(network)?;
    let names: Vec<String> = state.tensors().keys().cloned().collect();
    let is_of_head = |name: &&String| name.starts_with(&format!("{}.", Gpt2Classifier::HEAD));
    names.iter().filter(is_of_head).for_each(|name| drop(state.take_tensor(name)));
    let [weight_name, bias_name] = Gpt2Classifier::HEAD_TENSORS;
    state.add_tensor(weight_name, head.weight())?;
    let Some(bias) = head.bias() else { return Ok(None) };
    let [weight, norm] = norm(network)?;
    let Some(new) = norm_with_bias(&norm, head.weight(), bias)? else {
        state.add_tensor(bias_name, bias)?;
        return Ok(Some(
            "PEFT's head has no bias, and the bias of this head does not fit into the final norm, so \
             that PEFT's logits will differ by it; --head full trains a head without one"
                .to_owned(),
        ));
    };
    for (name, tensor) in NORM.iter().zip([&weight, &new]) {
        state.add_tensor(&format!("{PEFT_PREFIX}{name}"), tensor)?;
    }
    let bias = bias.f_detach()?.f_to_kind(tch::Kind::Double)?;
    metadata.head_bias = Some(Vec::try_from(bias)?);
    Ok(None)
}

/// Returns the head with its adapter merged.
fn merged_head(network: &mut dyn Network) -> Result<Linear> {
    let mut head = None;
    network.visit_linears(&mut |slot| {
        if slot.name == Gpt2Classifier::HEAD {
            head = Some(slot.layer.merged()?);
        }
        Ok(())
    })?;
    head.ok_or(Error::Internal("the model has no head score"))
}

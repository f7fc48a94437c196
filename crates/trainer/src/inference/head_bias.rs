//! Bias of a classification head, moved into the final norm for `transformers` and PEFT.
//!
//! The head of `transformers`' GPT-2 classifier is a matrix `W` without a bias. Its input is
//! the final norm, `x̂ γ + β`, which has no other use. A bias `b` therefore equals `β + δ` in
//! the norm with `W δ = b`, and PEFT can save a whole norm beside an adapter.

use gpt2_model::{Gpt2, Gpt2Classifier, Linear};
use lora::AdapterState;
use tch::{Device, Kind, Tensor};

use crate::{
    error::{Error, Result},
    inference::{AdapterMetadata, error::AdapterError},
    trainable::{adapters::PEFT_PREFIX, network::Network},
};

/// Names of `γ` and `β` of the final norm.
pub(crate) const NORM: [&str; 2] = ["ln_f.weight", "ln_f.bias"];

/// Moves the bias of the head of a merged model into its final norm. Without a bias, it does
/// nothing.
///
/// # Errors
/// [`AdapterError::HeadBias`] if the rows of the head are linearly dependent, so that no norm gives
/// the bias; errors of libtorch.
pub(crate) fn fold_bias(model: Gpt2Classifier) -> Result<Gpt2Classifier> {
    let [_, norm] = norm(&model)?;
    let (body, head) = model.into_parts();
    let Some(bias) = head.bias() else { return Ok(Gpt2Classifier::with_head(body, head)) };
    let new = norm_with_bias(&norm, head.weight(), bias)?.ok_or(AdapterError::HeadBias)?;
    let head = Linear::new(head.weight().shallow_clone(), None);
    Ok(Gpt2Classifier::with_head(body.with_final_bias(new), Box::new(head)))
}

/// Returns `β + δ` for the shortest `δ` `[dim]` with `W δ = b`; `None` if there is none. The
/// head `W` is `[classes, dim]`.
pub(crate) fn norm_with_bias(
    norm: &Tensor,
    head: &Tensor,
    bias: &Tensor,
) -> Result<Option<Tensor>> {
    let _no_grad = tch::no_grad_guard();
    let bias = bias.f_to_device(head.device())?.f_to_kind(head.kind())?;
    let shift = head.f_linalg_pinv(1e-6, false)?.f_mv(&bias)?;
    let error = head.f_mv(&shift)?.f_sub(&bias)?.f_abs()?.f_max()?.f_double_value(&[])?;
    let size = bias.f_abs()?.f_max()?.f_double_value(&[])?.max(1e-30);
    if error.is_nan() || error > 1e-5 * size {
        return Ok(None);
    }
    Ok(Some(norm.f_to_kind(Kind::Float)?.f_add(&shift)?))
}

/// Returns `γ` and `β` of the final norm of a network, `[dim]` each.
pub(crate) fn norm(network: &dyn Network) -> Result<[Tensor; 2]> {
    let parameters = network.named_parameters();
    let find = |name: &str| {
        let found = parameters.iter().find(|(other, _)| other == name);
        found
            .map(|(_, tensor)| tensor.f_detach().map_err(Error::from))
            .ok_or(Error::Internal("the model has no final norm"))?
    };
    let [weight, bias] = NORM;
    Ok([find(weight)?, find(bias)?])
}

/// Takes the bias `[classes]` of the head out of the final norm of `state`, where saving has
/// moved it: the value itself is in the metadata. A norm that was trained stays.
pub(super) fn bias_in_norm(
    state: &mut AdapterState,
    metadata: &AdapterMetadata,
    body: &Gpt2,
    head: &Tensor,
) -> Result<Option<Tensor>> {
    let names = NORM.map(|name| format!("{PEFT_PREFIX}{name}"));
    let [Some(weight), Some(new)] = names.each_ref().map(|name| state.tensors().get(name)) else {
        return Ok(None);
    };
    let Some(values) = &metadata.head_bias else { return Ok(None) };
    let bias = Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?.f_to_device(head.device())?;
    if bias.size() != [head.size()[0]] {
        return Ok(None);
    }
    let [old_weight, old] = norm(body)?;
    let on_cpu = |tensor: &Tensor| tensor.f_to_device(Device::Cpu);
    let expected = norm_with_bias(&old, head, &bias)?;
    let is_as_saved = match expected {
        Some(expected) if expected.size() == new.size() && weight.size() == old_weight.size() => {
            weight.f_equal(&on_cpu(&old_weight)?)?
                && new.f_allclose(&on_cpu(&expected)?, 1e-4, 1e-5, false)?
        }
        _ => false,
    };
    if !is_as_saved {
        return Ok(None);
    }
    names.iter().for_each(|name| drop(state.take_tensor(name)));
    Ok(Some(bias))
}

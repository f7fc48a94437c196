//! Bias of a classification head, moved into the final norm for `transformers` and PEFT.
//!
//! The head of `transformers`' GPT-2 classifier is a matrix `W` without a bias. Its input is
//! the final norm, `x̂ γ + β`, which has no other use. A bias `b` therefore equals `β + δ` in
//! the norm with `W δ = b`: exactly, and PEFT can save a whole norm beside an adapter.

use gpt2_model::{Gpt2, Gpt2Classifier, Linear, LinearLayer};
use lora::AdapterState;
use tch::{Device, Kind, Tensor};

use crate::{
    error::{Error, Result},
    trainable::adapters::PEFT_PREFIX,
};

const NORM: [&str; 2] = ["ln_f.weight", "ln_f.bias"];

/// Moves the bias of the head into the final norm: `score.bias` of `state` becomes
/// `transformer.ln_f.weight` and `transformer.ln_f.bias`, for [`AdapterState::to_peft`].
/// `model` is the model of the state with the adapter attached. Without a bias, it does
/// nothing.
///
/// # Errors
/// [`Error::Config`] if the rows of the head are linearly dependent, so that no norm gives
/// the bias; errors of libtorch.
pub(crate) fn bias_into_norm(state: &mut AdapterState, model: &mut Gpt2Classifier) -> Result<()> {
    let Some(bias) = state.take_tensor(Gpt2Classifier::HEAD_TENSORS[1]) else { return Ok(()) };
    let [weight, old] = norm(model.body())?;
    let new = old.f_add(&shift(&merged_head(model)?, &bias)?)?;
    for (name, tensor) in NORM.iter().zip([&weight, &new]) {
        state.add_tensor(&format!("{PEFT_PREFIX}{name}"), tensor)?;
    }
    Ok(())
}

/// Moves the bias of the head of a merged model into its final norm. Without a bias, it does
/// nothing.
///
/// # Errors
/// See [`bias_into_norm`].
pub(crate) fn fold_bias(model: Gpt2Classifier) -> Result<Gpt2Classifier> {
    let [_, old] = norm(model.body())?;
    let (body, head) = model.into_parts();
    let Some(bias) = head.bias() else { return Ok(Gpt2Classifier::with_head(body, head)) };
    let new = old.f_add(&shift(head.weight(), bias)?)?;
    let head = Linear::new(head.weight().shallow_clone(), None);
    Ok(Gpt2Classifier::with_head(body.with_final_bias(new), Box::new(head)))
}

/// Solves `W δ = b` for the shortest `δ` `[dim]`; the head `W` is `[classes, dim]`.
fn shift(head: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let bias = bias.f_to_device(head.device())?.f_to_kind(head.kind())?;
    let shift = head.f_linalg_pinv(1e-6, false)?.f_mv(&bias)?;
    let error = head.f_mv(&shift)?.f_sub(&bias)?.f_abs()?.f_max()?.f_double_value(&[])?;
    let size = bias.f_abs()?.f_max()?.f_double_value(&[])?.max(1e-30);
    if error.is_nan() || error > 1e-5 * size {
        return Err(Error::Config(
            "the bias of the head cannot move into the final norm, because the rows of the head are \
             linearly dependent; train with --head full, whose head has no bias"
                .to_owned(),
        ));
    }
    Ok(shift)
}

/// Reverses [`bias_into_norm`] on a state loaded from PEFT: a final norm that differs from
/// the norm of the base model's `body` only in its bias becomes `score.bias`. Without a norm
/// in the state, it does nothing.
///
/// # Errors
/// [`Error::Config`] if the norm differs in its weight, or the state has no head.
pub(crate) fn bias_from_norm(state: &mut AdapterState, body: &Gpt2) -> Result<()> {
    let taken = NORM.map(|name| state.take_tensor(&format!("{PEFT_PREFIX}{name}")));
    let [Some(weight), Some(new)] = taken else {
        return match taken {
            [None, None] => Ok(()),
            _ => Err(Error::Config(
                "the adapter has only one tensor of the final norm (ln_f)".to_owned(),
            )),
        };
    };
    let [old_weight, old] = norm(body)?;
    let _no_grad = tch::no_grad_guard();
    let same = weight.size() == old_weight.size() && weight.f_equal(&on_cpu(&old_weight)?)?;
    let Some(head) = state.tensors().get(Gpt2Classifier::HEAD_TENSORS[0]).filter(|_| same) else {
        return Err(Error::Config(
            "the adapter has a final norm (transformer.ln_f) that differs from the base model's in \
             more than a bias for its head"
                .to_owned(),
        ));
    };
    let bias = head.f_mv(&new.f_sub(&on_cpu(&old)?)?)?;
    state.add_tensor(Gpt2Classifier::HEAD_TENSORS[1], &bias)?;
    Ok(())
}

/// Copies a tensor to the CPU in float32, like the tensors of a state.
fn on_cpu(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?)
}

/// Returns `γ` and `β` of the final norm, `[dim]` each.
fn norm(body: &Gpt2) -> Result<[Tensor; 2]> {
    let parameters = body.named_parameters();
    let find = |name: &str| {
        let found = parameters.iter().find(|(other, _)| other == name);
        found
            .map(|(_, tensor)| tensor.shallow_clone())
            .ok_or_else(|| Error::Config(format!("the model has no final norm {name}")))
    };
    let [weight, bias] = NORM;
    Ok([find(weight)?, find(bias)?])
}

/// Returns the weight of the head with its adapter merged, `[classes, dim]`.
fn merged_head(model: &mut Gpt2Classifier) -> Result<Tensor> {
    let mut head = None;
    model.visit_linears(&mut |slot| {
        if slot.name == Gpt2Classifier::HEAD {
            let merged = slot.layer.merged()?;
            head = Some(merged.weight().f_to_kind(Kind::Float)?);
        }
        Ok::<(), Error>(())
    })?;
    head.ok_or_else(|| Error::Config("the model has no head score".to_owned()))
}

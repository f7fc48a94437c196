//! The tied head: cross-entropy of the next token and its gradients, computed a
//! few rows at a time, so that logits of the whole vocabulary are never all there.

use tch::{Kind, TchError, Tensor};

use super::{precision::Precision, sampled::Candidates};

/// Logits that are computed at a time: what they take stays in a CPU's cache, and
/// below the size from which the allocator asks the system for fresh pages.
const LOGITS: i64 = 1 << 22;

/// Adds the gradient of the mean cross-entropy to that of the token embedding
/// (`gradient`, `[vocab, dim]`) and returns the loss, in nats, with its gradient
/// by the hidden states.
///
/// `hidden` is `[tokens, dim]`, `targets` `[tokens]`. With `candidates` the softmax is
/// over these tokens only.
pub(crate) fn backward(
    embedding: &Tensor,
    gradient: &mut Tensor,
    hidden: &Tensor,
    targets: &Tensor,
    candidates: Option<&Candidates>,
    precision: Precision,
) -> Result<(f64, Tensor), TchError> {
    let _no_grad = tch::no_grad_guard();
    let kind = match precision {
        Precision::Float32 => Kind::Float,
        Precision::Bfloat16 => Kind::BFloat16,
    };
    let (count, dim) = hidden.size2()?;
    let embedding = embedding.f_detach()?;
    let (weight, targets, offsets) = match candidates {
        None => (embedding.f_to_kind(kind)?, targets.shallow_clone(), None),
        Some(candidates) => (
            embedding.f_index_select(0, &candidates.ids)?.f_to_kind(kind)?,
            candidates.places.f_index_select(0, targets)?,
            Some(candidates.offsets.f_to_kind(kind)?),
        ),
    };
    let hidden = hidden.f_detach()?.f_to_kind(kind)?;
    // With the mean's factor on these, no pass over the logits is needed for it.
    let scaled = hidden.f_mul_scalar(1.0 / count as f64)?;
    let options = (Kind::Float, hidden.device());
    let mut by_weight = Tensor::f_zeros([weight.size()[0], dim], options)?;
    let mut by_hidden = Vec::new();
    let mut loss = Tensor::f_zeros([1], options)?;
    let rows = (LOGITS / weight.size()[0]).max(32).min(count);
    let mut first = 0;
    while first < count {
        let rows = rows.min(count - first);
        let targets = targets.f_narrow(0, first, rows)?.f_unsqueeze(1)?;
        let logits = hidden.f_narrow(0, first, rows)?.f_linear(&weight, offsets.as_ref())?;
        let mut probability = logits.f_softmax(-1, None::<Kind>)?;
        drop(logits);
        let of_target = probability.f_gather(1, &targets, false)?.f_to_kind(Kind::Float)?;
        let smallest = f64::from(f32::MIN_POSITIVE);
        let _ = loss.f_sub_(&of_target.f_clamp_min(smallest)?.f_log()?.f_sum(Kind::Float)?)?;
        // By the logits: probability, less one at the target.
        let one = Tensor::f_ones([rows, 1], (kind, hidden.device()))?.f_neg()?;
        let _ = probability.f_scatter_add_(1, &targets, &one)?;
        by_hidden.push(probability.f_matmul(&weight)?);
        let outer = probability.f_tr()?.f_matmul(&scaled.f_narrow(0, first, rows)?)?;
        let _ = by_weight.f_add_(&outer)?;
        first += rows;
    }
    let _ = match candidates {
        None => gradient.f_add_(&by_weight)?,
        Some(candidates) => gradient.f_index_add_(0, &candidates.ids, &by_weight)?,
    };
    let by_hidden = Tensor::f_cat(&by_hidden, 0)?.f_to_kind(Kind::Float)?;
    let loss = crate::evaluate::scalar(&loss)? / count as f64;
    Ok((loss, by_hidden.f_mul_scalar(1.0 / count as f64)?))
}

/// The sum of the targets' negative log-likelihoods, in nats, over the whole
/// vocabulary and in float32.
pub(crate) fn nll(embedding: &Tensor, hidden: &Tensor, targets: &Tensor) -> Result<f64, TchError> {
    let _no_grad = tch::no_grad_guard();
    let (count, _) = hidden.size2()?;
    let rows = (LOGITS / embedding.size()[0]).max(32).min(count);
    let mut sum = 0.0;
    let mut first = 0;
    while first < count {
        let rows = rows.min(count - first);
        let targets = targets.f_narrow(0, first, rows)?.f_unsqueeze(1)?;
        let logits = hidden.f_narrow(0, first, rows)?.f_linear::<Tensor>(embedding, None)?;
        let all = logits.f_logsumexp([-1i64].as_slice(), true)?;
        let lost = all.f_sub(&logits.f_gather(1, &targets, false)?)?;
        sum += crate::evaluate::scalar(&lost.f_sum(Kind::Double)?)?;
        first += rows;
    }
    Ok(sum)
}

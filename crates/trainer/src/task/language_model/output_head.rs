//! Head of a language model: cross-entropy of the next token and its gradients, computed a few rows at a time,
//! so that the logits of all tokens never exist at once.

use tch::{Device, Kind, TchError, Tensor};

use crate::task::language_model::sampled_softmax::Candidates;

/// Logits computed at a time on the CPU: they fit its cache, and stay below the size from which
/// the allocator requests fresh pages from the system.
const LOGITS: i64 = 1 << 22;

/// Logits computed at a time on a GPU, where large products are fast: half a gigabyte.
const LOGITS_ON_GPU: i64 = 1 << 27;

/// Rows of logits computed at a time, of `count`.
fn rows_at_a_time(vocabulary: i64, count: i64, device: Device) -> i64 {
    let logits = if device.is_cuda() { LOGITS_ON_GPU } else { LOGITS };
    (logits / vocabulary).max(32).min(count)
}

/// Computes `factor` times the mean cross-entropy, in nats, `[1]`, and its gradient with respect
/// to `hidden`. Adds the gradient with respect to the output embedding to `gradient`
/// (`[vocab, dim]`) if that is given. Matrix products are computed in `kind`.
///
/// `hidden` is `[tokens, dim]`, `targets` `[tokens]`. With `candidates` the softmax is over
/// these tokens only.
pub(crate) fn backward(
    embedding: &Tensor,
    gradient: Option<&mut Tensor>,
    hidden: &Tensor,
    targets: &Tensor,
    candidates: Option<&Candidates>,
    kind: Kind,
    factor: f64,
) -> Result<(Tensor, Tensor), TchError> {
    let _no_grad = tch::no_grad_guard();
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
    // Scaling the hidden states saves a pass over the logits.
    let factor = factor / count as f64;
    let scaled = hidden.f_mul_scalar(factor)?;
    let options = (Kind::Float, hidden.device());
    let mut by_weight = match gradient {
        Some(_) => Some(Tensor::f_zeros([weight.size()[0], dim], options)?),
        None => None,
    };
    let mut by_hidden = Vec::new();
    let mut loss = Tensor::f_zeros([1], options)?;
    let rows = rows_at_a_time(weight.size()[0], count, hidden.device());
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
        // Gradient with respect to the logits: the probabilities, minus 1 at the target.
        let one = Tensor::f_ones([rows, 1], (kind, hidden.device()))?.f_neg()?;
        let _ = probability.f_scatter_add_(1, &targets, &one)?;
        by_hidden.push(probability.f_matmul(&weight)?);
        if let Some(by_weight) = &mut by_weight {
            let outer = probability.f_tr()?.f_matmul(&scaled.f_narrow(0, first, rows)?)?;
            let _ = by_weight.f_add_(&outer)?;
        }
        first += rows;
    }
    if let (Some(gradient), Some(by_weight)) = (gradient, by_weight) {
        let _ = match candidates {
            None => gradient.f_add_(&by_weight)?,
            Some(candidates) => gradient.f_index_add_(0, &candidates.ids, &by_weight)?,
        };
    }
    let by_hidden = Tensor::f_cat(&by_hidden, 0)?.f_to_kind(Kind::Float)?;
    Ok((loss.f_mul_scalar(factor)?, by_hidden.f_mul_scalar(factor)?))
}

/// Negative log-likelihood of each target, in nats, and 1 if it is the most likely token, else 0, with
/// the full softmax in float32.
pub(crate) fn evaluate(
    embedding: &Tensor,
    hidden: &Tensor,
    targets: &Tensor,
) -> Result<(Vec<f64>, Vec<f64>), TchError> {
    let _no_grad = tch::no_grad_guard();
    let (count, _) = hidden.size2()?;
    let rows = rows_at_a_time(embedding.size()[0], count, hidden.device());
    let (mut losses, mut correct) = (Vec::new(), Vec::new());
    let values =
        |values: Tensor| Vec::<f64>::try_from(values.f_view([-1])?.f_to_kind(Kind::Double)?);
    let mut first = 0;
    while first < count {
        let rows = rows.min(count - first);
        let targets = targets.f_narrow(0, first, rows)?.f_unsqueeze(1)?;
        let logits = hidden.f_narrow(0, first, rows)?.f_linear::<Tensor>(embedding, None)?;
        // `amax` is vectorized, `argmax` is not: it takes five times as long.
        let largest = logits.f_amax([-1i64].as_slice(), true)?;
        let hits = logits.f_gather(1, &targets, false)?.f_eq_tensor(&largest)?;
        correct.extend(values(hits)?);
        let of_targets = logits.f_log_softmax(-1, None::<Kind>)?.f_gather(1, &targets, false)?;
        losses.extend(values(of_targets.f_neg()?)?);
        first += rows;
    }
    Ok((losses, correct))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::language_model::sampled_softmax::Sampler;

    const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

    /// An embedding, hidden states and targets.
    fn inputs(vocab: i64, dim: i64, count: i64) -> [Tensor; 3] {
        tch::manual_seed(7);
        let embedding = Tensor::randn([vocab, dim], FLOAT) * 0.5;
        let hidden = Tensor::randn([count, dim], FLOAT);
        [embedding, hidden, Tensor::randint(vocab, [count], (Kind::Int64, Device::Cpu))]
    }

    #[track_caller]
    fn close(actual: &Tensor, expected: &Tensor, tolerance: f64) {
        assert_eq!(actual.size(), expected.size());
        let difference = (actual - expected).abs().max().double_value(&[]);
        let size = expected.abs().max().double_value(&[]);
        assert!(difference <= tolerance * size, "off by {difference} of {size}");
    }

    /// Loss and gradients of [`backward`], accumulated on an existing gradient, which is
    /// subtracted again.
    fn by_hand(
        [embedding, hidden, targets]: &[Tensor; 3],
        candidates: Option<&Candidates>,
        kind: Kind,
    ) -> (f64, Tensor, Tensor) {
        let before = embedding.cos();
        let mut gradient = before.copy();
        let (loss, by_hidden) =
            backward(embedding, Some(&mut gradient), hidden, targets, candidates, kind, 1.0)
                .unwrap();
        let frozen = backward(embedding, None, hidden, targets, candidates, kind, 0.5).unwrap();
        assert!((frozen.1 * 2.0).allclose(&by_hidden, 1e-5, 1e-8, false));
        (loss.double_value(&[0]), gradient - before, by_hidden)
    }

    /// Loss and gradients of libtorch's autograd.
    fn by_autograd([embedding, hidden, targets]: &[Tensor; 3]) -> (f64, Tensor, Tensor) {
        let embedding = embedding.copy().set_requires_grad(true);
        let hidden = hidden.copy().set_requires_grad(true);
        let loss = hidden.matmul(&embedding.tr()).cross_entropy_for_logits(targets);
        loss.backward();
        (loss.double_value(&[]), embedding.grad(), hidden.grad())
    }

    #[test]
    fn gradients_equal_autograd() {
        // The last two are computed in several chunks of 32 rows, the last one shorter.
        for (vocab, dim, count) in [(2, 1, 1), (13, 5, 9), (131_073, 2, 70), (200_000, 3, 64)] {
            let inputs = inputs(vocab, dim, count);
            let (loss, by_embedding, by_hidden) = by_hand(&inputs, None, Kind::Float);
            let (autograd_loss, autograd_by_embedding, autograd_by_hidden) = by_autograd(&inputs);
            assert!(
                (loss - autograd_loss).abs() < 1e-5 * autograd_loss,
                "{loss} and {autograd_loss}"
            );
            close(&by_embedding, &autograd_by_embedding, 1e-4);
            close(&by_hidden, &autograd_by_hidden, 1e-4);
            let [embedding, hidden, targets] = &inputs;
            let (losses, correct) = evaluate(embedding, hidden, targets).unwrap();
            let (sum, correct) = (losses.iter().sum::<f64>(), correct.iter().sum::<f64>());
            let likeliest = hidden.matmul(&embedding.tr()).argmax(-1, false);
            assert_eq!(correct, likeliest.eq_tensor(targets).sum(Kind::Double).double_value(&[]));
            assert!((sum / count as f64 - autograd_loss).abs() < 1e-5 * autograd_loss, "{sum}");
        }
    }

    #[test]
    fn bfloat16_gradients_are_close_to_float32() {
        let inputs = inputs(50, 8, 40);
        let (loss, by_embedding, by_hidden) = by_hand(&inputs, None, Kind::BFloat16);
        let (autograd_loss, autograd_by_embedding, autograd_by_hidden) = by_autograd(&inputs);
        assert!((loss / autograd_loss - 1.0).abs() < 0.01, "{loss} and {autograd_loss}");
        close(&by_embedding, &autograd_by_embedding, 0.03);
        close(&by_hidden, &autograd_by_hidden, 0.03);
    }

    #[test]
    fn all_tokens_as_candidates_equal_the_full_softmax() {
        let inputs = inputs(60, 4, 20);
        let targets = Vec::<i64>::try_from(&inputs[2]).unwrap();
        let counts: Vec<u64> = (0..60).map(|token| token * 31 % 60).collect();
        let sampler = Sampler::new(&counts, 60, 1, Device::Cpu);
        let candidates = sampler.candidates(3, &targets).unwrap();
        assert_eq!(candidates.ids.size(), [60]);
        let (loss, by_embedding, by_hidden) = by_hand(&inputs, Some(&candidates), Kind::Float);
        let (whole, by_whole_embedding, by_whole_hidden) = by_hand(&inputs, None, Kind::Float);
        assert!((loss - whole).abs() < 1e-6 * whole, "{loss} and {whole}");
        close(&by_embedding, &by_whole_embedding, 1e-5);
        close(&by_hidden, &by_whole_hidden, 1e-5);
    }

    #[test]
    fn sampled_softmax_is_unbiased() {
        let inputs = inputs(400, 4, 10);
        let targets = Vec::<i64>::try_from(&inputs[2]).unwrap();
        let counts: Vec<u64> = (0..400).rev().collect();
        let sampler = Sampler::new(&counts, 80, 1, Device::Cpu);
        let (whole, by_whole, _) = by_hand(&inputs, None, Kind::Float);
        let (mut losses, mut sum) = (0.0, by_whole.zeros_like());
        for step in 0..200 {
            let candidates = sampler.candidates(step, &targets).unwrap();
            assert!(candidates.ids.size()[0] <= 90);
            let (loss, by_embedding, _) = by_hand(&inputs, Some(&candidates), Kind::Float);
            losses += loss / 200.0;
            sum += by_embedding / 200.0;
        }
        assert!((losses / whole - 1.0).abs() < 0.01, "{losses} and {whole}");
        close(&sum, &by_whole, 0.1);
    }
}

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

#[cfg(test)]
mod tests {
    use dataset::TorchRng;
    use rand_core::Rng;
    use tch::Device;

    use super::{super::sampled::Sampler, *};

    const VOCABULARY: i64 = 50;

    fn random(shape: [i64; 2], seed: u64) -> Tensor {
        let mut rng = TorchRng::manual_seed(seed);
        let next = |_| (rng.next_u32() as f32 / u32::MAX as f32 - 0.5) * 2.0;
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(next).collect();
        Tensor::from_slice(&values).view(shape)
    }

    fn targets(count: i64) -> Vec<i64> {
        (0..count).map(|place| place * 7 % VOCABULARY).collect()
    }

    #[track_caller]
    fn close(left: &Tensor, right: &Tensor) {
        let difference = (left - right).abs().max().double_value(&[]);
        assert!(difference < 1e-6, "off by {difference}");
    }

    #[test]
    fn gradients_are_those_of_autograd() {
        let embedding = random([VOCABULARY, 6], 1).set_requires_grad(true);
        let hidden = random([40, 6], 2).set_requires_grad(true);
        let targets = Tensor::from_slice(&targets(40));
        let expected = hidden.linear::<Tensor>(&embedding, None).cross_entropy_for_logits(&targets);
        expected.backward();

        let mut gradient = embedding.zeros_like().detach();
        let precision = Precision::Float32;
        let (loss, by_hidden) =
            backward(&embedding, &mut gradient, &hidden, &targets, None, precision).unwrap();
        assert!((loss - expected.double_value(&[])).abs() < 1e-5);
        close(&gradient, &embedding.grad());
        close(&by_hidden, &hidden.grad());
        let sum = nll(&embedding.detach(), &hidden.detach(), &targets).unwrap();
        assert!((sum / 40.0 - loss).abs() < 1e-5);
    }

    #[test]
    fn with_all_tokens_as_candidates_nothing_changes() {
        let (embedding, hidden) = (random([VOCABULARY, 6], 1), random([40, 6], 2));
        let ids = targets(40);
        let targets = Tensor::from_slice(&ids);
        let counts: Vec<u64> = (0..VOCABULARY as u64).collect();
        let sampler = Sampler::new(&counts, VOCABULARY as usize - 1, 3, Device::Cpu);
        let candidates = sampler.candidates(0, &ids).unwrap();
        assert_eq!(candidates.ids.size(), [VOCABULARY]);
        let with = |candidates| {
            let mut gradient = embedding.zeros_like();
            let precision = Precision::Float32;
            let (loss, by_hidden) =
                backward(&embedding, &mut gradient, &hidden, &targets, candidates, precision)
                    .unwrap();
            (loss, by_hidden, gradient)
        };
        let (all, some) = (with(None), with(Some(&candidates)));
        assert!((all.0 - some.0).abs() < 1e-5);
        close(&all.1, &some.1);
        close(&all.2, &some.2);
    }

    #[test]
    fn a_sample_estimates_the_whole_denominator() {
        let (embedding, hidden) = (random([VOCABULARY, 6], 1), random([1, 6], 2));
        let counts: Vec<u64> = (0..VOCABULARY as u64).collect();
        let sampler = Sampler::new(&counts, 20, 3, Device::Cpu);
        let logits = hidden.linear::<Tensor>(&embedding, None);
        let whole = logits.exp().sum(Kind::Float).double_value(&[]);
        let estimate = |step| {
            let candidates = sampler.candidates(step, &[5]).unwrap();
            assert_eq!(candidates.ids.size(), [21]);
            let chosen = logits.squeeze().index_select(0, &candidates.ids) + &candidates.offsets;
            chosen.exp().sum(Kind::Float).double_value(&[])
        };
        let mean = (0..4000).map(estimate).sum::<f64>() / 4000.0;
        assert!((mean / whole - 1.0).abs() < 0.02, "{mean}, {whole}");
    }
}

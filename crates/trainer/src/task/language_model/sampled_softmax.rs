//! Sampled softmax (Jean et al. 2015, *On Using Very Large Target Vocabulary for Neural Machine
//! Translation*).
//!
//! Most of GPT-2's 50,257 tokens are rare or absent in a text, and the full softmax dominates
//! the cost of training a small model. The candidates of a step are the most frequent tokens,
//! the step's targets, and a uniform random sample of the other tokens. Their number is the same in
//! every step that has not too many targets: blocks of memory of ever new sizes would leave gaps between them. The logit of a sampled
//! token is increased by the logarithm of the inverse sampling rate, which makes the
//! denominator an unbiased estimate of the full one, so that the model can be evaluated with
//! the full softmax.

use dataset::TorchRng;
use rand_core::Rng;
use tch::{Device, TchError, Tensor};

/// Sampler of the candidates of each step.
#[derive(Debug)]
pub(crate) struct Sampler {
    frequent: Vec<u32>,
    is_frequent: Vec<bool>,
    size: usize,
    seed: u32,
    device: Device,
}

/// Candidates of the softmax of one step.
#[derive(Debug)]
pub(crate) struct Candidates {
    /// Distinct token ids, `[candidates]`.
    pub ids: Tensor,
    /// Offsets of the logits, `[candidates]`, float32.
    pub offsets: Tensor,
    /// Index of each token of the vocabulary among the candidates, or -1, `[vocab]`.
    pub places: Tensor,
}

impl Sampler {
    /// Creates a sampler of `size` candidates, half of them the most frequent tokens, the others the
    /// targets of a step and a sample, which is at least a quarter. There are more if a step has
    /// other targets than that leaves room for.
    pub fn new(counts: &[u64], size: usize, seed: u32, device: Device) -> Self {
        let mut order: Vec<u32> = (0..counts.len() as u32).collect();
        order.sort_by_key(|&token| (std::cmp::Reverse(counts[token as usize]), token));
        order.truncate(size / 2);
        let mut is_frequent = vec![false; counts.len()];
        for &token in &order {
            is_frequent[token as usize] = true;
        }
        Self { frequent: order, is_frequent, size, seed, device }
    }

    /// Candidates of a step, which depend only on the seed, the step and its targets.
    pub fn candidates(&self, step: usize, targets: &[i64]) -> Result<Candidates, TchError> {
        let mut ids: Vec<i64> = self.frequent.iter().copied().map(i64::from).collect();
        let mut taken = self.is_frequent.clone();
        for &target in targets {
            if let Some(taken) = taken.get_mut(target as usize).filter(|taken| !**taken) {
                *taken = true;
                ids.push(target);
            }
        }
        let certain = ids.len();
        let others = taken.len() - certain;
        let sample = self.size.saturating_sub(certain).max(self.size / 4).min(others);
        // One generator per step, so that training can resume at any step.
        let mut rng = TorchRng::manual_seed(mix(self.seed, step));
        while ids.len() < certain + sample {
            let token = rng.next_u32() as usize % taken.len();
            if !taken[token] {
                taken[token] = true;
                ids.push(token as i64);
            }
        }
        let offset = (others as f32 / sample.max(1) as f32).ln();
        let offsets: Vec<f32> =
            (0..ids.len()).map(|place| if place < certain { 0.0 } else { offset }).collect();
        let mut places = vec![-1i64; taken.len()];
        for (place, &id) in ids.iter().enumerate() {
            places[id as usize] = place as i64;
        }
        let tensor = |values: &[i64]| Tensor::f_from_slice(values)?.f_to_device(self.device);
        Ok(Candidates {
            ids: tensor(&ids)?,
            offsets: Tensor::f_from_slice(&offsets)?.f_to_device(self.device)?,
            places: tensor(&places)?,
        })
    }
}

/// Mixes a seed and a number into a seed (finalizer of SplitMix64).
fn mix(seed: u32, number: usize) -> u64 {
    let mut value = (u64::from(seed) << 32 ^ number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    // The generator reads only the low half.
    value >> 32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn numbers(tensor: &Tensor) -> Vec<i64> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn candidates_are_frequent_tokens_targets_and_a_sample() {
        // The most frequent are 900 to 999.
        let counts: Vec<u64> = (0..1000).collect();
        let sampler = Sampler::new(&counts, 200, 5, Device::Cpu);
        let Candidates { ids, offsets, places } = sampler.candidates(8, &[3, 950, 3, 4]).unwrap();
        let ids = numbers(&ids);
        assert_eq!(ids.len(), 200);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a candidate is repeated");
        assert!((900..1000).all(|token| ids[..100].contains(&token)));
        assert_eq!(ids[100..102], [3, 4]);
        // 98 of 898 other tokens are sampled.
        let offsets = Vec::<f32>::try_from(&offsets).unwrap();
        assert!(offsets[..102].iter().all(|&offset| offset == 0.0));
        assert!(offsets[102..].iter().all(|&offset| offset == (898f32 / 98.0).ln()));
        for (token, &place) in numbers(&places).iter().enumerate() {
            let expected = ids.iter().position(|&id| id == token as i64);
            assert_eq!(usize::try_from(place).ok(), expected, "token {token}");
        }
    }

    #[test]
    fn sample_depends_on_seed_and_step() {
        let counts = vec![1; 1000];
        let ids = |seed, step| {
            let sampler = Sampler::new(&counts, 100, seed, Device::Cpu);
            numbers(&sampler.candidates(step, &[7]).unwrap().ids)
        };
        assert_eq!(ids(1, 2), ids(1, 2));
        assert_ne!(ids(1, 2), ids(1, 3));
        assert_ne!(ids(1, 2), ids(2, 2));
    }

    #[test]
    fn sample_is_uniform() {
        let sampler = Sampler::new(&[1; 100], 20, 9, Device::Cpu);
        let mut drawn = [0; 100];
        for step in 0..3000 {
            for id in numbers(&sampler.candidates(step, &[]).unwrap().ids) {
                drawn[id as usize] += 1;
            }
        }
        assert_eq!(drawn[..10], [3000; 10]);
        // 333 of 3000, give or take five standard deviations.
        assert!(drawn[10..].iter().all(|&count| (247..=420).contains(&count)), "{drawn:?}");
    }
}

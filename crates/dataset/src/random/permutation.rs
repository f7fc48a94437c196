//! Permutations as PyTorch and NumPy draw them.

use rand_core::Rng;
use rand_mt::Mt;

use super::mt19937::TorchRng;

/// `torch.randperm(n)` on the CPU with a generator of its own, seeded with
/// `seed`: the order of a shuffling `DataLoader`.
///
/// Equal to torch for fewer than 2³² / 20 (214 million) elements, from where on
/// torch draws 64 bits for each.
///
/// ```
/// // torch.randperm(5, generator=torch.Generator().manual_seed(123))
/// assert_eq!(dataset::randperm(5, 123), [2, 0, 1, 3, 4]);
/// ```
pub fn randperm(n: usize, seed: u64) -> Vec<usize> {
    let mut rng = TorchRng::manual_seed(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for place in 0..n.saturating_sub(1) {
        let ahead = u64::from(rng.next_u32()) % (n - place) as u64;
        order.swap(place, place + ahead as usize);
    }
    order
}

/// `numpy.random.RandomState(seed).permutation(n)`; its first `k` elements are
/// what pandas' `sample(k, random_state=seed)` takes of `n` rows.
///
/// ```
/// // numpy.random.RandomState(123).permutation(5)
/// assert_eq!(dataset::numpy_permutation(5, 123), [1, 3, 4, 0, 2]);
/// ```
pub fn numpy_permutation(n: usize, seed: u32) -> Vec<usize> {
    let mut mt = Mt::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, interval(&mut mt, last as u64) as usize);
    }
    order
}

/// A number from 0 to `max`, both included: as many bits as `max` has, drawn
/// again while they are more than `max`.
fn interval(mt: &mut Mt, max: u64) -> u64 {
    let mask = u64::MAX >> max.leading_zeros();
    loop {
        // NumPy draws one word as long as one is enough.
        let word = if max >> 32 == 0 { u64::from(mt.next_u32()) } else { mt.next_u64() };
        if word & mask <= max {
            return word & mask;
        }
    }
}

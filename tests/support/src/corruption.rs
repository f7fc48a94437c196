//! Randomly corrupted files.

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Corrupted versions of a file: flipped bits, truncation, ranges that are duplicated,
/// overwritten or removed, and sometimes random bytes instead.
pub fn corrupted(whole: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let (whole, length) = (whole.to_vec(), whole.len());
    // Headers, which have the most structure, are at the front.
    let place = prop_oneof![0..length.min(512), 0..length];
    let change = (place, any::<u8>(), 1..64usize, 0..5u8);
    let changes = prop::collection::vec(change, 1..4);
    let changed = changes.prop_map(move |changes| {
        let mut bytes = whole.clone();
        for (place, value, count, kind) in changes {
            let start = place.min(bytes.len());
            let end = (start + count).min(bytes.len());
            match kind {
                0 => bytes.truncate(start),
                1 => drop(bytes.drain(start..end)),
                2 => bytes[start..end].fill(value),
                3 => {
                    let piece = bytes[start..end].to_vec();
                    bytes.splice(start..start, piece);
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(start) {
                        *byte ^= 1 << (value % 8);
                    }
                }
            }
        }
        bytes
    });
    prop_oneof![9 => changed, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// One damaged version of a file, see [`corrupted`].
///
/// # Panics
/// If the strategy fails, which is a bug.
pub fn damaged(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    corrupted(whole).new_tree(&mut runner).unwrap().current()
}

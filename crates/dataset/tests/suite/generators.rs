//! Random numbers and permutations against NumPy and PyTorch.

use dataset::{Error, StateError, TorchRng, TorchRngState, numpy_permutation, randperm};
use proptest::prelude::*;
use rand_core::Rng;
use serde::Deserialize;

use crate::fixture;

#[derive(Deserialize)]
struct Generators {
    torch: Vec<Draws>,
    randperm: Vec<(usize, u64, Vec<usize>)>,
    numpy: Vec<(usize, u32, Vec<usize>)>,
}

#[derive(Deserialize)]
struct Draws {
    seed: u64,
    int64: Vec<i64>,
    uniform: Vec<u32>,
    later: Vec<i64>,
}

#[test]
fn random_numbers_match_torch() {
    for draws in fixture::<Generators>("generators.json").torch {
        let mut rng = TorchRng::manual_seed(draws.seed);
        let mut int64 = |n: usize| -> Vec<i64> { (0..n).map(|_| rng.random_i64()).collect() };
        assert_eq!(int64(5), draws.int64, "seed {}", draws.seed);
        let uniform: Vec<u32> = (0..5).map(|_| rng.next_u32() & 0xff_ffff).collect();
        assert_eq!(uniform, draws.uniform, "seed {}", draws.seed);
        let mut int64 = |n: usize| -> Vec<i64> { (0..n).map(|_| rng.random_i64()).collect() };
        int64(2000);
        assert_eq!(int64(3), draws.later, "seed {}", draws.seed);
    }
}

#[test]
fn randperm_matches_torch() {
    for (n, seed, order) in fixture::<Generators>("generators.json").randperm {
        assert_eq!(randperm(n, seed), order, "n {n}, seed {seed}");
    }
}

#[test]
fn permutation_matches_numpy() {
    for (n, seed, order) in fixture::<Generators>("generators.json").numpy {
        assert_eq!(numpy_permutation(n, seed), order, "n {n}, seed {seed}");
    }
}

#[test]
fn random_bytes_are_little_endian_words() {
    let (mut rng, mut words) = (TorchRng::manual_seed(5), TorchRng::manual_seed(5));
    let mut bytes = [0; 6];
    rng.fill_bytes(&mut bytes);
    assert_eq!(bytes[..4], words.next_u32().to_le_bytes());
    assert_eq!(bytes[4..], words.next_u32().to_le_bytes()[..2]);
    assert_eq!(rng.next_u64(), words.next_u64());
}

#[test]
fn damaged_state_is_rejected() {
    let state = serde_json::to_value(TorchRng::manual_seed(1).state()).unwrap();
    let check = |field: &str, value: serde_json::Value, expected: StateError| {
        let mut damaged = state.clone();
        damaged[field] = value;
        let damaged: TorchRngState = serde_json::from_value(damaged).unwrap();
        let error = TorchRng::from_state(&damaged).unwrap_err();
        assert!(matches!(&error, Error::State(error) if *error == expected), "{error}");
    };
    check("block", vec![1; 623].into(), StateError::Block { expected: 624, words: 623 });
    check("next", 625.into(), StateError::Next { most: 624, next: 625 });
}

proptest! {
    #[test]
    fn restored_state_continues_the_sequence(seed: u64, drawn in 0usize..2000) {
        let mut rng = TorchRng::manual_seed(seed);
        for _ in 0..drawn {
            rng.next_u32();
        }
        let json = serde_json::to_string(&rng.state()).unwrap();
        let mut restored = TorchRng::from_state(&serde_json::from_str(&json).unwrap()).unwrap();
        prop_assert!((0..1500).all(|_| restored.next_u32() == rng.next_u32()));
    }

    #[test]
    fn permutations_contain_every_number_once(n in 0usize..500, seed: u32) {
        for mut order in [randperm(n, seed.into()), numpy_permutation(n, seed)] {
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..n));
        }
    }
}

//! Batches: comparison with PyTorch's `DataLoader`, and properties of every batch.

use dataset::{
    Batch, BatchError, DataLoader, END_OF_TEXT, Error, Example, Padding, TokenizedSet, Tokenizer,
    TorchRng, length_sorted_batches,
};
use proptest::prelude::*;
use serde::Deserialize;

use crate::fixture;

/// Examples of these lengths; the class is the number of the row.
pub fn tokenized(lengths: &[usize]) -> TokenizedSet {
    let example =
        |(row, &length): (usize, &usize)| Example { label: row, text: " the".repeat(length), row };
    let examples: Vec<Example> = lengths.iter().enumerate().map(example).collect();
    TokenizedSet::new(&examples, &Tokenizer::gpt2(), None)
}

/// The row numbers of each batch.
pub fn orders(batches: impl Iterator<Item = Batch>) -> Vec<Vec<usize>> {
    batches.map(|batch| batch.row_numbers).collect()
}

#[derive(Deserialize)]
struct Passes {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    seed: u64,
    train: usize,
    validation: usize,
    batch_size: usize,
    /// `t` for each pass over the shuffled rows, `v` over the others.
    order: String,
    passes: Vec<Vec<Vec<usize>>>,
    after: i64,
}

#[test]
fn passes_match_torch_data_loader() {
    for case in fixture::<Passes>("loader.json").cases {
        let (train, validation) =
            (tokenized(&vec![1; case.train]), tokenized(&vec![1; case.validation]));
        let size = case.batch_size;
        let train = DataLoader::new(&train, size, Padding::Longest, true, true).unwrap();
        let validation = DataLoader::new(&validation, size, Padding::Longest, false, false);
        let validation = validation.unwrap();
        let mut rng = TorchRng::manual_seed(case.seed);
        for (which, expected) in case.order.chars().zip(case.passes) {
            let loader = if which == 't' { &train } else { &validation };
            assert_eq!(orders(loader.iter(&mut rng)), expected, "seed {}", case.seed);
        }
        assert_eq!(rng.random_i64(), case.after, "seed {}", case.seed);
    }
}

#[test]
fn examples_are_padded_on_the_right() {
    let tokenized = tokenized(&[2, 0, 1]);
    let pad = i64::from(END_OF_TEXT);
    let loader = DataLoader::new(&tokenized, 2, Padding::To(3), false, false).unwrap();
    let batches: Vec<Batch> = loader.iter(&mut TorchRng::manual_seed(0)).collect();
    let expected = [
        Batch {
            // An empty text has one token.
            ids: vec![262, 262, pad, pad, pad, pad],
            width: Some(3),
            lengths: vec![2, 1],
            labels: vec![0, 1],
            row_numbers: vec![0, 1],
        },
        Batch {
            ids: vec![262, pad, pad],
            width: Some(3),
            lengths: vec![1],
            labels: vec![2],
            row_numbers: vec![2],
        },
    ];
    assert_eq!(batches, expected);

    let loader = DataLoader::new(&tokenized, 2, Padding::Longest, false, false).unwrap();
    let widths: Vec<Option<usize>> =
        loader.iter(&mut TorchRng::manual_seed(0)).map(|b| b.width).collect();
    assert_eq!(widths, [Some(2), Some(1)]);

    let loader = DataLoader::new(&tokenized, 2, Padding::Packed, false, false).unwrap();
    let first = loader.iter(&mut TorchRng::manual_seed(0)).next().unwrap();
    assert_eq!((first.ids, first.width, first.lengths), (vec![262, 262, pad], None, vec![2, 1]));
}

#[test]
fn invalid_settings_are_rejected() {
    let tokenized = tokenized(&[1, 5, 2]);
    let check = |size, padding, drop_last, expected: BatchError| {
        let loader = DataLoader::new(&tokenized, size, padding, false, drop_last);
        assert!(matches!(loader.unwrap_err(), Error::Batch(error) if error == expected));
    };
    check(0, Padding::Longest, false, BatchError::ZeroSize);
    let incomplete = BatchError::NoCompleteBatch { batch_size: 4, examples: 3 };
    check(4, Padding::Longest, true, incomplete);
    check(1, Padding::To(4), false, BatchError::PaddingWidth { longest: 5, width: 4 });
    assert!(DataLoader::new(&tokenized, 4, Padding::To(5), false, false).is_ok());
}

#[test]
fn empty_set_has_no_batches() {
    let empty = tokenized(&[]);
    let loader = DataLoader::new(&empty, 4, Padding::Longest, true, false).unwrap();
    assert_eq!(loader.iter(&mut TorchRng::manual_seed(0)).count(), 0);
}

proptest! {
    #[test]
    fn every_pass_has_every_example_once(
        lengths in prop::collection::vec(0usize..12, 1..60),
        batch_size in 1usize..10,
        shuffle: bool,
        drop_last: bool,
        padding in prop::sample::select(vec![Padding::To(12), Padding::Longest, Padding::Packed]),
        seed: u64,
    ) {
        prop_assume!(!drop_last || lengths.len() >= batch_size);
        let tokenized = tokenized(&lengths);
        let loader = DataLoader::new(&tokenized, batch_size, padding, shuffle, drop_last).unwrap();
        let batches = loader.iter(&mut TorchRng::manual_seed(seed));
        prop_assert_eq!(batches.len(), loader.batch_count());
        let batches: Vec<Batch> = batches.collect();
        prop_assert_eq!(batches.len(), loader.batch_count());

        let mut seen = Vec::new();
        for (number, batch) in batches.iter().enumerate() {
            let last = number + 1 == batches.len() && !drop_last;
            prop_assert!(batch.rows() == batch_size || last && batch.rows() > 0);
            prop_assert_eq!((batch.lengths.len(), batch.labels.len()), (batch.rows(), batch.rows()));
            let longest = *batch.lengths.iter().max().unwrap() as usize;
            prop_assert_eq!(batch.width, match padding {
                Padding::To(width) => Some(width),
                Padding::Longest => Some(longest),
                Padding::Packed => None,
            });
            let mut left = batch.ids.as_slice();
            for (place, &row) in batch.row_numbers.iter().enumerate() {
                let length = batch.lengths[place] as usize;
                let (ids, rest) = left.split_at(batch.width.unwrap_or(length));
                left = rest;
                let (text, padding) = ids.split_at(length);
                prop_assert!(text.iter().copied().eq(tokenized.ids()[row].iter().map(|&id| i64::from(id))));
                prop_assert!(padding.iter().all(|&id| id == i64::from(END_OF_TEXT)));
                prop_assert_eq!(batch.labels[place], row as i64);
                seen.push(row);
            }
            prop_assert!(left.is_empty());
        }
        let left_out = if drop_last { lengths.len() % batch_size } else { 0 };
        prop_assert_eq!(seen.len() + left_out, lengths.len());
        prop_assert!(shuffle || seen.is_sorted());
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len() + left_out, lengths.len());
    }

    #[test]
    fn length_sorted_batches_have_every_example_once_and_respect_the_token_limit(
        lengths in prop::collection::vec(0usize..12, 0..60),
        tokens in 0usize..40,
    ) {
        let tokenized = tokenized(&lengths);
        let batches: Vec<Batch> = length_sorted_batches(&tokenized, 0..lengths.len(), tokens).unwrap().collect();
        let rows: Vec<usize> = batches.iter().flat_map(|b| b.row_numbers.clone()).collect();
        let mut expected: Vec<usize> = (0..lengths.len()).collect();
        expected.sort_by_key(|&row| tokenized.ids()[row].len());
        prop_assert_eq!(rows, expected);
        for batch in &batches {
            let sum: i64 = batch.lengths.iter().sum();
            prop_assert!(sum as usize <= tokens || batch.rows() == 1);
            prop_assert_eq!(sum as usize, batch.ids.len());
        }
    }
}

#[test]
fn row_index_out_of_range_is_rejected() {
    let set = TokenizedSet::from_ids(vec![vec![1, 2], vec![3]], vec![0, 1]).unwrap();
    let out_of_range = |error, index| {
        let expected = BatchError::Index { index, examples: 2 };
        matches!(error, Error::Batch(error) if error == expected)
    };
    assert!(out_of_range(Batch::of(&set, &[0, 2], Padding::Packed).unwrap_err(), 2));
    assert!(out_of_range(length_sorted_batches(&set, [7], 10).err().unwrap(), 7));
    let narrow = Batch::of(&set, &[0], Padding::To(1)).unwrap_err();
    assert!(matches!(narrow, Error::Batch(BatchError::PaddingWidth { longest: 2, width: 1 })));
    assert_eq!(Batch::of(&set, &[1, 1], Padding::To(1)).unwrap().ids, [3, 3]);
}

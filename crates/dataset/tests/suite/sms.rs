//! SMS Spam Collection with seed 123: comparison with the split and batches of the book.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use dataset::{
    DataLoader, Example, LabeledFiles, LabeledText, Padding, Quotes, Split, SplitConfig,
    TokenizedSet, Tokenizer, TorchRng,
};
use serde::Deserialize;

use crate::{
    batches::{orders, tokenized},
    fixture, labeled, prepare, rows,
};

#[derive(Deserialize)]
struct Sms {
    messages: usize,
    /// The rows that are spam.
    spam: BTreeSet<usize>,
    /// Rows of the training, validation and test set.
    rows: [Vec<usize>; 3],
    /// Tokens of the longest row of each set.
    longest: [usize; 3],
    /// The training batches of two epochs.
    epochs: [Vec<Vec<usize>>; 2],
}

fn split_rows(split: &Split) -> [Vec<usize>; 3] {
    [&split.train, &split.validation, &split.test].map(|examples| rows(examples))
}

#[test]
fn split_of_sms_labels_matches_pandas() {
    let sms: Sms = fixture("sms.json");
    let label = |row| if sms.spam.contains(&row) { "spam" } else { "ham" };
    let data = labeled((0..sms.messages).map(label)).unwrap();
    let split = data.split(&SplitConfig::default()).unwrap();
    assert_eq!(split_rows(&split), sms.rows);
    let spam = |examples: &[Example]| examples.iter().filter(|example| example.label == 1).count();
    assert_eq!([spam(&split.train), spam(&split.validation), spam(&split.test)], [517, 79, 151]);
}

/// A training run uses one generator for the training batches and for the evaluations between
/// epochs.
#[test]
fn batches_of_two_epochs() {
    let sms: Sms = fixture("sms.json");
    let (train, validation) =
        (tokenized(&vec![1; sms.rows[0].len()]), tokenized(&vec![1; sms.rows[1].len()]));
    let train = DataLoader::new(&train, 8, Padding::Longest, true, true).unwrap();
    let validation = DataLoader::new(&validation, 8, Padding::Longest, false, false).unwrap();
    let mut rng = TorchRng::manual_seed(123);
    let mut step = 0;
    for expected in sms.epochs {
        let mut epoch = Vec::new();
        for batch in train.iter(&mut rng) {
            epoch.push(batch.row_numbers);
            if step % 50 == 0 {
                orders(train.iter(&mut rng).take(5));
                orders(validation.iter(&mut rng).take(5));
            }
            step += 1;
        }
        orders(train.iter(&mut rng).take(5));
        orders(validation.iter(&mut rng).take(5));
        assert_eq!(epoch, expected);
    }
}

/// Path of the file from `cargo xtask fetch-dataset`.
fn collection() -> PathBuf {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/sms-spam/SMSSpamCollection");
    assert!(path.is_file(), "{} is missing: cargo xtask fetch-dataset", path.display());
    path
}

#[test]
#[ignore = "needs the SMS Spam Collection"]
fn rows_and_lengths_of_the_sms_spam_collection() {
    let path = collection();
    let sms: Sms = fixture("sms.json");
    let data = LabeledText::open(&path).unwrap().read().unwrap();
    let published = fs::read_to_string(&path).unwrap();
    let line = |example: &Example| format!("{}\t{}", data.labels()[example.label], example.text);
    assert!(data.examples().iter().map(line).eq(published.lines()));
    let spam: BTreeSet<usize> =
        data.examples().iter().filter(|example| example.label == 1).map(|e| e.row).collect();
    assert_eq!((data.examples().len(), spam.len()), (5574, 747));
    assert_eq!(spam, sms.spam);

    let dir = tempfile::tempdir().unwrap();
    let written = prepare(&LabeledFiles::new(&path), &SplitConfig::default(), dir.path()).unwrap();
    let reused = prepare(&LabeledFiles::new(&path), &SplitConfig::default(), dir.path()).unwrap();
    assert!(reused.reused && reused.split == written.split);
    assert_eq!(split_rows(&reused.split), sms.rows);
    let sets = [&reused.split.train, &reused.split.validation, &reused.split.test];
    let longest =
        |examples: &Vec<_>| TokenizedSet::new(examples, &Tokenizer::gpt2(), None).longest();
    assert_eq!(sets.map(longest), sms.longest);
}

/// With quotes stripped the files equal the files of pandas in the book's reference run.
#[test]
#[ignore = "needs BOOK_REFERENCE"]
fn files_equal_the_book_and_pandas() {
    let folder = std::env::var_os("BOOK_REFERENCE");
    let folder = folder.expect("BOOK_REFERENCE names the folder with reference/ and data/");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let (reference, path) = (folder.join("reference/split"), folder.join("data/SMSSpamCollection"));
    let dir = tempfile::tempdir().unwrap();
    let config = SplitConfig { quotes: Quotes::Strip, ..SplitConfig::default() };
    let prepared = prepare(&LabeledFiles::new(&path), &config, dir.path()).unwrap();
    for name in ["train.csv", "validation.csv", "test.csv"] {
        let expected = fs::read_to_string(reference.join(name)).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), expected, "{name}");
    }
    let train = TokenizedSet::new(&prepared.split.train, &Tokenizer::gpt2(), None);
    assert_eq!(train.longest(), 120);
}

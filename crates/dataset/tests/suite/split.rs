//! Splits: comparison with pandas, and properties of every split.

use std::collections::BTreeMap;

use dataset::{Error, LabeledText, Quotes, SplitConfig, SplitError};
use proptest::prelude::*;
use serde::Deserialize;

use crate::{fixture, labeled, rows};

#[derive(Deserialize)]
struct Splits {
    balanced: Vec<Case>,
    shuffled: (Vec<String>, u32, Vec<usize>),
    products: Vec<(f64, usize, usize)>,
}

#[derive(Deserialize)]
struct Case {
    seed: u32,
    labels: Vec<String>,
    rows: [Vec<usize>; 3],
}

#[test]
fn balanced_splits_match_pandas() {
    for case in fixture::<Splits>("split.json").balanced {
        let config = SplitConfig { seed: case.seed, ..SplitConfig::default() };
        let split = labeled(&case.labels).unwrap().split(&config).unwrap();
        let sets = [rows(&split.train), rows(&split.validation), rows(&split.test)];
        assert_eq!(sets, case.rows, "{} examples", case.labels.len());
        assert_eq!(split.labels, ["ham", "spam"]);
        for example in split.train.iter().chain(&split.validation).chain(&split.test) {
            assert_eq!(split.labels[example.label], case.labels[example.row]);
        }
    }
}

#[test]
fn without_balance_all_rows_are_shuffled() {
    let (labels, seed, order) = fixture::<Splits>("split.json").shuffled;
    let config = SplitConfig { seed, balance: false, ..SplitConfig::default() };
    let split = labeled(&labels).unwrap().split(&config).unwrap();
    assert_eq!(split.labels, ["a", "b", "c"]);
    let sets = [split.train, split.validation, split.test];
    assert_eq!(sets.map(|examples| rows(&examples)).concat(), order);
}

#[test]
fn set_sizes_are_truncated_like_python_int() {
    for (fraction, n, expected) in fixture::<Splits>("split.json").products {
        let labels = (0..n).map(|row| if row % 2 == 0 { "a" } else { "b" });
        let config = SplitConfig { train: fraction, validation: 0.15, ..SplitConfig::default() };
        let split = labeled(labels).unwrap().split(&config).unwrap();
        assert_eq!(split.train.len(), expected, "{fraction} of {n}");
    }
}

#[test]
fn last_of_equally_small_classes_is_not_resampled() {
    // pandas: a.sample(3, random_state=0), joined with b, sample(frac=1, random_state=0)
    let data = labeled(["a", "b", "a", "b", "a", "b"]).unwrap();
    let config = SplitConfig { seed: 0, train: 0.5, validation: 0.2, ..SplitConfig::default() };
    let split = data.split(&config).unwrap();
    let order = [rows(&split.train), rows(&split.validation), rows(&split.test)].concat();
    assert_eq!(order, [5, 0, 2, 1, 4, 3]);
}

#[test]
fn quotes_are_stripped_on_request() {
    let data = LabeledText::new(["a", "b", "a", "b"].map(|label| (label, "\"x\""))).unwrap();
    for (quotes, expected) in [(Quotes::Keep, "\"x\""), (Quotes::Strip, "x")] {
        let config = SplitConfig { quotes, train: 0.5, validation: 0.25, ..SplitConfig::default() };
        assert_eq!(data.split(&config).unwrap().test[0].text, expected);
    }
}

#[test]
fn quotes_are_stripped_like_pandas() {
    #[derive(Deserialize)]
    struct Texts {
        texts: Vec<(String, String)>,
    }
    for (published, read) in fixture::<Texts>("quotes.json").texts {
        assert_eq!(Quotes::Strip.apply(&published), read);
        assert_eq!(Quotes::Keep.apply(&published), published);
    }
    assert_eq!(Quotes::Strip.apply("\"never closed"), "never closed");
}

#[test]
fn invalid_settings_are_rejected() {
    let split_error = |config: SplitConfig| {
        let data = labeled(["a", "b", "a", "b"]).unwrap();
        match data.split(&config).unwrap_err() {
            Error::Split { path: None, problem } => problem,
            other => panic!("{other:?}"),
        }
    };
    let default = SplitConfig::default;
    for (train, validation) in [(0.9, 0.1), (f64::NAN, 0.1), (0.7, 0.0), (0.0, 0.1)] {
        let problem = split_error(SplitConfig { train, validation, ..default() });
        assert!(matches!(problem, SplitError::Fractions { .. }), "{problem}");
    }
    let empty = SplitError::EmptySet { balanced: false, sizes: [2, 0, 2] };
    assert_eq!(split_error(default()), empty);
    for (labels, only) in [(&[][..], None), (&["a", "a"], Some("a"))] {
        let error = labeled(labels).unwrap_err();
        let Error::TooFewLabels { path: None, label } = &error else { panic!("{error:?}") };
        assert_eq!(label.as_deref(), only);
    }
}

fn labels() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-d]", 20..200)
}

proptest! {
    #[test]
    fn stratified_sets_have_their_fraction_of_each_class(
        labels in prop::collection::vec("[a-e]", 20..200), seed: u32,
        train in 0.2..0.7, validation in 0.05..0.25,
    ) {
        let config = SplitConfig {
            seed, balance: false, train, validation, stratify: true, ..SplitConfig::default()
        };
        let Ok(split) = labeled(&labels).and_then(|data| data.split(&config)) else {
            return Err(TestCaseError::reject("one class, or an empty set"));
        };
        let all = [&split.train[..], &split.validation, &split.test].concat();
        let mut used = rows(&all);
        used.sort_unstable();
        prop_assert_eq!(used, (0..labels.len()).collect::<Vec<_>>());
        for class in split.class_rows() {
            let of = labels.iter().filter(|label| **label == class.label).count() as f64;
            let within = |rows: usize, share: f64| (rows as f64 - share * of).abs() <= 1.0 + 1e-9;
            prop_assert!(within(class.train, train), "{class:?} of {of}");
            prop_assert!(within(class.validation, validation), "{class:?} of {of}");
            prop_assert!(within(class.test, 1.0 - train - validation), "{class:?} of {of}");
            prop_assert!(class.train > 0);
        }
        prop_assert_eq!(&split, &labeled(&labels).unwrap().split(&config).unwrap());
        let other = SplitConfig { seed: seed ^ 1, ..config };
        prop_assert_ne!(rows(&split.train), rows(&labeled(&labels).unwrap().split(&other).unwrap().train));
    }

    #[test]
    fn rows_are_used_once_and_keep_their_label(
        labels in labels(), seed: u32, balance: bool, train in 0.1..0.7, validation in 0.1..0.25,
    ) {
        let config =
            SplitConfig { seed, balance, train, validation, ..SplitConfig::default() };
        let Ok(split) = labeled(&labels).and_then(|data| data.split(&config)) else {
            return Err(TestCaseError::reject("one class, or an empty set"));
        };
        let all = [&split.train[..], &split.validation, &split.test].concat();
        let mut used = rows(&all);
        used.sort_unstable();
        used.dedup();
        prop_assert_eq!(used.len(), all.len());

        let mut counts = BTreeMap::new();
        for example in &all {
            prop_assert_eq!(&split.labels[example.label], &labels[example.row]);
            prop_assert_eq!(&example.text, &format!("row {}", example.row));
            *counts.entry(example.label).or_insert(0) += 1;
        }
        prop_assert_eq!(counts.len(), split.labels.len());
        prop_assert!(split.labels.is_sorted());
        if balance {
            let of = |label: &String| labels.iter().filter(|other| *other == label).count();
            let smallest = split.labels.iter().map(of).min().unwrap();
            prop_assert!(counts.values().all(|&count| count == smallest));
        } else {
            prop_assert_eq!(all.len(), labels.len());
        }
        prop_assert_eq!(split.train.len(), (train * all.len() as f64) as usize);
        prop_assert_eq!(split.validation.len(), (validation * all.len() as f64) as usize);
    }
}

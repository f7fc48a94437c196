//! Comparison with scikit-learn and SciPy; `tests/fixtures/make_classification.py` at the
//! root of the project made the values.

use serde::Deserialize;

use crate::metrics::{Classification, roc::RocPoint};

const GOLDEN: &str = include_str!("../../../../../tests/fixtures/classification.json");

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    labels: Vec<String>,
    classes: Vec<usize>,
    probabilities: Vec<Vec<f64>>,
    accuracy: f64,
    interval: [f64; 2],
    mean_loss: f64,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<u64>,
    macro_precision: f64,
    macro_recall: f64,
    macro_f1: f64,
    weighted_f1: f64,
    confusion: Vec<Vec<u64>>,
    roc_auc: Vec<Option<f64>>,
    macro_roc_auc: Option<f64>,
    majority: (String, f64),
    roc: Vec<Option<Roc>>,
    calibration_error: f64,
    bins: Vec<Bin>,
}

#[derive(Deserialize)]
struct Roc {
    false_positive_rate: Vec<f64>,
    true_positive_rate: Vec<f64>,
    thresholds: Vec<Option<f64>>,
}

/// Bin that is not empty.
#[derive(Deserialize)]
struct Bin {
    bin: usize,
    rows: u64,
    confidence: f64,
    accuracy: f64,
}

fn cases() -> Vec<(Case, Classification)> {
    let golden: Golden = serde_json::from_str(GOLDEN).unwrap();
    let seen = |case: Case| {
        let mut seen = Classification::new(case.labels.iter().cloned()).unwrap();
        for (&class, row) in case.classes.iter().zip(&case.probabilities) {
            seen.push(class, row).unwrap();
        }
        (case, seen)
    };
    golden.cases.into_iter().map(seen).collect()
}

#[track_caller]
fn same(name: &str, what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{name}, {what}: {found} is not {expected}");
}

#[test]
fn golden_cases_are_complete() {
    let names: Vec<String> = cases().into_iter().map(|(case, _)| case.name).collect();
    assert_eq!(
        names,
        [
            "binary",
            "four",
            "ties",
            "absent",
            "one_sided",
            "all_right",
            "only_one",
            "only_one_right",
            "two_of_five"
        ]
    );
}

#[test]
fn class_metrics_match_scikit_learn() {
    for (case, seen) in cases() {
        let (name, report) = (case.name.as_str(), seen.report().unwrap());
        assert_eq!(report.confusion, case.confusion, "{name}");
        for (at, class) in report.per_class.iter().enumerate() {
            assert_eq!(class.support, case.support[at], "{name}");
            // Undefined metrics are 0 there, with `zero_division=0`.
            same(name, "precision", class.precision.unwrap_or(0.0), case.precision[at]);
            same(name, "recall", class.recall.unwrap_or(0.0), case.recall[at]);
            same(name, "f1", class.f1.unwrap_or(0.0), case.f1[at]);
            assert_eq!(class.roc_auc.is_some(), case.roc_auc[at].is_some(), "{name}");
            if let (Some(found), Some(expected)) = (class.roc_auc, case.roc_auc[at]) {
                same(name, "area", found, expected);
            }
        }
        let average = report.macro_average;
        same(name, "macro precision", average.precision, case.macro_precision);
        same(name, "macro recall", average.recall, case.macro_recall);
        same(name, "macro f1", average.f1, case.macro_f1);
        same(name, "weighted f1", report.weighted_f1, case.weighted_f1);
        assert_eq!(average.roc_auc.is_some(), case.macro_roc_auc.is_some(), "{name}");
        if let (Some(found), Some(expected)) = (average.roc_auc, case.macro_roc_auc) {
            same(name, "mean area", found, expected);
        }
    }
}

#[test]
fn overall_metrics_match_scikit_learn_and_scipy() {
    for (case, seen) in cases() {
        let (name, report) = (case.name.as_str(), seen.report().unwrap());
        assert_eq!(report.examples as usize, case.classes.len());
        same(name, "accuracy", report.accuracy, case.accuracy);
        assert_eq!(report.majority_class.label, case.majority.0, "{name}");
        same(name, "majority class", report.majority_class.accuracy, case.majority.1);
        same(name, "interval, low", report.accuracy_interval.low, case.interval[0]);
        same(name, "interval, high", report.accuracy_interval.high, case.interval[1]);
        same(name, "loss", report.mean_loss, case.mean_loss);
        same(name, "error", report.expected_calibration_error, case.calibration_error);
        let filled: Vec<_> =
            report.reliability.iter().enumerate().filter(|(_, bin)| bin.examples > 0).collect();
        assert_eq!(filled.len(), case.bins.len(), "{name}");
        for ((at, bin), expected) in filled.into_iter().zip(&case.bins) {
            assert_eq!((at, bin.examples), (expected.bin, expected.rows), "{name}");
            same(name, "confidence", bin.confidence.unwrap(), expected.confidence);
            same(name, "accuracy of a bin", bin.accuracy.unwrap(), expected.accuracy);
        }
    }
}

#[test]
fn roc_curves_match_scikit_learn() {
    for (case, seen) in cases() {
        for (class, expected) in case.roc.iter().enumerate() {
            let ranked = seen.ranked(class);
            let Some(expected) = expected else {
                assert!(ranked.is_none(), "{}", case.name);
                continue;
            };
            let points = ranked.unwrap().all_points();
            let column = |value: fn(&RocPoint) -> f64| points.iter().map(value).collect::<Vec<_>>();
            let thresholds: Vec<_> = points.iter().map(|point| point.threshold).collect();
            assert_eq!(column(|point| point.false_positive_rate), expected.false_positive_rate);
            assert_eq!(column(|point| point.true_positive_rate), expected.true_positive_rate);
            assert_eq!(thresholds, expected.thresholds);
        }
    }
}

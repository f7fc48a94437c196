//! Property tests.

use proptest::prelude::*;

use crate::metrics::{Classification, ClassificationReport};

/// Examples of a classifier: true class and probabilities, many of which are equal.
fn rows() -> impl Strategy<Value = (usize, Vec<(usize, Vec<f64>)>)> {
    (2usize..5).prop_flat_map(|classes| {
        let weights = prop::collection::vec(1u8..5, classes);
        let row = (0..classes, weights.prop_map(|weights| normalized(&weights)));
        (Just(classes), prop::collection::vec(row, 1..40))
    })
}

fn normalized(weights: &[u8]) -> Vec<f64> {
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    weights.iter().map(|&weight| f64::from(weight) / sum).collect()
}

fn seen(classes: usize, rows: &[(usize, Vec<f64>)]) -> Classification {
    let mut seen = Classification::new((0..classes).map(|class| class.to_string())).unwrap();
    for (class, probabilities) in rows {
        seen.push(*class, probabilities).unwrap();
    }
    seen
}

/// Sums, whose rounding depends on the order of the examples.
fn sums(report: &ClassificationReport) -> Vec<f64> {
    let bins = report.reliability.iter().filter_map(|bin| bin.confidence);
    bins.chain([report.mean_loss, report.expected_calibration_error]).collect()
}

/// All other metrics, which do not depend on the order at all.
fn without_sums(mut report: ClassificationReport) -> ClassificationReport {
    report.mean_loss = 0.0;
    report.expected_calibration_error = 0.0;
    for bin in &mut report.reliability {
        bin.confidence = bin.confidence.map(|_| 0.0);
    }
    report
}

proptest! {
    #[test]
    fn order_of_examples_does_not_matter(
        (classes, rows, other) in rows().prop_flat_map(|(classes, rows)| {
            (Just(classes), Just(rows.clone()), Just(rows).prop_shuffle())
        })
    ) {
        let (one, two) = (seen(classes, &rows), seen(classes, &other));
        prop_assert_eq!(one.roc_curves(), two.roc_curves());
        let (one, two) = (one.report().unwrap(), two.report().unwrap());
        for (one, two) in sums(&one).into_iter().zip(sums(&two)) {
            prop_assert!((one - two).abs() < 1e-12, "{} is not {}", one, two);
        }
        prop_assert_eq!(without_sums(one), without_sums(two));
    }

    #[test]
    fn metrics_are_consistent((classes, rows) in rows()) {
        let report = seen(classes, &rows).report().unwrap();
        let count = rows.len() as u64;
        prop_assert_eq!(report.examples, count);
        prop_assert_eq!(report.confusion.iter().flatten().sum::<u64>(), count);
        prop_assert_eq!(report.reliability.iter().map(|bin| bin.examples).sum::<u64>(), count);
        prop_assert_eq!(report.misclassified, count - (report.accuracy * count as f64).round() as u64);
        prop_assert!(report.accuracy_interval.low <= report.accuracy);
        prop_assert!(report.accuracy <= report.accuracy_interval.high);
        for (class, counts) in report.per_class.iter().zip(&report.confusion) {
            prop_assert_eq!(class.support, counts.iter().sum::<u64>());
            for value in [class.precision, class.recall, class.f1, class.roc_auc] {
                prop_assert!(value.is_none_or(|value| (0.0..=1.0).contains(&value)));
            }
        }
        let bins = report.reliability.iter().filter(|bin| bin.examples > 0);
        for bin in bins {
            let confidence = bin.confidence.unwrap();
            prop_assert!(bin.low - 1e-12 < confidence && confidence < bin.high + 1e-12);
        }
    }

    #[test]
    fn reversed_scores_have_complementary_auc((_, rows) in rows()) {
        // With two classes, one probability is the complement of the other.
        let of = |score: fn(&[f64]) -> f64| {
            let row = |(class, row): &(usize, Vec<f64>)| {
                let score = score(row);
                (usize::from(*class == 0), vec![1.0 - score, score])
            };
            seen(2, &rows.iter().map(row).collect::<Vec<_>>()).report().unwrap()
        };
        let (forth, back) = (of(|row| row[0]), of(|row| 1.0 - row[0]));
        match (forth.per_class[1].roc_auc, back.per_class[1].roc_auc) {
            (Some(forth), Some(back)) => {
                prop_assert!((forth + back - 1.0).abs() < 1e-15, "{} and {}", forth, back);
            }
            (forth, back) => prop_assert_eq!(forth, back),
        }
    }
}

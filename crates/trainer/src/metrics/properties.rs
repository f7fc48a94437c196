//! What holds for all rows.

use proptest::prelude::*;

use super::{Classification, ClassificationReport};

/// Rows of a classifier: their classes, and probabilities of whom many are equal.
fn rows() -> impl Strategy<Value = (usize, Vec<(usize, Vec<f64>)>)> {
    (2usize..5).prop_flat_map(|classes| {
        let weights = prop::collection::vec(1u8..5, classes);
        let row = (0..classes, weights.prop_map(|weights| normalised(&weights)));
        (Just(classes), prop::collection::vec(row, 1..40))
    })
}

fn normalised(weights: &[u8]) -> Vec<f64> {
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

/// The sums of a report, which depend on the order of rows by their rounding alone.
fn sums(report: &ClassificationReport) -> Vec<f64> {
    let bins = report.reliability.iter().filter_map(|bin| bin.confidence);
    bins.chain([report.mean_loss, report.expected_calibration_error]).collect()
}

/// Everything else, which does not depend on it at all.
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
    fn the_order_of_rows_changes_nothing(
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
    fn the_numbers_agree_with_each_other((classes, rows) in rows()) {
        let report = seen(classes, &rows).report().unwrap();
        let count = rows.len() as u64;
        prop_assert_eq!(report.rows, count);
        prop_assert_eq!(report.confusion.iter().flatten().sum::<u64>(), count);
        prop_assert_eq!(report.reliability.iter().map(|bin| bin.rows).sum::<u64>(), count);
        prop_assert_eq!(report.mistakes(), count - (report.accuracy * count as f64).round() as u64);
        prop_assert!(report.accuracy_interval.low <= report.accuracy);
        prop_assert!(report.accuracy <= report.accuracy_interval.high);
        for (class, counts) in report.per_class.iter().zip(&report.confusion) {
            prop_assert_eq!(class.support, counts.iter().sum::<u64>());
            for value in [class.precision, class.recall, class.f1, class.roc_auc] {
                prop_assert!(value.is_none_or(|value| (0.0..=1.0).contains(&value)));
            }
        }
        let bins = report.reliability.iter().filter(|bin| bin.rows > 0);
        for bin in bins {
            let confidence = bin.confidence.unwrap();
            prop_assert!(bin.low - 1e-12 < confidence && confidence < bin.high + 1e-12);
        }
    }

    #[test]
    fn reversed_scores_have_the_rest_of_the_area((_, rows) in rows()) {
        // Of two classes, the probability of one is that of the other reversed.
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

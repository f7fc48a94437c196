//! Classification report: all metrics of an evaluation.

use serde::{Deserialize, Serialize};

use super::{calibration::ReliabilityBin, confidence_interval::Interval};

/// Metrics of a classifier. All but the loss are from 0 to 1; an undefined metric is
/// `None` (`null` in JSON).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassificationReport {
    /// Number of examples.
    #[serde(alias = "rows")]
    pub examples: u64,
    /// Fraction of the examples that were classified correctly.
    pub accuracy: f64,
    /// 95 % confidence interval of the accuracy (Wilson 1927).
    pub accuracy_interval: Interval,
    /// Mean cross-entropy in nats. A probability of 0 for the true class counts as
    /// 2⁻⁵², as in scikit-learn's `log_loss`, because the mean would be infinite.
    pub mean_loss: f64,
    /// Metrics of each class, in the order of the class numbers.
    pub per_class: Vec<ClassMetrics>,
    /// Unweighted means over classes.
    pub macro_average: MacroAverage,
    /// Mean F1 over classes, weighted by support.
    pub weighted_f1: f64,
    /// Confusion matrix: `confusion[true class][predicted class]`.
    pub confusion: Vec<Vec<u64>>,
    /// Expected calibration error (Guo et al. 2017, 15 bins of equal width): mean distance
    /// between confidence and accuracy.
    pub expected_calibration_error: f64,
    /// Bins of the reliability diagram, lowest confidence first.
    pub reliability: Vec<ReliabilityBin>,
}

/// Metrics of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Label.
    pub label: String,
    /// Fraction of the examples predicted as the class that are of it; `None` if there are
    /// none.
    pub precision: Option<f64>,
    /// Fraction of the examples of the class predicted as it; `None` if there are none.
    pub recall: Option<f64>,
    /// Harmonic mean of precision and recall; 0 if only one of them is defined, `None` if
    /// neither is.
    pub f1: Option<f64>,
    /// Examples of the class.
    pub support: u64,
    /// Area under the ROC curve, one class versus the rest; `None` without examples of the
    /// class or without others.
    pub roc_auc: Option<f64>,
}

/// Unweighted means over classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MacroAverage {
    /// Mean precision. An undefined one counts as 0, as in scikit-learn with
    /// `zero_division=0` and all labels given.
    pub precision: f64,
    /// Mean recall; an undefined one counts as 0.
    pub recall: f64,
    /// Mean F1; an undefined one counts as 0.
    pub f1: f64,
    /// Mean area under the ROC curve over the classes that have one; `None` if none has.
    pub roc_auc: Option<f64>,
}

impl MacroAverage {
    /// Averages one class or more.
    pub(super) fn of(per_class: &[ClassMetrics]) -> Self {
        let mean = |value: fn(&ClassMetrics) -> Option<f64>| {
            let sum: f64 = per_class.iter().map(|class| value(class).unwrap_or(0.0)).sum();
            sum / per_class.len() as f64
        };
        let areas: Vec<f64> = per_class.iter().filter_map(|class| class.roc_auc).collect();
        let roc_auc = areas.iter().sum::<f64>() / areas.len() as f64;
        Self {
            precision: mean(|class| class.precision),
            recall: mean(|class| class.recall),
            f1: mean(|class| class.f1),
            roc_auc: (!areas.is_empty()).then_some(roc_auc),
        }
    }
}

impl ClassificationReport {
    /// Returns the number of misclassified examples.
    pub fn misclassified(&self) -> u64 {
        let diagonal = self.confusion.iter().enumerate().filter_map(|(at, row)| row.get(at));
        self.examples.saturating_sub(diagonal.sum())
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Classification, ClassificationReport};

    /// One class is absent, another is never predicted.
    fn report() -> ClassificationReport {
        let mut examples = Classification::new(["a", "b", "none"]).unwrap();
        examples.push(0, &[0.5, 0.3, 0.2]).unwrap();
        examples.push(1, &[0.7, 0.1, 0.2]).unwrap();
        examples.push(1, &[0.9, 0.1, 0.0]).unwrap();
        examples.report().unwrap()
    }

    #[test]
    fn undefined_metrics_are_null_and_count_as_zero_in_means() {
        let report = report();
        let (a, b, none) = (&report.per_class[0], &report.per_class[1], &report.per_class[2]);
        assert_eq!((b.precision, b.recall, b.f1), (None, Some(0.0), Some(0.0)));
        assert_eq!((none.precision, none.recall, none.f1, none.roc_auc), (None, None, None, None));
        let average = report.macro_average;
        assert!((average.precision - 1.0 / 9.0).abs() < 1e-15);
        assert!((average.recall - 1.0 / 3.0).abs() < 1e-15);
        assert!((average.f1 - 0.5 / 3.0).abs() < 1e-15);
        assert_eq!(average.roc_auc, Some((a.roc_auc.unwrap() + b.roc_auc.unwrap()) / 2.0));
        assert_eq!(report.misclassified(), 2);
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["per_class"][2]["precision"].is_null());
        assert!(json["reliability"][0]["accuracy"].is_null());
    }

    #[test]
    fn json_keeps_every_bit() {
        let report = report();
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ClassificationReport>(&json).unwrap(), report);
    }
}

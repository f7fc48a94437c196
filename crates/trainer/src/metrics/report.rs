//! Classification report: all metrics of an evaluation.

use serde::{Deserialize, Serialize};

use super::{
    calibration::ReliabilityBin, confidence_interval::Interval, majority_class::MajorityClass,
};
use crate::label_list::quoted;

/// Most classes of a full confusion matrix, which grows with their square.
pub const MOST_MATRIX_CLASSES: usize = 100;
/// Most confusions in a report.
pub(super) const MOST_CONFUSIONS: usize = 1000;

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
    /// Unweighted means over the classes with examples.
    pub macro_average: MacroAverage,
    /// Mean F1 over classes, weighted by support.
    pub weighted_f1: f64,
    /// Number of misclassified examples.
    #[serde(default)]
    pub misclassified: u64,
    /// Majority-class baseline.
    #[serde(default)]
    pub majority_class: MajorityClass,
    /// Confusion matrix: `confusion[true class][predicted class]`; empty if there are more
    /// than [`MOST_MATRIX_CLASSES`] classes.
    pub confusion: Vec<Vec<u64>>,
    /// Most frequent confusions, the most frequent first, at most 1,000.
    #[serde(default)]
    pub confusions: Vec<Confusion>,
    /// Expected calibration error (Guo et al. 2017, 15 bins of equal width): mean distance
    /// between confidence and accuracy.
    pub expected_calibration_error: f64,
    /// Bins of the reliability diagram, lowest confidence first.
    pub reliability: Vec<ReliabilityBin>,
}

/// Misclassified examples of one class that were predicted as one other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// True label.
    pub label: String,
    /// Predicted label.
    pub predicted: String,
    /// Number of examples.
    pub examples: u64,
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

/// Unweighted means over the classes with examples: a class without examples has no recall,
/// and would count as 0 however good the classifier is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MacroAverage {
    /// Classes with examples.
    #[serde(default)]
    pub classes: usize,
    /// Mean precision. The precision of a class that is never predicted counts as 0, as in
    /// scikit-learn with `zero_division=0`.
    pub precision: f64,
    /// Mean recall.
    pub recall: f64,
    /// Mean F1.
    pub f1: f64,
    /// Mean area under the ROC curve over the classes that have one; `None` if none has.
    pub roc_auc: Option<f64>,
}

impl MacroAverage {
    /// Averages classes, of which at least one has examples.
    pub(super) fn of(per_class: &[ClassMetrics]) -> Self {
        let present = || per_class.iter().filter(|class| class.support > 0);
        let classes = present().count();
        let mean = |value: fn(&ClassMetrics) -> Option<f64>| {
            present().map(|class| value(class).unwrap_or(0.0)).sum::<f64>() / classes as f64
        };
        let areas: Vec<f64> = per_class.iter().filter_map(|class| class.roc_auc).collect();
        let roc_auc = areas.iter().sum::<f64>() / areas.len() as f64;
        Self {
            classes,
            precision: mean(|class| class.precision),
            recall: mean(|class| class.recall),
            f1: mean(|class| class.f1),
            roc_auc: (!areas.is_empty()).then_some(roc_auc),
        }
    }
}

impl ClassificationReport {
    /// Returns a note about the classes that macro averages leave out, if there are any.
    pub fn absent_classes(&self) -> Option<String> {
        let absent = self.per_class.iter().filter(|class| class.support == 0);
        let absent: Vec<&String> = absent.map(|class| &class.label).collect();
        (!absent.is_empty()).then(|| {
            format!("macro averages leave out classes absent from the data: {}", quoted(&absent))
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Classification, ClassificationReport, MOST_MATRIX_CLASSES};

    /// One class is absent, another is never predicted.
    fn report() -> ClassificationReport {
        let mut examples = Classification::new(["a", "b", "none"]).unwrap();
        examples.push(0, &[0.5, 0.3, 0.2]).unwrap();
        examples.push(1, &[0.7, 0.1, 0.2]).unwrap();
        examples.push(1, &[0.9, 0.1, 0.0]).unwrap();
        examples.report().unwrap()
    }

    #[test]
    fn undefined_metrics_are_null_and_absent_classes_do_not_count_in_means() {
        let report = report();
        let (a, b, none) = (&report.per_class[0], &report.per_class[1], &report.per_class[2]);
        assert_eq!((b.precision, b.recall, b.f1), (None, Some(0.0), Some(0.0)));
        assert_eq!((none.precision, none.recall, none.f1, none.roc_auc), (None, None, None, None));
        let average = report.macro_average;
        assert_eq!(average.classes, 2);
        assert!((average.precision - 0.5 / 3.0).abs() < 1e-15);
        assert!((average.recall - 1.0 / 2.0).abs() < 1e-15);
        assert!((average.f1 - 0.5 / 2.0).abs() < 1e-15);
        assert_eq!(average.roc_auc, Some((a.roc_auc.unwrap() + b.roc_auc.unwrap()) / 2.0));
        assert_eq!(report.misclassified, 2);
        let absent = report.absent_classes().unwrap();
        assert!(absent.ends_with("absent from the data: \"none\""), "{absent}");
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["per_class"][2]["precision"].is_null());
        assert!(json["reliability"][0]["accuracy"].is_null());
    }

    #[test]
    fn majority_class_is_the_most_frequent_and_of_equals_the_first() {
        let of = |classes: &[usize]| {
            let mut examples = Classification::new(["a", "b", "c"]).unwrap();
            for &class in classes {
                examples.push(class, &[0.5, 0.25, 0.25]).unwrap();
            }
            let majority = examples.report().unwrap().majority_class;
            (majority.label, majority.accuracy)
        };
        assert_eq!(of(&[0, 1, 1, 2]), ("b".to_owned(), 0.5));
        assert_eq!(of(&[2, 1, 2, 1]), ("b".to_owned(), 0.5));
        assert_eq!(of(&[2]), ("c".to_owned(), 1.0));
    }

    #[test]
    fn report_grows_linearly_with_the_number_of_classes() {
        let size = |classes: usize| {
            let labels = (0..classes).map(|class| format!("class {class}"));
            let mut examples = Classification::new(labels).unwrap();
            for class in 0..classes {
                let mut probabilities = vec![0.0; classes];
                probabilities[(class + 1) % classes] = 1.0;
                examples.push(class, &probabilities).unwrap();
            }
            let report = examples.report().unwrap();
            assert_eq!(report.misclassified, classes as u64);
            assert_eq!(report.confusion.is_empty(), classes > MOST_MATRIX_CLASSES);
            assert_eq!(report.confusions.len(), classes.min(1000));
            serde_json::to_string(&report).unwrap().len()
        };
        assert!(size(100) > 20_000, "a matrix of 100 by 100");
        assert!(size(1200) < 300_000, "{}", size(1200));
        assert!(size(400) < 100_000, "{}", size(400));
    }

    #[test]
    fn json_keeps_every_bit() {
        let report = report();
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ClassificationReport>(&json).unwrap(), report);
    }
}

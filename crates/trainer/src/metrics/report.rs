//! What an evaluation says of a classifier, in numbers.

use serde::{Deserialize, Serialize};

use super::{calibration::ReliabilityBin, wilson::Interval};

/// Measures of a classifier on some rows. Everything but the loss is from 0 to 1;
/// what has no value is `None` (`null` in JSON).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassificationReport {
    /// Rows that were measured.
    pub rows: u64,
    /// The part of them that was classified rightly.
    pub accuracy: f64,
    /// The 95 % interval of Wilson (1927): where the accuracy on endlessly many such
    /// rows may well be.
    pub accuracy_interval: Interval,
    /// Mean cross-entropy in nats. A probability of 0 for the true class counts as
    /// 2⁻⁵², as in scikit-learn's `log_loss`; the mean would be infinite otherwise.
    pub mean_loss: f64,
    /// Every class, in the order of the class numbers.
    pub per_class: Vec<ClassMetrics>,
    /// The mean over classes, every class counting the same.
    pub macro_average: MacroAverage,
    /// The mean of F1 over the classes, every class counting by its rows.
    pub weighted_f1: f64,
    /// Rows by class: `confusion[true][predicted]`.
    pub confusion: Vec<Vec<u64>>,
    /// How far the highest probability is from the part that is right, on average
    /// (Guo et al. 2017, 15 bins of equal width).
    pub expected_calibration_error: f64,
    /// The bins behind that error, from the lowest probability to the highest.
    pub reliability: Vec<ReliabilityBin>,
}

/// Measures of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Its label.
    pub label: String,
    /// The part of the rows taken for the class that are of it; `None` if no row was
    /// taken for it.
    pub precision: Option<f64>,
    /// The part of the rows of the class that were taken for it; `None` if there is
    /// no row of it.
    pub recall: Option<f64>,
    /// The harmonic mean of both, 0 if only one of them is defined; `None` if neither
    /// is.
    pub f1: Option<f64>,
    /// Rows of the class.
    pub support: u64,
    /// The area below the ROC curve of this class against the rest; `None` if there
    /// is no row of the class, or none of another.
    pub roc_auc: Option<f64>,
}

/// Means over classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MacroAverage {
    /// Of precision. A class without one counts as 0, as it does in scikit-learn with
    /// `zero_division=0` and all labels given.
    pub precision: f64,
    /// Of recall; a class without one counts as 0.
    pub recall: f64,
    /// Of F1; a class without one counts as 0.
    pub f1: f64,
    /// Of the area below the ROC curve, over the classes that have one; `None` if
    /// none has.
    pub roc_auc: Option<f64>,
}

impl MacroAverage {
    /// Of one class or more.
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
    /// Rows that were classified wrongly.
    pub fn mistakes(&self) -> u64 {
        let diagonal = self.confusion.iter().enumerate().filter_map(|(at, row)| row.get(at));
        self.rows.saturating_sub(diagonal.sum())
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Classification, ClassificationReport};

    /// A class without rows, a class that nothing is taken for.
    fn report() -> ClassificationReport {
        let mut seen = Classification::new(["a", "b", "none"]).unwrap();
        seen.push(0, &[0.5, 0.3, 0.2]).unwrap();
        seen.push(1, &[0.7, 0.1, 0.2]).unwrap();
        seen.push(1, &[0.9, 0.1, 0.0]).unwrap();
        seen.report().unwrap()
    }

    #[test]
    fn what_has_no_value_is_null_and_averages_take_it_as_said() {
        let report = report();
        let (a, b, none) = (&report.per_class[0], &report.per_class[1], &report.per_class[2]);
        assert_eq!((b.precision, b.recall, b.f1), (None, Some(0.0), Some(0.0)));
        assert_eq!((none.precision, none.recall, none.f1, none.roc_auc), (None, None, None, None));
        let average = report.macro_average;
        assert!((average.precision - 1.0 / 9.0).abs() < 1e-15);
        assert!((average.recall - 1.0 / 3.0).abs() < 1e-15);
        assert!((average.f1 - 0.5 / 3.0).abs() < 1e-15);
        assert_eq!(average.roc_auc, Some((a.roc_auc.unwrap() + b.roc_auc.unwrap()) / 2.0));
        assert_eq!(report.mistakes(), 2);
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["per_class"][2]["precision"].is_null());
        assert!(json["reliability"][0]["accuracy"].is_null());
    }

    #[test]
    fn json_holds_every_bit() {
        let report = report();
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ClassificationReport>(&json).unwrap(), report);
    }
}

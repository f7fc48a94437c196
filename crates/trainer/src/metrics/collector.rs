//! Takes the rows of an evaluation one by one.

use super::{
    calibration::Calibration,
    confusion::Confusion,
    error::ClassificationError,
    report::{ClassMetrics, ClassificationReport, MacroAverage},
    roc::{ROC_POINTS, Ranked, RocCurve},
    wilson::wilson,
};
use crate::task::evaluator::highest;

/// Probabilities of a row may add up to 1 give or take this much: they may have
/// been computed in half precision.
const SUM_TOLERANCE: f64 = 0.01;

/// What was seen of a classifier. Counts and sums are kept as rows come; the
/// probabilities too (8 bytes a row and class), because the area below a ROC curve
/// needs all of them.
#[derive(Clone, Debug)]
pub struct Classification {
    labels: Vec<String>,
    confusion: Confusion,
    calibration: Calibration,
    loss: f64,
    classes: Vec<usize>,
    /// Row after row.
    probabilities: Vec<f64>,
}

impl Classification {
    /// Of a classifier with these labels, in the order of their class numbers.
    ///
    /// # Errors
    /// [`ClassificationError::NoLabels`], [`ClassificationError::RepeatedLabel`].
    pub fn new<S: Into<String>>(
        labels: impl IntoIterator<Item = S>,
    ) -> Result<Self, ClassificationError> {
        let labels: Vec<String> = labels.into_iter().map(Into::into).collect();
        if labels.is_empty() {
            return Err(ClassificationError::NoLabels);
        }
        for (second, label) in labels.iter().enumerate() {
            if let Some(first) = labels[..second].iter().position(|other| other == label) {
                let label = label.clone();
                return Err(ClassificationError::RepeatedLabel { label, first, second });
            }
        }
        Ok(Self {
            confusion: Confusion::new(labels.len()),
            calibration: Calibration::default(),
            loss: 0.0,
            classes: Vec::new(),
            probabilities: Vec::new(),
            labels,
        })
    }

    /// Takes a row: its class, and the probability of every class. The class with
    /// the highest probability, of equals the first, is what it is taken for.
    ///
    /// # Errors
    /// An error names the row and what is wrong with it; the row does not count then.
    pub fn push(&mut self, class: usize, probabilities: &[f64]) -> Result<(), ClassificationError> {
        self.check(class, probabilities)?;
        let predicted = highest(probabilities);
        self.confusion.add(class, predicted);
        self.calibration.add(probabilities[predicted], predicted == class);
        self.loss -= probabilities[class].max(f64::EPSILON).ln();
        self.classes.push(class);
        // `-0.0` and `0.0` are one score.
        self.probabilities.extend(probabilities.iter().map(|probability| probability + 0.0));
        Ok(())
    }

    fn check(&self, class: usize, probabilities: &[f64]) -> Result<(), ClassificationError> {
        let (row, expected) = (self.classes.len(), self.labels.len());
        if class >= expected {
            return Err(ClassificationError::UnknownClass { row, class, last: expected - 1 });
        }
        if probabilities.len() != expected {
            let found = probabilities.len();
            return Err(ClassificationError::Length { row, found, expected });
        }
        for (label, &value) in self.labels.iter().zip(probabilities) {
            if !(0.0..=1.0).contains(&value) {
                let label = label.clone();
                return Err(ClassificationError::Probability { row, label, value });
            }
        }
        let sum: f64 = probabilities.iter().sum();
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(ClassificationError::Sum { row, sum });
        }
        Ok(())
    }

    /// Rows taken so far.
    pub fn rows(&self) -> usize {
        self.classes.len()
    }

    /// What the rows say.
    ///
    /// # Errors
    /// [`ClassificationError::NoRows`].
    pub fn report(&self) -> Result<ClassificationReport, ClassificationError> {
        if self.classes.is_empty() {
            return Err(ClassificationError::NoRows);
        }
        let rows = self.classes.len() as u64;
        let right = self.confusion.right();
        let per_class: Vec<ClassMetrics> =
            (0..self.labels.len()).map(|class| self.of_class(class)).collect();
        Ok(ClassificationReport {
            rows,
            accuracy: right as f64 / rows as f64,
            accuracy_interval: wilson(right, rows),
            mean_loss: self.loss / rows as f64,
            macro_average: MacroAverage::of(&per_class),
            weighted_f1: weighted_f1(&per_class),
            per_class,
            confusion: self.confusion.counts().to_vec(),
            expected_calibration_error: self.calibration.error(),
            reliability: self.calibration.bins(),
        })
    }

    /// The curve of every class of which there are rows, and rows of others.
    pub fn roc_curves(&self) -> Vec<RocCurve> {
        let curve = |(class, label): (usize, &String)| {
            let ranked = self.ranked(class)?;
            let (label, points) = (label.clone(), ranked.points(ROC_POINTS));
            Some(RocCurve { label, roc_auc: ranked.auc(), points })
        };
        self.labels.iter().enumerate().filter_map(curve).collect()
    }

    fn of_class(&self, class: usize) -> ClassMetrics {
        ClassMetrics {
            label: self.labels[class].clone(),
            precision: self.confusion.precision(class),
            recall: self.confusion.recall(class),
            f1: self.confusion.f1(class),
            support: self.confusion.support(class),
            roc_auc: self.ranked(class).map(|ranked| ranked.auc()),
        }
    }

    /// All rows by their probability of `class`.
    pub(super) fn ranked(&self, class: usize) -> Option<Ranked> {
        let rows = self.probabilities.chunks_exact(self.labels.len()).zip(&self.classes);
        Ranked::new(rows.map(|(row, &of)| (row[class], of == class)))
    }
}

/// The mean of F1 over the rows: every class counts by its support.
fn weighted_f1(per_class: &[ClassMetrics]) -> f64 {
    let rows: u64 = per_class.iter().map(|class| class.support).sum();
    let sum: f64 =
        per_class.iter().map(|class| class.support as f64 * class.f1.unwrap_or(0.0)).sum();
    sum / rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Classification {
        Classification::new(["ham", "spam"]).unwrap()
    }

    #[test]
    fn what_cannot_be_measured_is_refused_and_does_not_count() {
        let mut seen = two();
        seen.push(0, &[0.5, 0.5]).unwrap();
        for (class, probabilities, message) in [
            (2, vec![0.5, 0.5], "row 1 is of class 2, but there are only the classes 0 to 1"),
            (0, vec![1.0], "row 1 has 1 probabilities, but there are 2 classes"),
            (
                0,
                vec![0.5, f64::NAN],
                "row 1 has NaN for the probability of \"spam\"; it has to be from 0 to 1",
            ),
            (
                0,
                vec![-2.5, 3.5],
                "row 1 has -2.5 for the probability of \"ham\"; it has to be from 0 to 1",
            ),
            (
                0,
                vec![0.25, 0.25],
                "the probabilities of row 1 add up to 0.5; they have to add up to 1",
            ),
        ] {
            let error = seen.push(class, &probabilities).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert_eq!(seen.rows(), 1);
        assert_eq!(seen.report().unwrap().rows, 1);
    }

    #[test]
    fn labels_and_rows_are_needed() {
        let none: [&str; 0] = [];
        assert_eq!(Classification::new(none).unwrap_err(), ClassificationError::NoLabels);
        let error = Classification::new(["a", "b", "a"]).unwrap_err().to_string();
        assert_eq!(error, "the label \"a\" names class 0 and class 2; labels have to differ");
        assert_eq!(two().report().unwrap_err(), ClassificationError::NoRows);
        assert!(two().roc_curves().is_empty());
    }

    #[test]
    fn of_equal_probabilities_the_first_wins() {
        let mut seen = Classification::new(["a", "b", "c"]).unwrap();
        seen.push(1, &[0.2, 0.4, 0.4]).unwrap();
        assert_eq!(seen.report().unwrap().confusion, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]);
    }

    #[test]
    fn a_class_that_is_certainly_wrong_costs_much_but_not_all() {
        let mut seen = two();
        seen.push(1, &[1.0, 0.0]).unwrap();
        let loss = seen.report().unwrap().mean_loss;
        assert!((loss + f64::EPSILON.ln()).abs() < 1e-12, "{loss}");
    }

    #[test]
    fn one_label_is_always_right() {
        let mut seen = Classification::new(["only"]).unwrap();
        seen.push(0, &[1.0]).unwrap();
        let report = seen.report().unwrap();
        assert_eq!((report.accuracy, report.mean_loss), (1.0, 0.0));
        assert_eq!(report.macro_average.roc_auc, None);
    }
}

//! Collector of classified examples.

use super::{
    argmax::argmax,
    calibration::Calibration,
    confidence_interval::wilson_interval,
    confusion_matrix::ConfusionMatrix,
    error::ClassificationError,
    majority_class::MajorityClass,
    report::{
        ClassMetrics, ClassificationReport, Confusion, MOST_CONFUSIONS, MOST_MATRIX_CLASSES,
        MacroAverage,
    },
    roc::{ROC_POINTS, Ranked, RocCurve},
};

/// Largest distance between 1 and the sum of the probabilities of an example, which may
/// have been computed in half precision.
const SUM_TOLERANCE: f64 = 0.01;

/// Collector of classified examples. It keeps counts and sums, and also all probabilities
/// (8 bytes per example and class), because the area under a ROC curve needs them.
#[derive(Clone, Debug)]
pub struct Classification {
    labels: Vec<String>,
    confusion: ConfusionMatrix,
    calibration: Calibration,
    loss: f64,
    classes: Vec<usize>,
    /// Probabilities of all classes, one example after the other.
    probabilities: Vec<f64>,
}

impl Classification {
    /// Returns an empty collector; the labels are in the order of the class numbers.
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
            confusion: ConfusionMatrix::new(labels.len()),
            calibration: Calibration::default(),
            loss: 0.0,
            classes: Vec::new(),
            probabilities: Vec::new(),
            labels,
        })
    }

    /// Adds an example: its true class and the probability of every class. The predicted
    /// class is the one with the highest probability; ties go to the first.
    ///
    /// # Errors
    /// An error names the example, which is not counted then.
    pub fn push(&mut self, class: usize, probabilities: &[f64]) -> Result<(), ClassificationError> {
        self.check(class, probabilities)?;
        let predicted = argmax(probabilities);
        self.confusion.add(class, predicted);
        self.calibration.add(probabilities[predicted], predicted == class);
        self.loss -= probabilities[class].max(f64::EPSILON).ln();
        self.classes.push(class);
        // Adding 0 turns -0.0 into 0.0: both are the same score.
        self.probabilities.extend(probabilities.iter().map(|probability| probability + 0.0));
        Ok(())
    }

    fn check(&self, class: usize, probabilities: &[f64]) -> Result<(), ClassificationError> {
        let (example, expected) = (self.classes.len(), self.labels.len());
        if class >= expected {
            return Err(ClassificationError::UnknownClass { example, class, last: expected - 1 });
        }
        if probabilities.len() != expected {
            let found = probabilities.len();
            return Err(ClassificationError::Length { example, found, expected });
        }
        for (label, &value) in self.labels.iter().zip(probabilities) {
            if !(0.0..=1.0).contains(&value) {
                let label = label.clone();
                return Err(ClassificationError::Probability { example, label, value });
            }
        }
        let sum: f64 = probabilities.iter().sum();
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(ClassificationError::Sum { example, sum });
        }
        Ok(())
    }

    /// Returns the number of examples.
    pub fn examples(&self) -> usize {
        self.classes.len()
    }

    /// Computes all metrics.
    ///
    /// # Errors
    /// [`ClassificationError::NoExamples`].
    pub fn report(&self) -> Result<ClassificationReport, ClassificationError> {
        if self.classes.is_empty() {
            return Err(ClassificationError::NoExamples);
        }
        let examples = self.classes.len() as u64;
        let correct = self.confusion.correct();
        let per_class: Vec<ClassMetrics> =
            (0..self.labels.len()).map(|class| self.class_metrics(class)).collect();
        Ok(ClassificationReport {
            examples,
            accuracy: correct as f64 / examples as f64,
            accuracy_interval: wilson_interval(correct, examples),
            mean_loss: self.loss / examples as f64,
            macro_average: MacroAverage::of(&per_class),
            weighted_f1: weighted_f1(&per_class),
            majority_class: MajorityClass::of(
                per_class.iter().map(|class| (class.label.as_str(), class.support)),
            ),
            per_class,
            misclassified: examples - correct,
            confusion: match self.labels.len() {
                0..=MOST_MATRIX_CLASSES => self.confusion.dense(),
                _ => Vec::new(),
            },
            confusions: self.confusions(),
            expected_calibration_error: self.calibration.error(),
            reliability: self.calibration.bins(),
        })
    }

    fn confusions(&self) -> Vec<Confusion> {
        let label = |class: usize| self.labels[class].clone();
        let confusions = self.confusion.confusions().into_iter().take(MOST_CONFUSIONS);
        confusions
            .map(|(class, predicted, examples)| Confusion {
                label: label(class),
                predicted: label(predicted),
                examples,
            })
            .collect()
    }

    /// Computes the ROC curve of every class with examples, if there are others too.
    pub fn roc_curves(&self) -> Vec<RocCurve> {
        let curve = |(class, label): (usize, &String)| {
            let ranked = self.ranked(class)?;
            let (label, points) = (label.clone(), ranked.points(ROC_POINTS));
            Some(RocCurve { label, roc_auc: ranked.auc(), points })
        };
        self.labels.iter().enumerate().filter_map(curve).collect()
    }

    fn class_metrics(&self, class: usize) -> ClassMetrics {
        ClassMetrics {
            label: self.labels[class].clone(),
            precision: self.confusion.precision(class),
            recall: self.confusion.recall(class),
            f1: self.confusion.f1(class),
            support: self.confusion.support(class),
            roc_auc: self.ranked(class).map(|ranked| ranked.auc()),
        }
    }

    /// Ranks all examples by their probability of `class`.
    pub(super) fn ranked(&self, class: usize) -> Option<Ranked> {
        let examples = self.probabilities.chunks_exact(self.labels.len()).zip(&self.classes);
        Ranked::new(examples.map(|(probabilities, &of)| (probabilities[class], of == class)))
    }
}

/// Computes the mean F1, weighted by support.
fn weighted_f1(per_class: &[ClassMetrics]) -> f64 {
    let examples: u64 = per_class.iter().map(|class| class.support).sum();
    let sum: f64 =
        per_class.iter().map(|class| class.support as f64 * class.f1.unwrap_or(0.0)).sum();
    sum / examples as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Classification {
        Classification::new(["ham", "spam"]).unwrap()
    }

    #[test]
    fn invalid_examples_are_refused_and_not_counted() {
        let mut collected = two();
        collected.push(0, &[0.5, 0.5]).unwrap();
        for (class, probabilities, message) in [
            (2, vec![0.5, 0.5], "example 1: expected a class from 0 to 1, got 2"),
            (0, vec![1.0], "example 1: expected 2 probabilities, one per class, got 1"),
            (
                0,
                vec![0.5, f64::NAN],
                "example 1: expected a probability of \"spam\" from 0 to 1, got NaN",
            ),
            (
                0,
                vec![-2.5, 3.5],
                "example 1: expected a probability of \"ham\" from 0 to 1, got -2.5",
            ),
            (
                0,
                vec![0.25, 0.25],
                "example 1: expected probabilities that sum to 1, got a sum of 0.5",
            ),
        ] {
            let error = collected.push(class, &probabilities).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert_eq!(collected.examples(), 1);
        assert_eq!(collected.report().unwrap().examples, 1);
    }

    #[test]
    fn labels_and_examples_are_required() {
        let none: [&str; 0] = [];
        assert_eq!(Classification::new(none).unwrap_err(), ClassificationError::NoLabels);
        let error = Classification::new(["a", "b", "a"]).unwrap_err().to_string();
        assert_eq!(error, "duplicate label \"a\": classes 0 and 2 have it");
        assert_eq!(two().report().unwrap_err(), ClassificationError::NoExamples);
        assert!(two().roc_curves().is_empty());
    }

    #[test]
    fn ties_go_to_the_first_class() {
        let mut collected = Classification::new(["a", "b", "c"]).unwrap();
        collected.push(1, &[0.2, 0.4, 0.4]).unwrap();
        assert_eq!(collected.report().unwrap().confusion, [[0, 0, 0], [0, 1, 0], [0, 0, 0]]);
    }

    #[test]
    fn loss_is_finite_at_probability_zero() {
        let mut collected = two();
        collected.push(1, &[1.0, 0.0]).unwrap();
        let loss = collected.report().unwrap().mean_loss;
        assert!((loss + f64::EPSILON.ln()).abs() < 1e-12, "{loss}");
    }

    #[test]
    fn single_class_has_accuracy_one() {
        let mut collected = Classification::new(["only"]).unwrap();
        collected.push(0, &[1.0]).unwrap();
        let report = collected.report().unwrap();
        assert_eq!((report.accuracy, report.mean_loss), (1.0, 0.0));
        assert_eq!(report.macro_average.roc_auc, None);
    }
}

//! Confusion matrix, and the metrics that follow from it: accuracy, precision, recall, F1.

use std::{cmp::Reverse, collections::BTreeMap};

/// Confusion matrix. Its size grows with the misclassified examples, not with the square of
/// the number of classes.
#[derive(Clone, Debug)]
pub(super) struct ConfusionMatrix {
    /// Counts that are not 0, by true and predicted class.
    counts: BTreeMap<(usize, usize), u64>,
    /// Examples of each class.
    support: Vec<u64>,
    /// Examples predicted as each class.
    predicted: Vec<u64>,
}

impl ConfusionMatrix {
    /// Returns a matrix of zeros.
    pub fn new(classes: usize) -> Self {
        Self { counts: BTreeMap::new(), support: vec![0; classes], predicted: vec![0; classes] }
    }

    /// Counts an example; both classes are below the number of classes.
    pub fn add(&mut self, class: usize, predicted: usize) {
        *self.counts.entry((class, predicted)).or_default() += 1;
        self.support[class] += 1;
        self.predicted[predicted] += 1;
    }

    /// Returns all counts, `[true class][predicted class]`.
    pub fn dense(&self) -> Vec<Vec<u64>> {
        let classes = self.support.len();
        let mut dense = vec![vec![0; classes]; classes];
        for (&(class, predicted), &count) in &self.counts {
            dense[class][predicted] = count;
        }
        dense
    }

    /// Returns true class, predicted class and examples of all confusions, most frequent
    /// first; ties are in the order of the matrix.
    pub fn confusions(&self) -> Vec<(usize, usize, u64)> {
        let wrong = self.counts.iter().filter(|((class, predicted), _)| class != predicted);
        let mut confusions: Vec<_> =
            wrong.map(|(&(class, predicted), &count)| (class, predicted, count)).collect();
        confusions.sort_by_key(|&(.., count)| Reverse(count));
        confusions
    }

    /// Returns the number of correctly classified examples.
    pub fn correct(&self) -> u64 {
        (0..self.support.len()).map(|class| self.correct_of(class)).sum()
    }

    fn correct_of(&self, class: usize) -> u64 {
        self.counts.get(&(class, class)).copied().unwrap_or(0)
    }

    /// Returns the number of examples of a class.
    pub fn support(&self, class: usize) -> u64 {
        self.support[class]
    }

    /// Fraction of the examples predicted as `class` that are of it; `None` if there are none.
    pub fn precision(&self, class: usize) -> Option<f64> {
        ratio(self.correct_of(class), self.predicted[class])
    }

    /// Fraction of the examples of `class` predicted as it; `None` if there are none.
    pub fn recall(&self, class: usize) -> Option<f64> {
        ratio(self.correct_of(class), self.support(class))
    }

    /// Harmonic mean of precision and recall; 0 if only one of them is defined, `None` if
    /// neither is.
    pub fn f1(&self, class: usize) -> Option<f64> {
        ratio(2 * self.correct_of(class), self.support(class) + self.predicted[class])
    }
}

fn ratio(numerator: u64, denominator: u64) -> Option<f64> {
    (denominator > 0).then(|| numerator as f64 / denominator as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class 0 has recall 0.5, 1 is never predicted, 2 is predicted but absent, 3 is
    /// neither.
    fn confusion() -> ConfusionMatrix {
        let mut confusion = ConfusionMatrix::new(4);
        for (class, predicted) in [(0, 0), (0, 2), (1, 0), (1, 0)] {
            confusion.add(class, predicted);
        }
        confusion
    }

    #[test]
    fn undefined_metrics_are_absent() {
        let confusion = confusion();
        let of = |class| (confusion.precision(class), confusion.recall(class), confusion.f1(class));
        assert_eq!(of(0), (Some(1.0 / 3.0), Some(0.5), Some(0.4)));
        assert_eq!(of(1), (None, Some(0.0), Some(0.0)));
        assert_eq!(of(2), (Some(0.0), None, Some(0.0)));
        assert_eq!(of(3), (None, None, None));
    }

    #[test]
    fn examples_are_counted() {
        let confusion = confusion();
        assert_eq!(confusion.correct(), 1);
        assert_eq!([0, 1, 2, 3].map(|class| confusion.support(class)), [2, 2, 0, 0]);
        assert_eq!(confusion.predicted, [3, 0, 1, 0]);
        assert_eq!(confusion.dense(), [[1, 0, 1, 0], [2, 0, 0, 0], [0; 4], [0; 4]]);
        assert_eq!(confusion.confusions(), [(1, 0, 2), (0, 2, 1)]);
    }
}

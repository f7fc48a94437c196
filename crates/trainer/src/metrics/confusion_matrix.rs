//! Confusion matrix, and the metrics that follow from it: accuracy, precision, recall, F1.

/// Confusion matrix: `counts[true class][predicted class]`.
#[derive(Clone, Debug)]
pub(super) struct ConfusionMatrix {
    counts: Vec<Vec<u64>>,
}

impl ConfusionMatrix {
    /// Returns a matrix of zeros.
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes] }
    }

    /// Counts an example; both classes are below the number of classes.
    pub fn add(&mut self, class: usize, predicted: usize) {
        self.counts[class][predicted] += 1;
    }

    /// Returns the counts, `[true class][predicted class]`.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// Returns the number of correctly classified examples.
    pub fn correct(&self) -> u64 {
        (0..self.counts.len()).map(|class| self.counts[class][class]).sum()
    }

    /// Returns the number of examples of a class.
    pub fn support(&self, class: usize) -> u64 {
        self.counts[class].iter().sum()
    }

    /// Returns the number of examples predicted as a class.
    fn predicted(&self, class: usize) -> u64 {
        self.counts.iter().map(|row| row[class]).sum()
    }

    /// Fraction of the examples predicted as `class` that are of it; `None` if there are none.
    pub fn precision(&self, class: usize) -> Option<f64> {
        ratio(self.counts[class][class], self.predicted(class))
    }

    /// Fraction of the examples of `class` predicted as it; `None` if there are none.
    pub fn recall(&self, class: usize) -> Option<f64> {
        ratio(self.counts[class][class], self.support(class))
    }

    /// Harmonic mean of precision and recall; 0 if only one of them is defined, `None` if
    /// neither is.
    pub fn f1(&self, class: usize) -> Option<f64> {
        ratio(2 * self.counts[class][class], self.support(class) + self.predicted(class))
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
    fn undefined_metrics_are_none() {
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
        assert_eq!([0, 1, 2, 3].map(|class| confusion.predicted(class)), [3, 0, 1, 0]);
    }
}

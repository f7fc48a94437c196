//! Counts of rows by true and predicted class, and what follows from them alone.

/// `counts[true][predicted]`.
#[derive(Clone, Debug)]
pub(super) struct Confusion {
    counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Of no row yet.
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes] }
    }

    /// Counts a row; both classes are below the number of classes.
    pub fn add(&mut self, class: usize, predicted: usize) {
        self.counts[class][predicted] += 1;
    }

    /// `[true][predicted]`.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// Rows that were predicted rightly.
    pub fn right(&self) -> u64 {
        (0..self.counts.len()).map(|class| self.counts[class][class]).sum()
    }

    /// Rows of a class.
    pub fn support(&self, class: usize) -> u64 {
        self.counts[class].iter().sum()
    }

    /// Rows that were taken for a class.
    fn predicted(&self, class: usize) -> u64 {
        self.counts.iter().map(|row| row[class]).sum()
    }

    /// The part of the rows taken for `class` that are of it; `None` if no row was.
    pub fn precision(&self, class: usize) -> Option<f64> {
        ratio(self.counts[class][class], self.predicted(class))
    }

    /// The part of the rows of `class` that were taken for it; `None` without a row.
    pub fn recall(&self, class: usize) -> Option<f64> {
        ratio(self.counts[class][class], self.support(class))
    }

    /// The harmonic mean of precision and recall, 0 if only one of them is defined;
    /// `None` if no row is of the class and none was taken for it.
    pub fn f1(&self, class: usize) -> Option<f64> {
        ratio(2 * self.counts[class][class], self.support(class) + self.predicted(class))
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class 0 is half found, 1 is never predicted, 2 is absent but predicted, of 3
    /// there is nothing.
    fn confusion() -> Confusion {
        let mut confusion = Confusion::new(4);
        for (class, predicted) in [(0, 0), (0, 2), (1, 0), (1, 0)] {
            confusion.add(class, predicted);
        }
        confusion
    }

    #[test]
    fn what_is_defined_has_a_value_and_nothing_else_has() {
        let confusion = confusion();
        let of = |class| (confusion.precision(class), confusion.recall(class), confusion.f1(class));
        assert_eq!(of(0), (Some(1.0 / 3.0), Some(0.5), Some(0.4)));
        assert_eq!(of(1), (None, Some(0.0), Some(0.0)));
        assert_eq!(of(2), (Some(0.0), None, Some(0.0)));
        assert_eq!(of(3), (None, None, None));
    }

    #[test]
    fn rows_are_counted() {
        let confusion = confusion();
        assert_eq!(confusion.right(), 1);
        assert_eq!([0, 1, 2, 3].map(|class| confusion.support(class)), [2, 2, 0, 0]);
        assert_eq!([0, 1, 2, 3].map(|class| confusion.predicted(class)), [3, 0, 1, 0]);
    }
}

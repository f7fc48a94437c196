//! Majority-class baseline: the classifier that ignores the text.

use serde::{Deserialize, Serialize};

/// Accuracy of always predicting the most frequent class of the examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MajorityClass {
    /// Label of the most frequent class; of equals the first.
    pub label: String,
    /// Fraction of the examples that are of it.
    pub accuracy: f64,
}

impl MajorityClass {
    /// Takes the label and the number of examples of each class.
    pub(super) fn of<'a>(classes: impl Iterator<Item = (&'a str, u64)>) -> Self {
        let (mut examples, mut most) = (0, ("", 0));
        for (label, support) in classes {
            examples += support;
            if support > most.1 {
                most = (label, support);
            }
        }
        Self { label: most.0.to_owned(), accuracy: most.1 as f64 / examples.max(1) as f64 }
    }
}

//! Majority-class baseline: the classifier that ignores the text.

use serde::{Deserialize, Serialize};

use super::report::ClassMetrics;

/// Accuracy of always predicting the most frequent class of the examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MajorityClass {
    /// Label of the most frequent class; of equals the first.
    pub label: String,
    /// Fraction of the examples that are of it.
    pub accuracy: f64,
}

impl MajorityClass {
    pub(super) fn of(per_class: &[ClassMetrics]) -> Self {
        let examples: u64 = per_class.iter().map(|class| class.support).sum();
        let mut classes = per_class.iter();
        let Some(first) = classes.next() else { return Self::default() };
        let most = classes.fold(
            first,
            |most, class| {
                if class.support > most.support { class } else { most }
            },
        );
        Self { label: most.label.clone(), accuracy: most.support as f64 / examples.max(1) as f64 }
    }
}

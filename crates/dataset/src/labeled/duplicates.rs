//! Texts that occur more than once.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::example::Example;

/// Counts of examples whose text occurs elsewhere, white space around it aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicates {
    /// Training examples that repeat the text of an earlier one.
    pub train: usize,
    /// Validation examples that repeat the text of an earlier one.
    pub validation: usize,
    /// Test examples that repeat the text of an earlier one.
    pub test: usize,
    /// Validation examples whose text is in the training set.
    pub validation_in_train: usize,
    /// Test examples whose text is in the training set.
    pub test_in_train: usize,
    /// Test examples whose text is in the validation set.
    pub test_in_validation: usize,
}

impl Duplicates {
    /// Counts the duplicates of a training, a validation and a test set.
    pub(crate) fn of(train: &[Example], validation: &[Example], test: &[Example]) -> Self {
        let [of_train, of_validation, of_test] = [train, validation, test].map(texts);
        let count = |examples: &[Example], texts: &HashSet<&str>| {
            examples.iter().filter(|example| texts.contains(example.text.trim())).count()
        };
        Self {
            train: train.len() - of_train.len(),
            validation: validation.len() - of_validation.len(),
            test: test.len() - of_test.len(),
            validation_in_train: count(validation, &of_train),
            test_in_train: count(test, &of_train),
            test_in_validation: count(test, &of_validation),
        }
    }
}

/// Returns the distinct texts.
fn texts(examples: &[Example]) -> HashSet<&str> {
    examples.iter().map(|example| example.text.trim()).collect()
}

/// Counts the texts that have more than one label.
pub(crate) fn conflicting<'a>(examples: impl Iterator<Item = &'a Example>) -> usize {
    let mut classes: HashMap<&str, usize> = HashMap::new();
    let mut conflicts = HashSet::new();
    for example in examples {
        let text = example.text.trim();
        if *classes.entry(text).or_insert(example.label) != example.label {
            conflicts.insert(text);
        }
    }
    conflicts.len()
}

//! Labeled text split into sets.

use polars::prelude::DataFrame;
use serde::{Deserialize, Serialize};

use super::{
    config::SplitConfig,
    error::SplitError,
    sampling::{partition, shuffle, to_examples, to_frame, undersample},
};
use crate::{
    error::Result,
    labeled::{Duplicates, Example, LabeledText, Quotes, Sets},
};

/// Examples of a class in each set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRows {
    /// Label of the class.
    pub label: String,
    /// Examples in the training set.
    pub train: usize,
    /// Examples in the validation set.
    pub validation: usize,
    /// Examples in the test set.
    pub test: usize,
}

/// Training, validation and test set, each in random order unless it is a separate file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Labels; the index of a label is its class.
    pub labels: Vec<String>,
    /// Training set.
    pub train: Vec<Example>,
    /// Validation set, evaluated during training.
    pub validation: Vec<Example>,
    /// Test set, evaluated after training.
    pub test: Vec<Example>,
}

impl LabeledText {
    /// Splits the examples, row for row as pandas does it in these steps:
    ///
    /// 1. With `balance`, the smallest class (of equals the last) is kept as
    ///    it is, and `sample(len(smallest), random_state=seed)` taken of every other; the
    ///    classes are joined in their order.
    /// 2. `sample(frac=1, random_state=seed)` of them all.
    /// 3. The first `int(train * n)` rows, the next `int(validation * n)`, the rest.
    ///
    /// With `stratify` steps 2 and 3 are done with each class by itself, at the nearest
    /// rows (a fraction is met within one example, and every class has an example in the
    /// training set), and each set is shuffled once more.
    ///
    /// Sets that are separate files stay in the order of their files. Without a
    /// validation file, `validation / (train + validation)` of the training set is split
    /// off. `balance` then undersamples and shuffles the training set alone.
    ///
    /// # Errors
    /// [`Error::Split`](crate::Error::Split) if a fraction is out of range or a set would be empty.
    pub fn split(&self, config: &SplitConfig) -> Result<Split> {
        match self.sets() {
            Sets::One(examples) => self.split_one(stripped(examples, config.quotes), config),
            Sets::Separate { train, validation, test } => {
                let [train, test] = [train, test].map(|set| stripped(set, config.quotes));
                let validation = validation.as_ref().map(|set| stripped(set, config.quotes));
                self.split_separate(train, validation, test, config)
            }
        }
    }

    fn split_one(&self, all: Vec<Example>, config: &SplitConfig) -> Result<Split> {
        let SplitConfig { train, validation, seed, .. } = *config;
        // NaN fails every comparison.
        if !(train > 0.0 && validation > 0.0 && train + validation < 1.0) {
            return Err(self.split_error(SplitError::Fractions { train, validation }));
        }
        let all = to_frame(&all)?;
        let examples = if config.balance { undersample(&all, seed)? } else { all.clone() };
        let sets = partition(&examples, &[train, validation], seed, config.stratify)?;
        let sizes = [0, 1, 2].map(|set| sets.get(set).map_or(0, DataFrame::height));
        if sizes.contains(&0) {
            let balanced = examples.height() < all.height();
            return Err(self.split_error(SplitError::EmptySet { balanced, sizes }));
        }
        let [train, validation, test] =
            [0, 1, 2].map(|set| sets.get(set).map_or(Ok(Vec::new()), to_examples));
        let labels = self.labels().to_vec();
        Ok(Split { labels, train: train?, validation: validation?, test: test? })
    }

    fn split_separate(
        &self,
        train: Vec<Example>,
        validation: Option<Vec<Example>>,
        test: Vec<Example>,
        config: &SplitConfig,
    ) -> Result<Split> {
        let mut frame = to_frame(&train)?;
        let validation = match validation {
            Some(validation) => validation,
            None => {
                let fraction =
                    training_fraction(config).map_err(|problem| self.split_error(problem))?;
                let sets = partition(&frame, &[fraction], config.seed, config.stratify)?;
                let mut sets = sets.into_iter();
                frame = sets.next().unwrap_or_default();
                to_examples(&sets.next().unwrap_or_default())?
            }
        };
        if config.balance {
            frame = shuffle(&undersample(&frame, config.seed)?, config.seed)?;
        }
        let train = to_examples(&frame)?;
        let sizes = [train.len(), validation.len(), test.len()];
        if sizes.contains(&0) {
            return Err(self.split_error(SplitError::EmptySet { balanced: false, sizes }));
        }
        Ok(Split { labels: self.labels().to_vec(), train, validation, test })
    }
}

fn stripped(examples: &[Example], quotes: Quotes) -> Vec<Example> {
    let strip =
        |example: &Example| Example { text: quotes.apply(&example.text).into_owned(), ..*example };
    examples.iter().map(strip).collect()
}

/// Returns the fraction of the training file that is not split off for validation.
fn training_fraction(config: &SplitConfig) -> Result<f64, SplitError> {
    let SplitConfig { train, validation, .. } = *config;
    // NaN fails every comparison.
    if train > 0.0 && validation > 0.0 {
        return Ok(train / (train + validation));
    }
    Err(SplitError::SeparateFractions { train, validation })
}

impl Split {
    /// Counts the texts that occur more than once, within a set and across sets.
    pub fn duplicates(&self) -> Duplicates {
        Duplicates::of(&self.train, &self.validation, &self.test)
    }

    /// Returns the examples of each class in each set, in the order of the classes.
    pub fn class_rows(&self) -> Vec<ClassRows> {
        let count = |set: &[Example], class: usize| {
            set.iter().filter(|example| example.label == class).count()
        };
        let rows = |(class, label): (usize, &String)| ClassRows {
            label: label.clone(),
            train: count(&self.train, class),
            validation: count(&self.validation, class),
            test: count(&self.test, class),
        };
        self.labels.iter().enumerate().map(rows).collect()
    }
}

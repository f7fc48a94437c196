//! Balanced and shuffled parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    messages::Message,
    permutation::numpy_permutation,
    quotes::Quotes,
};

/// How messages become parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitConfig {
    /// Seed of the samples and of the shuffle (pandas' `random_state`).
    pub seed: u32,
    /// Whether every class is cut down to the size of the smallest.
    pub balance: bool,
    /// Fraction of the rows to train on, above 0 and below 1.
    pub train: f64,
    /// Fraction of the rows to validate on; the rest is the test part.
    pub validation: f64,
    /// What becomes of quotation marks around texts.
    pub quotes: Quotes,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { seed: 123, balance: true, train: 0.7, validation: 0.1, quotes: Quotes::Keep }
    }
}

/// A message as a classifier sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Its class: the index of its label in [`Split::labels`].
    pub label: usize,
    /// What it says.
    pub text: String,
    /// Its line in the source, from 0.
    pub row: usize,
}

/// Messages in three parts, each in random order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The labels in alphabetical order; the index is the class.
    pub labels: Vec<String>,
    /// What is trained on.
    pub train: Vec<Example>,
    /// What is looked at while training.
    pub validation: Vec<Example>,
    /// What is looked at in the end.
    pub test: Vec<Example>,
}

impl Split {
    /// Splits messages, row for row as pandas does it in these steps:
    ///
    /// 1. With `balance`, the smallest class (of equals the last in alphabetical
    ///    order) is kept as it is, and `sample(len(smallest), random_state=seed)`
    ///    taken of every other; the classes are joined in alphabetical order.
    /// 2. `sample(frac=1, random_state=seed)` of them all.
    /// 3. The first `int(train * n)` rows, the next `int(validation * n)`, the rest.
    ///
    /// # Errors
    /// [`Error::Config`] if the fractions leave no test part, if there are fewer
    /// than two labels, or if there are so few messages that a part is empty.
    pub fn new(messages: &[Message], config: &SplitConfig) -> Result<Self> {
        check_fractions(config)?;
        let mut classes: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
        for message in messages {
            classes.entry(&message.label).or_default().push(message);
        }
        if classes.len() < 2 {
            let count = classes.len();
            return Err(Error::Config(format!(
                "the messages have {count} labels; a classifier needs at least two"
            )));
        }
        let labels: Vec<String> = classes.keys().map(|&label| label.to_owned()).collect();
        let rows = match config.balance {
            true => undersample(classes.into_values().collect(), config.seed),
            false => messages.iter().collect(),
        };

        let example = |place: usize| {
            let message = rows[place];
            Example {
                label: labels.partition_point(|label| *label < message.label),
                text: config.quotes.apply(&message.text).into_owned(),
                row: message.row,
            }
        };
        let mut train: Vec<Example> =
            numpy_permutation(rows.len(), config.seed).into_iter().map(example).collect();
        // Python's int() of the same product of doubles.
        let part = |fraction: f64| (fraction * rows.len() as f64) as usize;
        let mut validation = train.split_off(part(config.train).min(rows.len()));
        let test = validation.split_off(part(config.validation).min(validation.len()));

        let sizes = [train.len(), validation.len(), test.len()];
        if sizes.contains(&0) {
            return Err(Error::Config(format!(
                "{} messages are too few: training, validation and test would get {sizes:?} of \
                 them, and each needs one",
                rows.len()
            )));
        }
        Ok(Self { labels, train, validation, test })
    }
}

fn check_fractions(config: &SplitConfig) -> Result<()> {
    let SplitConfig { train, validation, .. } = *config;
    // NaN fails every comparison.
    if train > 0.0 && validation > 0.0 && train + validation < 1.0 {
        return Ok(());
    }
    Err(Error::Config(format!(
        "the training part is {train} and the validation part {validation} of the messages; both \
         have to be above 0, and their sum below 1 to leave a test part"
    )))
}

/// As many messages of each class as the smallest has.
fn undersample(classes: Vec<Vec<&Message>>, seed: u32) -> Vec<&Message> {
    let size = classes.iter().map(Vec::len).min().unwrap_or(0);
    let whole = classes.iter().rposition(|class| class.len() == size);
    let mut rows = Vec::with_capacity(size * classes.len());
    for (label, class) in classes.iter().enumerate() {
        if Some(label) == whole {
            rows.extend(class);
        } else {
            let order = numpy_permutation(class.len(), seed);
            rows.extend(order[..size].iter().map(|&place| class[place]));
        }
    }
    rows
}

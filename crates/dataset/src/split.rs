//! Balanced and shuffled parts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    cut::cut,
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
    /// Whether every class is cut into the parts by itself, so that each part has
    /// its share of it.
    #[serde(default)]
    pub stratify: bool,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            seed: 123,
            balance: true,
            train: 0.7,
            validation: 0.1,
            quotes: Quotes::Keep,
            stratify: false,
        }
    }
}

/// A message as a classifier sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Its class: the index of its label in [`Split::labels`].
    pub label: usize,
    /// What it says.
    pub text: String,
    /// Its line or row in the source, from 0 ([`Message::row`]).
    pub row: usize,
}

/// Rows of a class in each part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRows {
    /// The label of the class.
    pub label: String,
    /// Rows to train on.
    pub train: usize,
    /// Rows to validate on.
    pub validation: usize,
    /// Rows to test on.
    pub test: usize,
}

/// Messages in three parts, each in random order unless it is a file of its own.
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
    /// With `stratify` the steps 2 and 3 are done with each class by itself, cut at
    /// the nearest rows (a share is met within one row, and every class has a row
    /// in the training part), and each part is shuffled once more.
    ///
    /// # Errors
    /// [`Error::Config`] if the fractions leave no test part, if there are fewer
    /// than two labels, or if there are so few messages that a part is empty.
    pub fn new(messages: &[Message], config: &SplitConfig) -> Result<Self> {
        check_fractions(config)?;
        let labels = label_names(messages)?;
        let example = |message| Example::of(message, &labels, config.quotes);
        let all: Vec<Example> = messages.iter().filter_map(example).collect();
        let rows = if config.balance { join(undersample(all, config.seed)) } else { all };

        let classes: Vec<usize> = rows.iter().map(|example| example.label).collect();
        let shares = [config.train, config.validation];
        let parts = cut(&classes, &shares, config.seed, config.stratify);
        let mut parts = parts.into_iter().map(|part| -> Vec<Example> {
            part.into_iter().map(|place| rows[place].clone()).collect()
        });
        let mut part = || parts.next().unwrap_or_default();
        let (train, validation, test) = (part(), part(), part());

        let sizes = [train.len(), validation.len(), test.len()];
        if sizes.contains(&0) {
            let hint = if config.balance && rows.len() < messages.len() {
                " (balancing cut every class down to the size of the smallest)"
            } else {
                ""
            };
            return Err(Error::Config(format!(
                "{} messages are too few{hint}: training, validation and test would get {sizes:?} \
                 of them, and each needs one",
                rows.len()
            )));
        }
        Ok(Self { labels, train, validation, test })
    }

    /// Rows of each class in each part, in the order of the classes.
    pub fn class_rows(&self) -> Vec<ClassRows> {
        let count = |part: &[Example], class: usize| {
            part.iter().filter(|example| example.label == class).count()
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

impl Example {
    /// A message with the class of its label, if that is one of `labels`, which
    /// are in alphabetical order.
    pub(crate) fn of(message: &Message, labels: &[String], quotes: Quotes) -> Option<Self> {
        let label = labels.binary_search(&message.label).ok()?;
        let text = quotes.apply(&message.text).into_owned();
        Some(Self { label, text, row: message.row })
    }
}

/// The labels in alphabetical order.
pub(crate) fn label_names(messages: &[Message]) -> Result<Vec<String>> {
    let labels: BTreeSet<&str> = messages.iter().map(|message| message.label.as_str()).collect();
    if labels.len() < 2 {
        return Err(Error::Config(format!(
            "the messages have {} labels; a classifier needs at least two",
            labels.len()
        )));
    }
    Ok(labels.into_iter().map(str::to_owned).collect())
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

/// As many rows of each class as the smallest has, shuffled.
pub(crate) fn balanced(rows: Vec<Example>, seed: u32) -> Vec<Example> {
    let rows = join(undersample(rows, seed));
    numpy_permutation(rows.len(), seed).into_iter().map(|place| rows[place].clone()).collect()
}

fn join(classes: Vec<Vec<Example>>) -> Vec<Example> {
    classes.into_iter().flatten().collect()
}

/// As many rows of each class as the smallest has, class after class.
fn undersample(rows: Vec<Example>, seed: u32) -> Vec<Vec<Example>> {
    let mut classes: BTreeMap<usize, Vec<Example>> = BTreeMap::new();
    for example in rows {
        classes.entry(example.label).or_default().push(example);
    }
    let mut classes: Vec<Vec<Example>> = classes.into_values().collect();
    let size = classes.iter().map(Vec::len).min().unwrap_or(0);
    let whole = classes.iter().rposition(|class| class.len() == size);
    for (place, class) in classes.iter_mut().enumerate() {
        if Some(place) != whole {
            let order = numpy_permutation(class.len(), seed);
            *class = order[..size].iter().map(|&row| class[row].clone()).collect();
        }
    }
    classes
}

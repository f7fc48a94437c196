//! A part of the data as tokens.

use crate::{
    split::Example,
    tokenizer::{END_OF_TEXT, Tokenizer},
};

/// The rows of one part as tokens, not yet padded, with their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    ids: Vec<Vec<u32>>,
    labels: Vec<usize>,
    /// Tokens of each row before it was cut.
    lengths: Vec<usize>,
}

impl Encoded {
    /// Tokenises examples and cuts each row to its first `max_length` tokens, at
    /// least one.
    ///
    /// An empty text becomes a row of one [`END_OF_TEXT`], so that every row has
    /// a last token that a classifier can look at.
    pub fn new(examples: &[Example], tokenizer: &Tokenizer, max_length: Option<usize>) -> Self {
        let max_length = max_length.unwrap_or(usize::MAX).max(1);
        let encode = |example: &Example| {
            let mut ids = tokenizer.encode(&example.text);
            if ids.is_empty() {
                ids.push(END_OF_TEXT);
            }
            let length = ids.len();
            ids.truncate(max_length);
            (ids, length)
        };
        let (ids, lengths) = examples.iter().map(encode).unzip();
        let labels = examples.iter().map(|example| example.label).collect();
        Self { ids, labels, lengths }
    }

    /// Rows that are tokens already, and their classes; `None` if there is not one
    /// class for each row, or if a row has no token.
    pub fn from_ids(ids: Vec<Vec<u32>>, labels: Vec<usize>) -> Option<Self> {
        let fits = ids.len() == labels.len() && ids.iter().all(|row| !row.is_empty());
        let lengths = ids.iter().map(Vec::len).collect();
        fits.then_some(Self { ids, labels, lengths })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Tokens in the longest row; 0 without a row.
    pub fn longest(&self) -> usize {
        self.ids.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Number of rows that were cut.
    pub fn truncated(&self) -> usize {
        self.ids.iter().zip(&self.lengths).filter(|(ids, length)| ids.len() < **length).count()
    }

    /// The first row whose text has more tokens than this, cut or not, and how many it has.
    pub fn longer_than(&self, tokens: usize) -> Option<(usize, usize)> {
        self.lengths.iter().copied().enumerate().find(|(_, length)| *length > tokens)
    }

    /// Rows of each of so many classes.
    pub fn per_class(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label) {
                *count += 1;
            }
        }
        counts
    }

    /// The tokens of each row, in order.
    pub fn ids(&self) -> &[Vec<u32>] {
        &self.ids
    }

    /// The class of each row, in order.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }
}

//! A set of examples as tokens.

use super::tokenizer::{END_OF_TEXT, Tokenizer};
use crate::labeled::Example;

/// Examples as tokens, not yet padded, with their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedSet {
    ids: Vec<Vec<u32>>,
    labels: Vec<usize>,
    /// Tokens of each example before truncation.
    lengths: Vec<usize>,
    /// Token that fills a batch.
    padding: u32,
}

impl TokenizedSet {
    /// Tokenizes examples and truncates each to its first `max_length` tokens, at least
    /// one.
    ///
    /// An empty text becomes one end-of-text token, so that every example has a last token
    /// whose hidden state can be classified.
    pub fn new(examples: &[Example], tokenizer: &Tokenizer, max_length: Option<usize>) -> Self {
        let max_length = max_length.unwrap_or(usize::MAX).max(1);
        let tokenize = |example: &Example| {
            let mut ids = tokenizer.encode(&example.text);
            if ids.is_empty() {
                ids.push(tokenizer.end_of_text());
            }
            let length = ids.len();
            ids.truncate(max_length);
            (ids, length)
        };
        let (ids, lengths) = examples.iter().map(tokenize).unzip();
        let labels = examples.iter().map(|example| example.label).collect();
        Self { ids, labels, lengths, padding: tokenizer.padding() }
    }

    /// Takes tokens of GPT-2 and classes of examples; `None` if there is not one class for each
    /// example, or if an example has no token.
    pub fn from_ids(ids: Vec<Vec<u32>>, labels: Vec<usize>) -> Option<Self> {
        let fits = ids.len() == labels.len() && ids.iter().all(|row| !row.is_empty());
        let lengths = ids.iter().map(Vec::len).collect();
        fits.then_some(Self { ids, labels, lengths, padding: END_OF_TEXT })
    }

    /// Returns the number of examples.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the number of tokens of the longest example; 0 without an example.
    pub fn longest(&self) -> usize {
        self.ids.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Returns the number of tokens of the longest example before truncation; 0 without an
    /// example.
    pub fn longest_before_truncation(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Returns the number of truncated examples.
    pub fn truncated(&self) -> usize {
        self.ids.iter().zip(&self.lengths).filter(|(ids, length)| ids.len() < **length).count()
    }

    /// Returns the index and the length before truncation of the first example with more
    /// than `tokens` tokens.
    pub fn longer_than(&self, tokens: usize) -> Option<(usize, usize)> {
        self.lengths.iter().copied().enumerate().find(|(_, length)| *length > tokens)
    }

    /// Returns the number of examples of each of `classes` classes.
    pub fn per_class(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label) {
                *count += 1;
            }
        }
        counts
    }

    /// Returns the tokens of each example.
    pub fn ids(&self) -> &[Vec<u32>] {
        &self.ids
    }

    /// Returns the token that fills a batch.
    pub fn padding(&self) -> u32 {
        self.padding
    }

    /// Returns the class of each example.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }
}

//! A split as tokens.

use super::{tokenized_set::TokenizedSet, tokenizer::Tokenizer};
use crate::{
    error::{Error, Result},
    split::Split,
};

/// Training, validation and test set as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedSplit {
    /// Labels; the index of a label is its class.
    pub labels: Vec<String>,
    /// Training set.
    pub train: TokenizedSet,
    /// Validation set.
    pub validation: TokenizedSet,
    /// Test set.
    pub test: TokenizedSet,
    /// Length in tokens to which longer examples are truncated.
    pub max_length: usize,
}

impl Split {
    /// Tokenizes the sets. Validation and test examples are truncated to the length of the
    /// longest training example.
    ///
    /// # Errors
    /// [`Error::EmptyTrainingSet`] if the training set is empty.
    pub fn tokenize(&self, tokenizer: &Tokenizer) -> Result<TokenizedSplit> {
        self.tokenize_to(tokenizer, None)
    }

    /// Tokenizes the sets and truncates every example to `max_length` tokens, if given.
    ///
    /// # Errors
    /// As [`Split::tokenize`].
    pub fn tokenize_to(
        &self,
        tokenizer: &Tokenizer,
        max_length: Option<usize>,
    ) -> Result<TokenizedSplit> {
        let train = TokenizedSet::new(&self.train, tokenizer, max_length);
        if train.is_empty() {
            return Err(Error::EmptyTrainingSet);
        }
        let max_length = max_length.unwrap_or_else(|| train.longest());
        let set = |examples| TokenizedSet::new(examples, tokenizer, Some(max_length));
        let (validation, test) = (set(&self.validation), set(&self.test));
        Ok(TokenizedSplit { labels: self.labels.clone(), train, validation, test, max_length })
    }
}

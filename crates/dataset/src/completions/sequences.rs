//! Examples as sequences of tokens, of which some are learned.

use super::{
    error::CompletionError,
    examples::{CompletionExamples, TextExample},
    place::Place,
    segment::SegmentTokens,
};
use crate::{error::Result, tokens::Tokenizer};

/// Example as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Token ids, at least two.
    pub ids: Vec<u32>,
    /// True for the tokens of a completion; never for the first token.
    pub is_learned: Vec<bool>,
    /// Place of the example.
    pub place: Place,
    /// Index of the example in its set.
    pub example: usize,
}

impl Sequence {
    /// Returns the tokens before the first learned one.
    pub fn prompt(&self) -> &[u32] {
        let first = self.is_learned.iter().position(|is_learned| *is_learned);
        &self.ids[..first.unwrap_or(self.ids.len())]
    }
}

/// Examples of a set as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletionSet {
    /// Examples that have a learned token, in their order.
    pub sequences: Vec<Sequence>,
    /// Examples that were truncated to the maximum length, with their tokens before.
    pub truncated: Vec<(Place, usize)>,
    /// Examples whose prompt alone fills the maximum length, which were dropped, with their tokens.
    pub dropped: Vec<(Place, usize)>,
    /// Tokens of the longest example before truncation.
    pub longest: usize,
}

impl CompletionExamples {
    /// Tokenizes training and validation set.
    ///
    /// Prompt and completion are tokenized separately and concatenated, so that the tokens of a
    /// prompt are the ones that a model sees when it generates. The end-of-text token follows the
    /// completion and is learned. A sequence whose first token would be learned begins with the
    /// end-of-text token. Sequences are truncated to their first `max_length` tokens; one that
    /// has no learned token then is dropped.
    ///
    /// # Errors
    /// [`Error::Completions`](crate::Error::Completions) if no example of a set is left.
    pub fn tokenize(
        &self,
        tokenizer: &Tokenizer,
        end_of_text: u32,
        max_length: usize,
    ) -> Result<[CompletionSet; 2]> {
        let set = |name, examples| set(name, examples, tokenizer, end_of_text, max_length);
        Ok([set("training", &self.train)?, set("validation", &self.validation)?])
    }

    /// As [`CompletionExamples::tokenize`], of examples that were read as one set.
    ///
    /// # Errors
    /// As [`CompletionExamples::tokenize`].
    pub fn tokenize_all(&self, tokenizer: &Tokenizer, max_length: usize) -> Result<CompletionSet> {
        set("evaluation", &self.train, tokenizer, tokenizer.end_of_text(), max_length)
    }
}

/// Tokenizes a set, which must not be empty then.
fn set(
    name: &'static str,
    examples: &[TextExample],
    tokenizer: &Tokenizer,
    end_of_text: u32,
    max_length: usize,
) -> Result<CompletionSet> {
    let set = CompletionSet::new(examples, tokenizer, end_of_text, max_length);
    if set.sequences.is_empty() {
        return Err(CompletionError::AllDropped { set: name, max_length }.into());
    }
    Ok(set)
}

impl CompletionSet {
    fn new(
        examples: &[TextExample],
        tokenizer: &Tokenizer,
        end_of_text: u32,
        max_length: usize,
    ) -> Self {
        let mut set = Self::default();
        for (index, example) in examples.iter().enumerate() {
            let (mut ids, mut is_learned) = tokens(example, tokenizer, end_of_text);
            set.longest = set.longest.max(ids.len());
            let length = ids.len();
            ids.truncate(max_length);
            is_learned.truncate(max_length);
            let place = example.place.clone();
            if !is_learned.contains(&true) {
                set.dropped.push((place, length));
                continue;
            }
            if length > max_length {
                set.truncated.push((place.clone(), length));
            }
            set.sequences.push(Sequence { ids, is_learned, place, example: index });
        }
        set
    }

    /// Returns the number of tokens.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.ids.len()).sum()
    }

    /// Returns the number of learned tokens.
    pub fn learned(&self) -> usize {
        let learned = |sequence: &Sequence| sequence.is_learned.iter().filter(|it| **it).count();
        self.sequences.iter().map(learned).sum()
    }
}

fn tokens(example: &TextExample, tokenizer: &Tokenizer, end: u32) -> (Vec<u32>, Vec<bool>) {
    let (mut tokens, mut is_learned) = (SegmentTokens::new(tokenizer, end), Vec::new());
    for segment in &example.segments {
        tokens.push(segment);
        is_learned.resize(tokens.ids.len(), segment.is_learned);
    }
    let mut ids = tokens.ids;
    if is_learned.first() == Some(&true) {
        ids.insert(0, end);
        is_learned.insert(0, false);
    }
    (ids, is_learned)
}

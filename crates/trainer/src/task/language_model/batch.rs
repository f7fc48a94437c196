//! Batches of token sequences without padding.

use std::rc::Rc;

use dataset::{Sequence, WindowBatch};
use gpt2_model::PackedRows;
use tch::Device;

use crate::{error::Result, task::language_model::sampled_softmax::Candidates};

/// Sequences laid end to end, the next token of each of their tokens, and the candidates of the
/// sampled softmax.
#[derive(Clone, Debug, Default)]
pub struct LanguageModelBatch {
    /// Token ids, `[tokens]`.
    pub(crate) ids: Vec<i64>,
    /// Next token of each token, `[tokens]`.
    pub(crate) targets: Vec<i64>,
    /// True for targets in the loss, `[tokens]`.
    pub(crate) is_learned: Vec<bool>,
    /// Tokens of each sequence.
    pub(crate) lengths: Vec<i64>,
    /// Index of each sequence in its set; of a window its first token.
    pub(crate) examples: Vec<usize>,
    pub(crate) candidates: Option<Rc<Candidates>>,
}

impl LanguageModelBatch {
    /// Batch of windows, with all targets in the loss.
    pub(crate) fn of_windows(windows: WindowBatch, starts: Vec<usize>) -> Self {
        Self {
            is_learned: vec![true; windows.targets.len()],
            lengths: vec![windows.width as i64; windows.rows()],
            ids: windows.ids,
            targets: windows.targets,
            examples: starts,
            candidates: None,
        }
    }

    /// Batch of sequences of token ids, with all targets in the loss: every token but the first of
    /// each sequence.
    pub fn of_sequences<'s>(sequences: impl IntoIterator<Item = &'s [u32]>) -> Self {
        let mut batch = Self::default();
        for (index, ids) in sequences.into_iter().enumerate() {
            batch.push_ids(index, ids, std::iter::repeat_n(true, ids.len()));
        }
        batch
    }

    /// Adds a sequence, whose last token is a target only.
    pub(crate) fn push(&mut self, index: usize, sequence: &Sequence, learns_all: bool) {
        let is_learned = sequence.is_learned.iter().map(|it| *it || learns_all);
        self.push_ids(index, &sequence.ids, is_learned);
    }

    fn push_ids(&mut self, index: usize, ids: &[u32], is_learned: impl Iterator<Item = bool>) {
        let Some((_, inputs)) = ids.split_last() else { return };
        self.ids.extend(inputs.iter().copied().map(i64::from));
        self.targets.extend(ids.iter().skip(1).copied().map(i64::from));
        self.is_learned.extend(is_learned.skip(1));
        self.lengths.push(inputs.len() as i64);
        self.examples.push(index);
    }

    /// Number of tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of targets in the loss.
    pub(crate) fn learned(&self) -> usize {
        self.is_learned.iter().filter(|is_learned| **is_learned).count()
    }

    /// Indices of the tokens whose target is in the loss, or is not.
    pub(crate) fn positions(&self, learned: bool) -> Vec<i64> {
        let places = self.is_learned.iter().zip(0..);
        places.filter(|(is_learned, _)| **is_learned == learned).map(|(_, place)| place).collect()
    }

    /// Targets in the loss.
    pub(crate) fn learned_targets(&self) -> Vec<i64> {
        let targets = self.targets.iter().zip(&self.is_learned);
        targets.filter(|(_, is_learned)| **is_learned).map(|(target, _)| *target).collect()
    }

    /// Sequences of the batch for the model.
    pub(crate) fn packed(&self, device: Device) -> Result<PackedRows> {
        Ok(PackedRows::new(&self.ids, &self.lengths, device)?)
    }

    /// Micro-batches of `size` sequences.
    pub(crate) fn micro_batches(&self, size: usize) -> Vec<Self> {
        let mut first = 0;
        let pairs = self.lengths.chunks(size).zip(self.examples.chunks(size));
        let micro_batch = |(lengths, examples): (&[i64], &[usize])| {
            let end = first + lengths.iter().sum::<i64>() as usize;
            let tokens = first..end;
            first = end;
            Self {
                ids: self.ids[tokens.clone()].to_vec(),
                targets: self.targets[tokens.clone()].to_vec(),
                is_learned: self.is_learned[tokens].to_vec(),
                lengths: lengths.to_vec(),
                examples: examples.to_vec(),
                candidates: self.candidates.clone(),
            }
        };
        pairs.map(micro_batch).collect()
    }
}

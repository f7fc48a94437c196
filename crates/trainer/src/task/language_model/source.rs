//! Training and validation set of a language model, and their batches.

use dataset::{CompletionSet, TorchRng, TrainWindows, randperm, stream_windows};

use crate::{
    config::settings::{LossOn, Settings},
    error::Result,
    task::language_model::batch::LanguageModelBatch,
};

/// Tokens per batch of an evaluation on plain text.
pub(crate) const EVALUATION_TOKENS: usize = 8192;

/// Batches, made as they are needed.
pub(crate) type Batches<'s> = Box<dyn Iterator<Item = LanguageModelBatch> + 's>;

/// Sets of a language model.
#[derive(Clone, Debug)]
pub(crate) enum Source<'a> {
    /// Streams of plain text, read in windows.
    Streams { windows: TrainWindows<'a>, sets: [&'a [u32]; 2], context: usize },
    /// Examples, each a sequence.
    Examples(Examples<'a>),
}

/// Examples of a training and a validation set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Examples<'a> {
    /// Training and validation set.
    pub sets: [&'a CompletionSet; 2],
    pub loss_on: LossOn,
    /// False for texts, which are learned as a whole.
    pub has_prompt: bool,
    /// Examples of an optimizer step.
    pub per_step: usize,
    /// Examples of a batch of an evaluation.
    pub per_batch: usize,
}

/// Sets, in the order of [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Train,
    Validation,
}

impl<'a> Source<'a> {
    /// Windows of two streams of tokens.
    pub fn streams(sets: [&'a [u32]; 2], context: usize, settings: &Settings) -> Result<Self> {
        let training = &settings.training;
        let (size, seed) = (training.examples_per_step(), training.seed);
        let windows = TrainWindows::new(sets[0], context, size, seed)?;
        Ok(Self::Streams { windows, sets, context })
    }

    /// Optimizer steps per epoch; examples that do not fill one are dropped.
    pub fn steps_per_epoch(&self) -> usize {
        match self {
            Self::Streams { windows, .. } => windows.batches_per_epoch(),
            Self::Examples(examples) => examples.sets[0].sequences.len() / examples.per_step,
        }
    }

    /// Batches of an epoch, counted from 1, without the first `skip`. Windows are in an order of
    /// the seed and the epoch; examples in the order of PyTorch's `DataLoader`, which is drawn from
    /// `rng`.
    pub fn epoch<'s>(&'s self, epoch: usize, skip: usize, rng: &mut TorchRng) -> Batches<'s> {
        match self {
            Self::Streams { windows, .. } => {
                let (mut windows, steps) = (windows.clone(), self.steps_per_epoch());
                let first = epoch.saturating_sub(1) * steps;
                Box::new((first + skip..first + steps).map(move |step| {
                    LanguageModelBatch::of_windows(windows.batch(step), windows.starts(step))
                }))
            }
            Self::Examples(examples) => {
                // A base seed for worker processes, which there are none of.
                rng.random_i64();
                let count = examples.sets[0].sequences.len();
                let order = randperm(count, rng.random_i64().unsigned_abs());
                Box::new((skip..self.steps_per_epoch()).map(move |step| {
                    let first = step * examples.per_step;
                    let learns_all = examples.loss_on == LossOn::All;
                    examples.batch(Set::Train, &order[first..first + examples.per_step], learns_all)
                }))
            }
        }
    }

    /// Batches of a set for evaluations, in its order. Targets in the loss are completions.
    pub fn evaluation(&self, set: Set) -> Batches<'_> {
        match self {
            Self::Streams { sets, context, .. } => {
                let rows = (EVALUATION_TOKENS / context).max(1);
                let windows = stream_windows(sets[set as usize], *context, rows);
                Box::new(windows.map(|windows| LanguageModelBatch::of_windows(windows, Vec::new())))
            }
            Self::Examples(examples) => {
                let (count, size) =
                    (examples.sets[set as usize].sequences.len(), examples.per_batch);
                Box::new((0..count).step_by(size).map(move |first| {
                    let indices: Vec<usize> = (first..(first + size).min(count)).collect();
                    examples.batch(set, &indices, false)
                }))
            }
        }
    }

    /// Number of occurrences of each token as a target of the training set.
    pub fn target_counts(&self, vocabulary: usize) -> Vec<u64> {
        let mut counts = vec![0; vocabulary];
        let mut count = |token: u32| {
            if let Some(count) = counts.get_mut(token as usize) {
                *count += 1;
            }
        };
        match self {
            Self::Streams { sets: [train, _], .. } => {
                train.iter().skip(1).for_each(|&token| count(token));
            }
            Self::Examples(examples) => {
                let ids = examples.sets[0].sequences.iter().map(|sequence| &sequence.ids);
                ids.flat_map(|ids| ids.iter().skip(1)).for_each(|&token| count(token));
            }
        }
        counts
    }

    /// Returns whether completions are measured besides all tokens.
    pub fn has_prompt(&self) -> bool {
        matches!(self, Self::Examples(Examples { has_prompt: true, .. }))
    }

    /// Returns whether the loss is over completions alone.
    pub fn learns_completions(&self) -> bool {
        matches!(self, Self::Examples(Examples { loss_on: LossOn::Completions, .. }))
    }
}

impl Examples<'_> {
    fn batch(&self, set: Set, indices: &[usize], learns_all: bool) -> LanguageModelBatch {
        let mut batch = LanguageModelBatch::default();
        for &index in indices {
            if let Some(sequence) = self.sets[set as usize].sequences.get(index) {
                batch.push(index, sequence, learns_all);
            }
        }
        batch
    }
}

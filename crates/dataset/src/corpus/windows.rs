//! Windows of a stream of tokens, for next-token prediction.

use rand_core::Rng;

use super::error::CorpusError;
use crate::{
    error::Result,
    random::{TorchRng, randperm},
};

/// Windows of one length, and the next token of each of their tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowBatch {
    /// Tokens, `[rows, width]`.
    pub ids: Vec<i64>,
    /// Next token of each token, `[rows, width]`.
    pub targets: Vec<i64>,
    /// Tokens per window.
    pub width: usize,
}

impl WindowBatch {
    fn new(stream: &[u32], starts: impl Iterator<Item = usize>, width: usize) -> Self {
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        for start in starts {
            let window = &stream[start..=start + width];
            ids.extend(window[..width].iter().copied().map(i64::from));
            targets.extend(window[1..].iter().copied().map(i64::from));
        }
        Self { ids, targets, width }
    }

    /// Returns the number of windows.
    pub fn rows(&self) -> usize {
        self.ids.len() / self.width.max(1)
    }
}

/// Shuffled batches of windows without gaps or overlaps.
///
/// Each epoch starts at another offset of the stream and has a new order. A batch depends
/// only on the seed and its number, so that training can resume anywhere.
///
/// ```
/// use dataset::TrainWindows;
///
/// let stream: Vec<u32> = (0..100).collect();
/// let mut windows = TrainWindows::new(&stream, 8, 2, 123)?;
/// assert_eq!(windows.batches_per_epoch(), 5);
/// let batch = windows.batch(7);
/// assert_eq!((batch.rows(), batch.width), (2, 8));
/// assert_eq!(batch.targets[0], batch.ids[1]);
/// assert_eq!(TrainWindows::new(&stream, 8, 2, 123)?.batch(7), batch);
/// # Ok::<(), dataset::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainWindows<'a> {
    stream: &'a [u32],
    width: usize,
    batch_size: usize,
    seed: u32,
    /// Windows per epoch.
    count: usize,
    epoch: Option<Epoch>,
}

#[derive(Clone, Debug)]
struct Epoch {
    number: usize,
    offset: usize,
    order: Vec<usize>,
}

impl<'a> TrainWindows<'a> {
    /// Creates batches of `batch_size` windows of `width` tokens.
    ///
    /// # Errors
    /// [`Error::Corpus`](crate::Error::Corpus) if the stream does not fill one batch.
    pub fn new(stream: &'a [u32], width: usize, batch_size: usize, seed: u32) -> Result<Self> {
        if width == 0 || batch_size == 0 {
            return Err(CorpusError::EmptyWindows { width, batch_size }.into());
        }
        // As many as fit at every offset.
        let count = stream.len().saturating_sub(width) / width;
        if count < batch_size {
            let tokens = stream.len();
            return Err(CorpusError::TooFewTokens { tokens, batch_size, width }.into());
        }
        Ok(Self { stream, width, batch_size, seed, count, epoch: None })
    }

    /// Returns the number of batches per epoch; windows that do not fill one are dropped.
    pub fn batches_per_epoch(&self) -> usize {
        self.count / self.batch_size
    }

    /// Returns the batch of a step, from 0, counted over all epochs.
    pub fn batch(&mut self, step: usize) -> WindowBatch {
        WindowBatch::new(self.stream, self.starts(step).into_iter(), self.width)
    }

    /// Returns the positions in the stream of the first tokens of the windows of that batch.
    pub fn starts(&mut self, step: usize) -> Vec<usize> {
        let number = step / self.batches_per_epoch();
        let epoch = match self.epoch.take() {
            Some(epoch) if epoch.number == number => epoch,
            _ => self.draw(number),
        };
        let first = step % self.batches_per_epoch() * self.batch_size;
        let windows = epoch.order[first..first + self.batch_size].iter();
        let starts = windows.map(|&window| epoch.offset + window * self.width).collect();
        self.epoch = Some(epoch);
        starts
    }

    fn draw(&self, number: usize) -> Epoch {
        let mut rng = TorchRng::manual_seed(self.seed.into());
        for _ in 0..number {
            rng.next_u64();
        }
        let seed = rng.next_u64();
        let order = randperm(self.count, seed);
        // The low half of the seed makes the order, the high one the offset.
        Epoch { number, offset: (seed >> 32) as usize % self.width, order }
    }
}

/// Divides a stream into consecutive windows in batches; the last window may be shorter and
/// is then a separate batch. Every token but the first is a target once. A `width` or
/// `batch_size` of 0 counts as 1.
pub fn stream_windows(
    stream: &[u32],
    width: usize,
    batch_size: usize,
) -> impl Iterator<Item = WindowBatch> {
    let (width, batch_size) = (width.max(1), batch_size.max(1));
    let targets = stream.len().saturating_sub(1);
    let whole = targets / width;
    let full = (0..whole).step_by(batch_size).map(move |first| {
        let starts = (first..(first + batch_size).min(whole)).map(|window| window * width);
        WindowBatch::new(stream, starts, width)
    });
    let rest = targets % width;
    let last = (rest > 0).then(|| WindowBatch::new(stream, std::iter::once(whole * width), rest));
    full.chain(last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stream_shorter_than_one_batch_is_rejected() {
        let stream: Vec<u32> = (0..20).collect();
        assert!(TrainWindows::new(&stream, 8, 1, 0).is_ok());
        let problem = |width, batch_size| match TrainWindows::new(&stream, width, batch_size, 0)
            .unwrap_err()
        {
            crate::Error::Corpus { problem, .. } => problem,
            other => panic!("{other:?}"),
        };
        let too_few = CorpusError::TooFewTokens { tokens: 20, batch_size: 2, width: 8 };
        assert_eq!(problem(8, 2), too_few);
        for (width, batch_size) in [(0, 1), (8, 0)] {
            let expected = CorpusError::EmptyWindows { width, batch_size };
            assert_eq!(problem(width, batch_size), expected);
        }
        // The smallest stream that fills a batch.
        let stream: Vec<u32> = (0..24).collect();
        assert!(TrainWindows::new(&stream, 8, 2, 0).is_ok());
        assert!(TrainWindows::new(&stream[1..], 8, 2, 0).is_err());
    }

    proptest! {
        #[test]
        fn epochs_have_no_token_twice(
            length in 1usize..400, width in 1usize..20, batch_size in 1usize..5, seed: u32,
            epoch in 0usize..4,
        ) {
            let stream: Vec<u32> = (0..length as u32).collect();
            let Ok(mut windows) = TrainWindows::new(&stream, width, batch_size, seed) else {
                return Err(TestCaseError::reject("too few tokens"));
            };
            let steps = windows.batches_per_epoch();
            let mut seen = BTreeSet::new();
            for step in epoch * steps..(epoch + 1) * steps {
                let batch = windows.batch(step);
                prop_assert_eq!(batch.rows(), batch_size);
                for (id, target) in batch.ids.iter().zip(&batch.targets) {
                    prop_assert_eq!(id + 1, *target);
                    prop_assert!(seen.insert(*id));
                }
            }
            // What is left out is less than two windows and a batch.
            prop_assert!(seen.len() + 2 * width + batch_size * width > length);
        }

        #[test]
        fn stream_windows_cover_the_whole_stream(length in 0usize..200, width in 1usize..20, rows in 1usize..5) {
            let stream: Vec<u32> = (0..length as u32).collect();
            let targets: Vec<i64> =
                stream_windows(&stream, width, rows).flat_map(|batch| batch.targets).collect();
            let expected: Vec<i64> = (1..length as i64).collect();
            prop_assert_eq!(targets, expected);
            prop_assert!(stream_windows(&stream, width, rows).all(|batch| batch.rows() <= rows));
        }
    }

    #[test]
    fn epochs_differ_and_are_reproducible() {
        let stream: Vec<u32> = (0..1000).collect();
        let of = |seed, step| TrainWindows::new(&stream, 10, 4, seed).unwrap().batch(step);
        assert_eq!(of(1, 30), of(1, 30));
        assert_ne!(of(1, 0), of(2, 0));
        let steps = TrainWindows::new(&stream, 10, 4, 1).unwrap().batches_per_epoch();
        assert_ne!(of(1, 0), of(1, steps));
    }
}

//! Batches in the order of PyTorch's `DataLoader`.

use super::{
    batch::{Batch, Padding, check_width},
    error::BatchError,
};
use crate::{
    error::Result,
    random::{TorchRng, randperm},
    tokens::TokenizedSet,
};

/// Divides a set into batches, in the order of PyTorch's `DataLoader` (without worker
/// processes).
#[derive(Clone, Copy, Debug)]
pub struct DataLoader<'a> {
    set: &'a TokenizedSet,
    batch_size: usize,
    padding: Padding,
    shuffle: bool,
    drop_last: bool,
}

impl<'a> DataLoader<'a> {
    /// Creates a loader of `batch_size` examples per batch. With `shuffle`, every pass has
    /// a new order; with `drop_last`, an incomplete last batch is dropped.
    ///
    /// # Errors
    /// [`Error::Batch`](crate::Error::Batch) if `batch_size` is 0, if with `drop_last` there is no
    /// complete batch, or if an example is longer than the padding.
    pub fn new(
        set: &'a TokenizedSet,
        batch_size: usize,
        padding: Padding,
        shuffle: bool,
        drop_last: bool,
    ) -> Result<Self> {
        let rows = set.len();
        if batch_size == 0 {
            return Err(BatchError::ZeroSize.into());
        }
        if drop_last && rows < batch_size {
            return Err(BatchError::NoCompleteBatch { batch_size, examples: rows }.into());
        }
        if let Padding::To(width) = padding {
            check_width(set.longest(), width)?;
        }
        Ok(Self { set, batch_size, padding, shuffle, drop_last })
    }

    /// Returns the examples.
    pub fn set(&self) -> &'a TokenizedSet {
        self.set
    }

    /// Returns the number of examples per batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Returns the padding.
    pub fn padding(&self) -> Padding {
        self.padding
    }

    /// Returns the number of batches in a pass.
    pub fn batch_count(&self) -> usize {
        if self.drop_last {
            self.set.len() / self.batch_size
        } else {
            self.set.len().div_ceil(self.batch_size)
        }
    }

    /// Starts a pass.
    ///
    /// As PyTorch does, a pass draws an int64 from `rng` that nothing uses here
    /// (a base seed for worker processes), and a shuffled one a second that seeds
    /// the permutation. Both are drawn at once: PyTorch draws the second with the
    /// first batch, which is the same as long as nothing is drawn in between.
    pub fn iter(&self, rng: &mut TorchRng) -> Batches<'a> {
        let rows = self.set.len();
        rng.random_i64();
        let order = if self.shuffle {
            randperm(rows, rng.random_i64().unsigned_abs())
        } else {
            (0..rows).collect()
        };
        Batches { loader: *self, order, next: 0 }
    }
}

/// Iterator over the batches of one pass; see [`DataLoader::iter`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    loader: DataLoader<'a>,
    order: Vec<usize>,
    /// Number of the batch that comes next.
    next: usize,
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.len() == 0 {
            return None;
        }
        let start = self.next * self.loader.batch_size;
        let end = (start + self.loader.batch_size).min(self.order.len());
        self.next += 1;
        let DataLoader { set, padding, .. } = self.loader;
        Some(Batch::of_known(set, &self.order[start..end], padding))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.loader.batch_count() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches<'_> {}

impl std::iter::FusedIterator for Batches<'_> {}

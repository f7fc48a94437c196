//! Batches.

use crate::{
    encoded::Encoded,
    error::{Error, Result},
    permutation::randperm,
    tokenizer::END_OF_TEXT,
    torch_rng::TorchRng,
};

/// How far the rows of a batch are filled up with [`END_OF_TEXT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// To this many tokens, in every batch.
    To(usize),
    /// To the longest row of the batch.
    Longest,
    /// Not at all: rows of their own lengths follow each other.
    Packed,
}

/// Rows to be given to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Tokens, one row after the other: `[rows, width]`, or as many as the
    /// `lengths` say where rows are packed.
    pub ids: Vec<i64>,
    /// Tokens in each row, padding included; `None` where rows are packed.
    pub width: Option<usize>,
    /// Tokens of each row without padding, at least 1, `[rows]`.
    pub lengths: Vec<i64>,
    /// Class of each row, `[rows]`.
    pub labels: Vec<i64>,
    /// Number of each row in its part, from 0, `[rows]`.
    pub row_numbers: Vec<usize>,
}

impl Batch {
    /// The rows of these numbers, in this order.
    ///
    /// # Errors
    /// [`Error::Config`] if the part has no row of a number, or if a row is longer
    /// than the padding.
    pub fn of(encoded: &Encoded, row_numbers: &[usize], padding: Padding) -> Result<Self> {
        check_rows(encoded, row_numbers)?;
        if let Padding::To(width) = padding {
            let lengths = row_numbers.iter().map(|&row| encoded.ids()[row].len());
            check_width(lengths.max().unwrap_or(0), width)?;
        }
        Ok(Self::of_known(encoded, row_numbers, padding))
    }

    /// As [`Batch::of`], of rows that were looked at.
    pub(crate) fn of_known(encoded: &Encoded, row_numbers: &[usize], padding: Padding) -> Self {
        let (all, classes) = (encoded.ids(), encoded.labels());
        let lengths = row_numbers.iter().map(|&row| all[row].len());
        let width = match padding {
            Padding::To(width) => Some(width),
            Padding::Longest => Some(lengths.clone().max().unwrap_or(0)),
            Padding::Packed => None,
        };
        let mut ids = Vec::new();
        for (end, &row) in (1..).zip(row_numbers) {
            ids.extend(all[row].iter().copied().map(i64::from));
            if let Some(width) = width {
                ids.resize(end * width, i64::from(END_OF_TEXT));
            }
        }
        Self {
            ids,
            width,
            lengths: lengths.map(|length| length as i64).collect(),
            labels: row_numbers.iter().map(|&row| classes[row] as i64).collect(),
            row_numbers: row_numbers.to_vec(),
        }
    }

    /// The same rows in batches of at most `most` rows, at least one, padded as
    /// they are.
    pub fn pieces(&self, most: usize) -> Vec<Self> {
        let most = most.max(1);
        let (mut pieces, mut start) = (Vec::new(), 0);
        for (number, row_numbers) in self.row_numbers.chunks(most).enumerate() {
            let rows = number * most..number * most + row_numbers.len();
            let lengths = &self.lengths[rows.clone()];
            let ids = match self.width {
                Some(width) => width * lengths.len(),
                None => lengths.iter().sum::<i64>() as usize,
            };
            pieces.push(Self {
                ids: self.ids[start..start + ids].to_vec(),
                width: self.width,
                lengths: lengths.to_vec(),
                labels: self.labels[rows].to_vec(),
                row_numbers: row_numbers.to_vec(),
            });
            start += ids;
        }
        pieces
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.row_numbers.len()
    }
}

/// Refuses numbers that no row of a part has.
pub(crate) fn check_rows(encoded: &Encoded, row_numbers: &[usize]) -> Result<()> {
    let count = encoded.len();
    match row_numbers.iter().find(|&&row| row >= count) {
        Some(row) => Err(Error::Config(format!(
            "row {row} was asked for, but the part has {count} rows, numbered from 0"
        ))),
        None => Ok(()),
    }
}

/// Refuses rows of `longest` tokens where a batch is to be `width` tokens wide.
fn check_width(longest: usize, width: usize) -> Result<()> {
    if longest <= width {
        return Ok(());
    }
    Err(Error::Config(format!(
        "rows are padded to {width} tokens, but the longest has {longest}: cut rows to {width}, \
         or pad to {longest}"
    )))
}

/// Cuts a part into batches, in the order of PyTorch's `DataLoader` (without
/// worker processes).
#[derive(Clone, Copy, Debug)]
pub struct DataLoader<'a> {
    encoded: &'a Encoded,
    batch_size: usize,
    padding: Padding,
    shuffle: bool,
    drop_last: bool,
}

impl<'a> DataLoader<'a> {
    /// Batches of `batch_size` rows of `encoded`. With `shuffle`, every pass has
    /// an order of its own; with `drop_last`, a last batch that is not full is
    /// left out.
    ///
    /// # Errors
    /// [`Error::Config`] if `batch_size` is 0, if with `drop_last` there is not
    /// one full batch, or if a row is longer than the padding.
    pub fn new(
        encoded: &'a Encoded,
        batch_size: usize,
        padding: Padding,
        shuffle: bool,
        drop_last: bool,
    ) -> Result<Self> {
        let rows = encoded.len();
        if batch_size == 0 {
            return Err(Error::Config("a batch of 0 rows is none: ask for 1 or more".into()));
        }
        if drop_last && rows < batch_size {
            return Err(Error::Config(format!(
                "{batch_size} rows a batch, but there are only {rows} and an incomplete batch is \
                 dropped: ask for {rows} or fewer, or for more data"
            )));
        }
        if let Padding::To(width) = padding {
            check_width(encoded.longest(), width)?;
        }
        Ok(Self { encoded, batch_size, padding, shuffle, drop_last })
    }

    /// The rows that are cut into batches.
    pub fn encoded(&self) -> &'a Encoded {
        self.encoded
    }

    /// Rows in a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// How far they are padded.
    pub fn padding(&self) -> Padding {
        self.padding
    }

    /// Number of batches in a pass.
    pub fn batch_count(&self) -> usize {
        match self.drop_last {
            true => self.encoded.len() / self.batch_size,
            false => self.encoded.len().div_ceil(self.batch_size),
        }
    }

    /// One pass.
    ///
    /// As PyTorch does, a pass draws an int64 from `rng` that nothing uses here
    /// (a base seed for worker processes), and a shuffled one a second that seeds
    /// the permutation. Both are drawn at once: PyTorch draws the second with the
    /// first batch, which is the same as long as nothing is drawn in between.
    pub fn iter(&self, rng: &mut TorchRng) -> Batches<'a> {
        let rows = self.encoded.len();
        rng.random_i64();
        let order = match self.shuffle {
            true => randperm(rows, rng.random_i64().unsigned_abs()),
            false => (0..rows).collect(),
        };
        Batches { loader: *self, order, next: 0 }
    }
}

/// The batches of one pass; made by [`DataLoader::iter`].
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
        let DataLoader { encoded, padding, .. } = self.loader;
        Some(Batch::of_known(encoded, &self.order[start..end], padding))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.loader.batch_count() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches<'_> {}

impl std::iter::FusedIterator for Batches<'_> {}

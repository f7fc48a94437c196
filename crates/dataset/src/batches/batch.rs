//! Batches of tokenized examples.

use super::error::BatchError;
use crate::{error::Result, tokens::TokenizedSet};

/// Padding of the examples of a batch with the tokenizer's padding token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// To a fixed number of tokens.
    To(usize),
    /// To the longest example of the batch.
    Longest,
    /// No padding: examples of different lengths follow each other.
    Packed,
}

/// Examples that are processed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Tokens of one example after the other: `[rows, width]`, or packed according to
    /// `lengths`.
    pub ids: Vec<i64>,
    /// Tokens per example, padding included; `None` if examples are packed.
    pub width: Option<usize>,
    /// Tokens of each example without padding, at least 1, `[rows]`.
    pub lengths: Vec<i64>,
    /// Class of each example, `[rows]`.
    pub labels: Vec<i64>,
    /// Index of each example in its set, `[rows]`.
    pub row_numbers: Vec<usize>,
}

impl Batch {
    /// Makes a batch of the examples with these indices, in this order.
    ///
    /// # Errors
    /// [`Error::Batch`](crate::Error::Batch) if an index is out of range, or if an example is
    /// longer than the padding.
    pub fn of(set: &TokenizedSet, row_numbers: &[usize], padding: Padding) -> Result<Self> {
        check_rows(set, row_numbers)?;
        if let Padding::To(width) = padding {
            let lengths = row_numbers.iter().map(|&row| set.ids()[row].len());
            check_width(lengths.max().unwrap_or(0), width)?;
        }
        Ok(Self::of_known(set, row_numbers, padding))
    }

    /// As [`Batch::of`], with checked indices and lengths.
    pub(crate) fn of_known(set: &TokenizedSet, row_numbers: &[usize], padding: Padding) -> Self {
        let (all, classes) = (set.ids(), set.labels());
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
                ids.resize(end * width, i64::from(set.padding()));
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

    /// Divides the batch into micro-batches of at most `most` examples, at least one, padded
    /// as they are.
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

    /// Returns the number of examples.
    pub fn rows(&self) -> usize {
        self.row_numbers.len()
    }
}

/// Refuses indices that are out of range.
pub(crate) fn check_rows(set: &TokenizedSet, row_numbers: &[usize]) -> Result<()> {
    let count = set.len();
    match row_numbers.iter().find(|&&row| row >= count) {
        Some(&index) => Err(BatchError::Index { index, examples: count }.into()),
        None => Ok(()),
    }
}

/// Refuses examples of `longest` tokens in batches of `width` tokens.
pub(crate) fn check_width(longest: usize, width: usize) -> Result<()> {
    if longest <= width {
        return Ok(());
    }
    Err(BatchError::PaddingWidth { longest, width }.into())
}

//! Packed sequences of different lengths.

use tch::{Device, TchError, Tensor};

use crate::{
    error::{ArgumentError, Error, Result},
    tensor::integers,
};

/// Rows of token ids laid end to end, without padding: linear layers and norms
/// run over `[tokens, dim]`, and only attention knows the row boundaries.
#[derive(Debug)]
pub struct PackedRows {
    ids: Tensor,
    positions: Tensor,
    last: Tensor,
    runs: Vec<Run>,
    longest: i64,
}

/// Neighboring rows of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub rows: i64,
    pub length: i64,
}

impl PackedRows {
    /// Packs rows of `lengths` tokens each, whose token ids follow each other in `ids`.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are no rows, a row has no tokens, or the lengths do
    /// not add up to the number of ids.
    pub fn new(ids: &[i64], lengths: &[i64], device: Device) -> Result<Self> {
        let tokens: i64 = lengths.iter().sum();
        if lengths.is_empty() || tokens != ids.len() as i64 {
            let (rows, ids) = (lengths.len(), ids.len());
            return Err(ArgumentError::Lengths { rows, tokens, ids }.into());
        }
        if lengths.iter().any(|&length| length < 1) {
            return Err(ArgumentError::EmptyRow.into());
        }
        let positions: Vec<i64> = lengths.iter().flat_map(|&length| 0..length).collect();
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end - 1)
        });
        Ok(Self {
            ids: integers(ids, device)?,
            positions: integers(&positions, device)?,
            last: integers(&ends.collect::<Vec<_>>(), device)?,
            runs: runs(lengths),
            longest: lengths.iter().copied().max().unwrap_or(0),
        })
    }

    /// Token ids `[tokens]`.
    pub fn ids(&self) -> &Tensor {
        &self.ids
    }

    /// Position of each token in its row, from 0, `[tokens]`.
    pub fn positions(&self) -> &Tensor {
        &self.positions
    }

    /// Index of the last token of each row, `[rows]`.
    pub fn last(&self) -> &Tensor {
        &self.last
    }

    /// Runs of neighboring rows of one length.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Tokens of each row.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        let runs = self.runs.iter();
        runs.flat_map(|run| std::iter::repeat_n(run.length as usize, run.rows as usize))
    }

    /// `[tokens, dim]` → the tokens of each run.
    pub(crate) fn split(&self, values: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let sizes: Vec<i64> = self.runs.iter().map(|run| run.rows * run.length).collect();
        values.f_split_with_sizes(sizes.as_slice(), 0)
    }

    /// Refuses rows that have more tokens than the model has positions.
    pub(crate) fn check_context(&self, context: i64) -> Result<()> {
        if self.longest > context {
            return Err(Error::TooLong { length: self.longest, context });
        }
        Ok(())
    }
}

fn runs(lengths: &[i64]) -> Vec<Run> {
    let same = lengths.chunk_by(|one, next| one == next);
    same.map(|run| Run { rows: run.len() as i64, length: run[0] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighboring_rows_of_one_length_form_a_run() {
        let run = |rows, length| Run { rows, length };
        assert_eq!(runs(&[3, 3, 1, 3]), [run(2, 3), run(1, 1), run(1, 3)]);
    }

    #[test]
    fn positions_and_last_tokens() {
        let rows = PackedRows::new(&[7, 8, 9, 5, 6], &[3, 2], Device::Cpu).unwrap();
        assert_eq!(rows.positions(), &Tensor::from_slice(&[0i64, 1, 2, 0, 1]));
        assert_eq!(rows.last(), &Tensor::from_slice(&[2i64, 4]));
    }

    #[test]
    fn invalid_lengths_are_refused() {
        for (ids, lengths) in [(&[1, 2][..], &[3][..]), (&[], &[]), (&[1], &[1, 0])] {
            let error = PackedRows::new(ids, lengths, Device::Cpu).unwrap_err();
            assert!(matches!(error, Error::Argument(_)), "{lengths:?}: {error}");
        }
    }
}

//! Rows of different lengths, laid end to end.

use tch::{Device, TchError, Tensor};

use crate::{
    device::upload,
    error::{Error, Result},
};

/// Rows of token ids laid end to end, without padding: linear layers and norms
/// run over `[tokens, dim]`, and only attention knows where a row ends.
#[derive(Debug)]
pub struct PackedRows {
    ids: Tensor,
    positions: Tensor,
    last: Tensor,
    runs: Vec<Run>,
    longest: i64,
}

/// Rows of one length that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub rows: i64,
    pub length: i64,
}

impl PackedRows {
    /// Rows of `lengths` tokens each, whose token ids follow each other in `ids`.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no row, if one has no token or if the
    /// lengths do not add up to the ids.
    pub fn new(ids: &[i64], lengths: &[i64], device: Device) -> Result<Self> {
        let tokens: i64 = lengths.iter().sum();
        if lengths.is_empty() || tokens != ids.len() as i64 {
            return Err(Error::Argument(format!(
                "{} rows of {tokens} tokens in all are not the {} token ids given",
                lengths.len(),
                ids.len()
            )));
        }
        if lengths.iter().any(|&length| length < 1) {
            return Err(Error::Argument("a row without a token has no last one".to_owned()));
        }
        let positions: Vec<i64> = lengths.iter().flat_map(|&length| 0..length).collect();
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end - 1)
        });
        Ok(Self {
            ids: upload(ids, device)?,
            positions: upload(&positions, device)?,
            last: upload(&ends.collect::<Vec<_>>(), device)?,
            runs: runs(lengths),
            longest: lengths.iter().copied().max().unwrap_or(0),
        })
    }

    /// Token ids `[tokens]`.
    pub fn ids(&self) -> &Tensor {
        &self.ids
    }

    /// Place of each token in its row, from 0, `[tokens]`.
    pub fn positions(&self) -> &Tensor {
        &self.positions
    }

    /// Index of the last token of each row, `[rows]`.
    pub fn last(&self) -> &Tensor {
        &self.last
    }

    /// Rows of one length that follow each other.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// `[tokens, dim]` → the part of each run.
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
    fn neighbours_of_one_length_are_a_run() {
        let run = |rows, length| Run { rows, length };
        assert_eq!(runs(&[3, 3, 1, 3]), [run(2, 3), run(1, 1), run(1, 3)]);
    }

    #[test]
    fn every_token_knows_its_place() {
        let rows = PackedRows::new(&[7, 8, 9, 5, 6], &[3, 2], Device::Cpu).unwrap();
        assert_eq!(rows.positions(), &Tensor::from_slice(&[0i64, 1, 2, 0, 1]));
        assert_eq!(rows.last(), &Tensor::from_slice(&[2i64, 4]));
    }

    #[test]
    fn rows_without_meaning_are_refused() {
        for (ids, lengths) in [(&[1, 2][..], &[3][..]), (&[], &[]), (&[1], &[1, 0])] {
            assert!(PackedRows::new(ids, lengths, Device::Cpu).is_err(), "{lengths:?}");
        }
    }
}

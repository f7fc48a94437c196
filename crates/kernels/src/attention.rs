//! Causal self-attention of one sequence (Vaswani et al. 2017).
//!
//! Scores are computed transposed, `[keys, queries]`, for a block of queries at a time: one lane is
//! one query, so the softmax needs no sums across lanes, and only the queries are transposed for
//! the products. The gradient computes the probabilities again from the logarithms of their sums, as
//! FlashAttention does (Dao et al. 2022, algorithm 4); memory grows with the length, not its square.

mod backward;
mod forward;
mod single_query;

use std::ops::Range;

pub use single_query::attend;

use crate::error::{Error, check_length, check_shape};
use crate::matrix::Matrix;
use crate::product::INNER_BLOCK;

/// Queries whose scores are computed at a time.
const QUERIES: usize = 64;
/// Keys whose scores are computed at a time in the gradient: with the gradients of the scores, 192
/// KiB, which the second-level cache of every common CPU holds. A multiple of the length of partial
/// sums, so that the sums over keys are added in the same order as without blocks of keys.
const KEYS: usize = INNER_BLOCK;

/// Causal self-attention of one sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Features of a head.
    pub head_size: usize,
    /// Factor on the scores, usually `1 / sqrt(head_size)`.
    pub scale: f32,
}

/// Sizes of a call.
#[derive(Clone, Copy)]
struct Sizes {
    /// Tokens of the sequence, keys of the last query.
    length: usize,
    /// Tokens that are queries, the last ones.
    queries: usize,
    /// Features of all heads.
    width: usize,
}

/// A block of queries of a head.
#[derive(Clone)]
struct Block {
    /// First query.
    first: usize,
    /// Queries.
    count: usize,
    /// Keys of the first query, itself included.
    first_keys: usize,
    /// Keys that are computed, up to the last query.
    keys: Range<usize>,
    /// Elements from the scores of one key to the next.
    stride: usize,
}

impl Attention {
    fn sizes(&self, qkv: &Matrix<'_>, output: [usize; 2], log_sums: usize) -> Result<Sizes, Error> {
        let width = self.heads * self.head_size;
        let ([length, _], [queries, _]) = (qkv.shape(), output);
        check_shape("queries, keys and values", [length, 3 * width], qkv.shape())?;
        check_shape("output of attention", [queries, width], output)?;
        check_length("logarithms of sums", self.heads * queries, log_sums)?;
        qkv.check_row_major("column stride of queries, keys and values")?;
        if queries > length {
            let expected = "at most the tokens of the sequence";
            return Err(Error::Setting { what: "queries", expected, got: queries });
        }
        Ok(Sizes { length, queries, width })
    }
}

impl Sizes {
    fn blocks(self) -> impl DoubleEndedIterator<Item = Block> {
        (0..self.queries.div_ceil(QUERIES)).map(move |block| {
            let first = block * QUERIES;
            let count = QUERIES.min(self.queries - first);
            let first_keys = self.length - self.queries + first + 1;
            let keys = 0..first_keys + count - 1;
            Block { first, count, first_keys, keys, stride: count.next_multiple_of(16) }
        })
    }
}

impl Block {
    /// Sets what a query may not see to `value`: keys behind it.
    fn mask(&self, value: f32, scores: &mut [f32]) {
        for key in self.first_keys.max(self.keys.start)..self.keys.end {
            let hidden = key + 1 - self.first_keys;
            scores[(key - self.keys.start) * self.stride..][..hidden].fill(value);
        }
    }

    /// Divides the keys.
    fn tiles(&self) -> impl Iterator<Item = Self> {
        let starts = self.keys.clone().step_by(KEYS);
        starts.map(|start| Self { keys: start..self.keys.end.min(start + KEYS), ..self.clone() })
    }
}

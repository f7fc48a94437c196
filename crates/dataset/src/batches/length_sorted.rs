//! Batches for inference.

use super::batch::{Batch, Padding, check_rows};
use crate::{error::Result, tokens::TokenizedSet};

/// Sorts the examples with these indices by length and packs them into batches of at most
/// `tokens` tokens, but at least one example. Batches of one size cost about the same time,
/// and examples of similar length can be attended to together. Examples of one length stay
/// in the order given.
///
/// [`Batch::row_numbers`] puts the results back in order.
///
/// # Errors
/// [`Error::Batch`](crate::Error::Batch) if an index is out of range.
pub fn length_sorted_batches(
    set: &TokenizedSet,
    rows: impl IntoIterator<Item = usize>,
    tokens: usize,
) -> Result<impl Iterator<Item = Batch>> {
    let length = |row: usize| set.ids()[row].len();
    let mut order: Vec<usize> = rows.into_iter().collect();
    check_rows(set, &order)?;
    order.sort_by_key(|&row| length(row));
    let mut next = 0;
    Ok(std::iter::from_fn(move || {
        let left = &order[next..];
        let mut sum = 0;
        let fitting = left.iter().take_while(|&&row| {
            sum += length(row);
            sum <= tokens
        });
        let count = fitting.count().max(1).min(left.len());
        next += count;
        (count > 0).then(|| Batch::of_known(set, &left[..count], Padding::Packed))
    }))
}

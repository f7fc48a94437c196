//! Batches for a model that only answers.

use crate::{
    encoded::Encoded,
    error::Result,
    loader::{Batch, Padding, check_rows},
};

/// The rows of a part that have these numbers, packed, in the order of their
/// lengths, as many in a batch as have at most `tokens` tokens together, but at
/// least one. Rows of one length stand in the order given. They can be attended to
/// together, and with batches of one size none is much slower than another.
///
/// What comes of them is put back in order by [`Batch::row_numbers`].
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if the part has no row of a number.
pub fn by_length(
    encoded: &Encoded,
    rows: impl IntoIterator<Item = usize>,
    tokens: usize,
) -> Result<impl Iterator<Item = Batch>> {
    let length = |row: usize| encoded.ids()[row].len();
    let mut order: Vec<usize> = rows.into_iter().collect();
    check_rows(encoded, &order)?;
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
        (count > 0).then(|| Batch::of_known(encoded, &left[..count], Padding::Packed))
    }))
}

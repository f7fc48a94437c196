//! Threads that share the work of a shard.

use std::{ops::Range, thread};

use kernels::{Isa, Matrix, MatrixMut, PackedWeights, Scratch, Write, multiply};

use crate::error::{Error, Result};

/// Floating-point operations below which work is not divided: a core does them in about the time
/// in which ten threads start. Tests divide everything.
const MIN_OPERATIONS: usize = if cfg!(test) { 1 } else { 1 << 23 };

/// Threads that share the work of a shard. The bits of a result do not depend on their number: each
/// computes some rows or heads, which do not depend on the others.
#[derive(Debug, Default)]
pub(super) struct Team {
    /// Work memory of each thread.
    scratches: Vec<Scratch>,
}

impl Team {
    /// Sets the number of threads, at least one.
    pub fn resize(&mut self, threads: usize) {
        self.scratches.resize_with(threads, Scratch::default);
    }

    /// Work memory of the threads among which `items` with this many operations are divided.
    pub fn members(&mut self, items: usize, operations: usize) -> &mut [Scratch] {
        let most = if operations < MIN_OPERATIONS { 1 } else { items.max(1) };
        let count = self.scratches.len().min(most);
        &mut self.scratches[..count]
    }

    /// Computes `output = alpha * left * right`, plus what `write` says.
    pub fn multiply(
        &mut self,
        isa: Isa,
        alpha: f32,
        left: &Matrix<'_>,
        right: &Matrix<'_>,
        output: &mut MatrixMut<'_>,
        write: Write<'_>,
    ) -> Result<()> {
        self.rows(left, right.shape()[1], output, |left, output, scratch| {
            multiply(isa, alpha, left, right, output, write, scratch)
        })
    }

    /// Computes `output = input * weights`, plus what `write` says.
    pub fn multiply_packed(
        &mut self,
        input: &Matrix<'_>,
        weights: &PackedWeights,
        output: &mut MatrixMut<'_>,
        write: Write<'_>,
    ) -> Result<()> {
        self.rows(input, weights.shape()[1], output, |input, output, scratch| {
            weights.multiply(input, output, write, scratch)
        })
    }

    /// Computes a product with `columns` columns, whose rows are divided among the threads.
    fn rows(
        &mut self,
        left: &Matrix<'_>,
        columns: usize,
        output: &mut MatrixMut<'_>,
        product: impl Fn(&Matrix<'_>, &mut MatrixMut<'_>, &mut Scratch) -> Result<(), kernels::Error>
        + Sync,
    ) -> Result<()> {
        let [rows, inner] = left.shape();
        let members = self.members(rows, 2 * rows * inner * columns);
        let ranges = divide(rows, members.len());
        let mut rest = output.rows(0..rows)?;
        let mut pieces = Vec::with_capacity(members.len());
        for (range, scratch) in ranges.zip(members) {
            let (piece, others) = rest.split_at_row(range.len())?;
            rest = others;
            pieces.push((left.rows(range)?, piece, scratch));
        }
        on_threads(pieces, |(left, mut output, scratch)| {
            Ok(product(&left, &mut output, scratch)?)
        })?;
        Ok(())
    }

    /// Computes `output` from `input` element by element, at `cost` operations for each.
    pub fn elements(
        &mut self,
        cost: usize,
        input: &[f32],
        output: &mut [f32],
        compute: impl Fn(&[f32], &mut [f32]) -> Result<(), kernels::Error> + Sync,
    ) -> Result<()> {
        let length = input.len();
        let size = length.div_ceil(self.members(length, cost * length).len()).max(1);
        let pieces = input.chunks(size).zip(output.chunks_mut(size));
        on_threads(pieces, |(input, output)| Ok(compute(input, output)?))?;
        Ok(())
    }
}

/// Divides `count` things into consecutive ranges of about the same length.
pub(super) fn divide(count: usize, ranges: usize) -> impl Iterator<Item = Range<usize>> {
    (0..ranges).map(move |range| count * range / ranges..count * (range + 1) / ranges)
}

/// Calls `work` with every item, each on a thread of its own, the first on this one.
pub(super) fn on_threads<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let (mut items, work) = (items.into_iter(), &work);
    let Some(first) = items.next() else { return Ok(Vec::new()) };
    thread::scope(|scope| {
        let start = |item| {
            let thread = thread::Builder::new().spawn_scoped(scope, move || work(item));
            thread.map_err(Error::Thread)
        };
        let others = items.map(start).collect::<Result<Vec<_>>>()?;
        let mut results = vec![work(first)];
        for other in others {
            results.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results.into_iter().collect()
    })
}

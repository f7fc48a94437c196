//! Work memory of a thread.

use crate::error::Error;

/// Work memory of the kernels, one for each thread. It grows to the largest product or attention
/// seen and is never shrunk, so a step allocates nothing once each of its sizes has been seen.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A block of the right factor, as a panel.
    pub(crate) panel: Aligned,
    /// The left factor of a product with bfloat16 weights, rounded.
    pub(crate) rounded: Aligned,
    /// Attention scores and their gradients.
    pub(crate) scores: Aligned,
    /// Gradients of scores, and sums over the rows of attention.
    pub(crate) score_gradients: Aligned,
}

impl Scratch {
    /// Returns empty work memory.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Changes the length of a vector as [`Vec::resize`] does.
///
/// # Errors
/// [`Error::Memory`] if memory runs out, with the vector unchanged.
pub fn resize<T: Clone>(values: &mut Vec<T>, length: usize, value: T) -> Result<(), Error> {
    let missing = length.saturating_sub(values.len());
    let error = |_| Error::Memory { bytes: length.saturating_mul(size_of::<T>()) };
    values.try_reserve_exact(missing).map_err(error)?;
    values.resize(length, value);
    Ok(())
}

/// A cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that start at a cache line: a vector load never touches two lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aligned(Vec<Line>);

/// Numbers of which every bit pattern is valid.
pub(crate) trait Number: Copy {}
impl Number for f32 {}
impl Number for u16 {}

impl Aligned {
    /// Returns the first `length` numbers, whose values are arbitrary, and allocates what is
    /// missing.
    pub(crate) fn first<T: Number>(&mut self, length: usize) -> Result<&mut [T], Error> {
        let lines = (length * size_of::<T>()).div_ceil(size_of::<Line>());
        if self.0.len() < lines {
            resize(&mut self.0, lines, Line([0.0; 16]))?;
        }
        // SAFETY: lines are initialized memory without padding, of any alignment up to 64 bytes,
        // and there are enough of them; a `Number` has no invalid bits.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), length) })
    }

    /// Returns all numbers.
    pub(crate) fn all<T: Number>(&self) -> &[T] {
        let length = size_of_val(self.0.as_slice()) / size_of::<T>();
        // SAFETY: as in `first`; the lines have this length.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), length) }
    }

    /// Returns all numbers.
    pub(crate) fn all_mut<T: Number>(&mut self) -> &mut [T] {
        let length = size_of_val(self.0.as_slice()) / size_of::<T>();
        // SAFETY: as in `all`.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), length) }
    }
}

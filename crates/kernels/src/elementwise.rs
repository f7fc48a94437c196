//! Operations on each element. They are bound by memory: the instructions that every CPU has are
//! enough.

use crate::error::{Error, check_length};

/// Computes `output = input * mask`: dropout, with a mask of zeros and `1 / (1 - p)` (Srivastava
/// et al. 2014).
///
/// # Errors
/// [`Error::Length`] if the lengths differ.
pub fn mask(input: &[f32], mask: &[f32], output: &mut [f32]) -> Result<(), Error> {
    check_length("mask", input.len(), mask.len())?;
    check_length("masked output", input.len(), output.len())?;
    for ((output, input), mask) in output.iter_mut().zip(input).zip(mask) {
        *output = input * mask;
    }
    Ok(())
}

/// Computes `output += input * mask`: the gradient of [`mask()`] added to others.
///
/// # Errors
/// [`Error::Length`] if the lengths differ.
pub fn add_masked(input: &[f32], mask: &[f32], output: &mut [f32]) -> Result<(), Error> {
    check_length("mask", input.len(), mask.len())?;
    check_length("masked sum", input.len(), output.len())?;
    for ((output, input), mask) in output.iter_mut().zip(input).zip(mask) {
        *output += input * mask;
    }
    Ok(())
}

/// Computes `output += input`.
///
/// # Errors
/// [`Error::Length`] if the lengths differ.
pub fn add(input: &[f32], output: &mut [f32]) -> Result<(), Error> {
    check_length("sum", input.len(), output.len())?;
    for (output, input) in output.iter_mut().zip(input) {
        *output += input;
    }
    Ok(())
}

//! Reductions over gradients.

/// Returns the sum of the squares, in float64 and in a fixed order: the square of the norm that
/// gradients are clipped by (Pascanu et al. 2013). NaN or infinite if an element is.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let chunks = values.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|&value| f64::from(value).powi(2)).sum();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            let value = f64::from(value);
            *sum += value * value;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Returns the index of the first NaN or infinite element.
pub fn first_non_finite(values: &[f32]) -> Option<usize> {
    // Without branches within a chunk, a chunk is checked in vectors.
    let damaged = |chunk: &[f32]| chunk.iter().fold(false, |any, value| any | !value.is_finite());
    let chunk = values.chunks(1024).position(damaged)?;
    let start = 1024 * chunk;
    Some(start + values[start..].iter().position(|value| !value.is_finite())?)
}

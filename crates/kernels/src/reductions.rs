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

/// Returns whether no element is NaN or infinite.
pub fn is_finite(values: &[f32]) -> bool {
    // Without branches within a chunk, a chunk is checked in vectors.
    let finite = |chunk: &[f32]| chunk.iter().fold(true, |all, value| all & value.is_finite());
    values.chunks(1024).all(finite)
}

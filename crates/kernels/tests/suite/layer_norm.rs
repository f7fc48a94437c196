//! Layer norm against float64.

use kernels::{Error, Isa, LayerNorm, Matrix, MatrixMut, Statistics};
use proptest::prelude::*;

use crate::reference::{
    Guarded, assert_close_to_largest, cases, dot, numbers, numerical_gradient, size, widened,
};

const EPSILON: f32 = 1e-5;

fn reference(input: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let width = gamma.len();
    input
        .chunks(width)
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let deviation = (variance + f64::from(EPSILON)).sqrt();
            (0..width)
                .map(move |index| (row[index] - mean) / deviation * gamma[index] + beta[index])
        })
        .collect()
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn layer_norm_and_its_gradient_equal_float64(
        rows in 1..=6_usize, width in 2..=40_usize, gap in 0..9_usize, seed in 0..99_u64,
    ) {
        let width = size(width);
        let count = rows * width;
        let input: Vec<f32> = numbers(count, seed).iter().map(|x| 3.0 * x + 1.0).collect();
        let (gamma, beta) = (numbers(width, seed + 1), numbers(width, seed + 2));
        let (gradient, before) = (numbers(count, seed + 3), numbers(count, seed + 4));
        let [x, g, b, weights] = [&input, &gamma, &beta, &gradient].map(|values| widened(values));
        let expected = reference(&x, &g, &b);
        let mut by_input = numerical_gradient(&x, |x| dot(&reference(x, &g, &b), &weights));
        by_input.iter_mut().zip(&before).for_each(|(sum, before)| *sum += f64::from(*before));

        let norm = LayerNorm { gamma: &gamma, beta: &beta, epsilon: EPSILON };
        let stride = width + gap;
        for isa in Isa::available() {
            let mut from = Guarded::new(rows, width, stride);
            from.fill(&input);
            let from = Matrix::with_stride(from.inner(), rows, width, stride).unwrap();
            let mut statistics = vec![Statistics::default(); rows];
            let mut output = Guarded::new(rows, width, stride);
            let mut to = MatrixMut::with_stride(output.inner(), rows, width, stride).unwrap();
            norm.forward(isa, &from, &mut to, &mut statistics).unwrap();
            // Rounding of inputs up to 4 grows with the reciprocal deviation, which is large for
            // a row of a few similar numbers; the gradient is that factor times it once more.
            let rstd = statistics.iter().map(|row| f64::from(row.rstd)).fold(0.0, f64::max);
            let condition = 1.0 + 4.0 * rstd;
            assert_close_to_largest(isa, &output.checked(), &expected, 1e-6 * condition);

            let gradient = Matrix::new(&gradient, rows, width).unwrap();
            let mut output = Guarded::new(rows, width, stride);
            output.fill(&before);
            let mut to = MatrixMut::with_stride(output.inner(), rows, width, stride).unwrap();
            norm.backward(isa, &from, &statistics, &gradient, &mut to).unwrap();
            assert_close_to_largest(isa, &output.checked(), &by_input, 2e-6 * condition * (1.0 + rstd));
        }
    }
}

#[test]
fn nan_stays_in_its_row() {
    let (gamma, mut input) = (vec![1.0; 20], numbers(60, 1));
    input[25] = f32::NAN;
    let norm = LayerNorm { gamma: &gamma, beta: &gamma, epsilon: EPSILON };
    for isa in Isa::available() {
        let (mut output, mut statistics) = (vec![0.0; 60], [Statistics::default(); 3]);
        let input = Matrix::new(&input, 3, 20).unwrap();
        let mut to = MatrixMut::new(&mut output, 3, 20).unwrap();
        norm.forward(isa, &input, &mut to, &mut statistics).unwrap();
        let mut gradient = vec![0.0; 60];
        let mut to = MatrixMut::new(&mut gradient, 3, 20).unwrap();
        norm.backward(isa, &input, &statistics, &input, &mut to).unwrap();
        for values in [output, gradient] {
            for (row, values) in values.chunks(20).enumerate() {
                assert!(values.iter().all(|value| value.is_nan() == (row == 1)), "{isa}");
            }
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let (data, mut room) = (vec![0.0; 12], vec![0.0; 12]);
    let norm = LayerNorm { gamma: &data[..4], beta: &data[..4], epsilon: EPSILON };
    let input = Matrix::new(&data, 3, 4).unwrap();
    let isa = Isa::detect();
    let mut statistics = [Statistics::default(); 3];
    let mut output = MatrixMut::new(&mut room, 3, 4).unwrap();
    let short = norm.forward(isa, &input, &mut output, &mut statistics[..2]);
    assert!(matches!(short, Err(Error::Length { what: "statistics", expected: 3, got: 2 })));
    let transposed = Matrix::new(&data, 4, 3).unwrap().transposed();
    let result = norm.forward(isa, &transposed, &mut output, &mut statistics);
    assert!(matches!(result, Err(Error::Setting { .. })));
    let narrow = LayerNorm { gamma: &data[..3], ..norm };
    let result = narrow.forward(isa, &input, &mut output, &mut statistics);
    assert!(matches!(result, Err(Error::Length { what: "gamma", .. })));
    let mut output = MatrixMut::new(&mut room, 4, 3).unwrap();
    let result = norm.forward(isa, &input, &mut output, &mut statistics);
    assert!(matches!(result, Err(Error::Shape { .. })));
}

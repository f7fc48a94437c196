//! Causal attention against float64.

use kernels::{Attention, Error, Isa, Matrix, MatrixMut, Scratch};
use proptest::prelude::*;

use crate::reference::{
    Guarded, assert_close_to_largest, cases, dot, numbers, numerical_gradient, size, widened,
};

/// The sizes of a case.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    heads: usize,
    head_size: usize,
    length: usize,
    queries: usize,
}

impl Sizes {
    fn width(self) -> usize {
        self.heads * self.head_size
    }

    /// A scale other than the usual one, rounded to float32.
    fn scale(self) -> f64 {
        f64::from(0.75 / (self.head_size as f32).sqrt())
    }

    /// For a query of a head: its token, and its probability for each token up to it.
    fn probabilities(self, qkv: &[f64], head: usize, query: usize) -> (usize, Vec<f64>) {
        let token = self.length - self.queries + query;
        let slice = |token: usize, slice: usize| {
            let start = token * 3 * self.width() + slice * self.width() + head * self.head_size;
            &qkv[start..start + self.head_size]
        };
        let scale = self.scale();
        let scores: Vec<f64> =
            (0..=token).map(|key| scale * dot(slice(token, 0), slice(key, 1))).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - top).exp()).sum();
        (token, scores.iter().map(|score| (score - top).exp() / sum).collect())
    }

    fn forward(self, qkv: &[f64]) -> Vec<f64> {
        let (width, size) = (self.width(), self.head_size);
        let mut output = vec![0.0; self.queries * width];
        for head in 0..self.heads {
            for query in 0..self.queries {
                let (_, probabilities) = self.probabilities(qkv, head, query);
                for (key, probability) in probabilities.iter().enumerate() {
                    for index in head * size..(head + 1) * size {
                        let value = qkv[key * 3 * width + 2 * width + index];
                        output[query * width + index] += probability * value;
                    }
                }
            }
        }
        output
    }

    /// The gradient of the inner product of the output with `weights`.
    fn backward(self, qkv: &[f64], weights: &[f64]) -> Vec<f64> {
        let (width, size) = (self.width(), self.head_size);
        let scale = self.scale();
        let mut gradient = vec![0.0; qkv.len()];
        for head in 0..self.heads {
            for query in 0..self.queries {
                let (token, probabilities) = self.probabilities(qkv, head, query);
                let weights = &weights[query * width + head * size..][..size];
                let place =
                    |token: usize, slice: usize| token * 3 * width + slice * width + head * size;
                let inner = |key: usize| dot(weights, &qkv[place(key, 2)..][..size]);
                let mean: f64 =
                    probabilities.iter().enumerate().map(|(key, p)| p * inner(key)).sum();
                for (key, probability) in probabilities.iter().enumerate() {
                    let by_score = probability * (inner(key) - mean) * scale;
                    for index in 0..size {
                        gradient[place(key, 2) + index] += probability * weights[index];
                        gradient[place(key, 1) + index] += by_score * qkv[place(token, 0) + index];
                        gradient[place(token, 0) + index] += by_score * qkv[place(key, 1) + index];
                    }
                }
            }
        }
        gradient
    }
}

/// Output, logarithms and gradient of the kernels; fails if a guard was overwritten.
fn compute(isa: Isa, sizes: Sizes, qkv: &[f32], weights: &[f32]) -> [Vec<f32>; 2] {
    let Sizes { heads, head_size, length, queries } = sizes;
    let attention = Attention { heads, head_size, scale: sizes.scale() as f32 };
    let width = sizes.width();
    let scratch = &mut Scratch::new();
    let qkv = Matrix::new(qkv, length, 3 * width).unwrap();
    let mut output = Guarded::new(queries, width, width + 5);
    let mut log_sums = Guarded::new(1, heads * queries, heads * queries);
    let mut to = MatrixMut::with_stride(output.inner(), queries, width, width + 5).unwrap();
    attention.forward(isa, &qkv, &mut to, log_sums.inner(), scratch).unwrap();
    let (output, log_sums) = (output.checked(), log_sums.checked());

    let stride = 3 * width + 7;
    let mut gradient = Guarded::new(length, 3 * width, stride);
    gradient.fill(&vec![f32::NAN; length * 3 * width]);
    let mut to = MatrixMut::with_stride(gradient.inner(), length, 3 * width, stride).unwrap();
    let matrix = Matrix::new(&output, queries, width).unwrap();
    let weights = Matrix::new(weights, queries, width).unwrap();
    attention.backward(isa, &qkv, &matrix, &log_sums, &weights, &mut to, scratch).unwrap();
    [output, gradient.checked()]
}

fn data(sizes: Sizes, seed: u64) -> [Vec<f32>; 2] {
    let qkv = numbers(sizes.length * 3 * sizes.width(), seed).iter().map(|x| 2.0 * x).collect();
    [qkv, numbers(sizes.queries * sizes.width(), seed + 1)]
}

fn check(sizes: Sizes, seed: u64) {
    let [qkv, weights] = data(sizes, seed);
    let expected = sizes.forward(&widened(&qkv));
    let gradient = sizes.backward(&widened(&qkv), &widened(&weights));
    for isa in Isa::available() {
        let [output, got] = compute(isa, sizes, &qkv, &weights);
        assert_close_to_largest(isa, &output, &expected, 3e-6);
        assert_close_to_largest(isa, &got, &gradient, 1e-5);
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn attention_and_its_gradient_equal_float64(
        heads in 1..=3_usize, head_size in 1..=70_usize, length in 1..=200_usize,
        queries in 1..=200_usize, whole in any::<bool>(), seed in 0..99_u64,
    ) {
        let (length, head_size) = (size(length), size(head_size));
        let queries = if whole { length } else { queries.min(length) };
        check(Sizes { heads, head_size, length, queries }, seed);
    }
}

#[test]
fn attention_equals_float64_at_long_lengths() {
    for (length, queries) in [(256, 256), (511, 511), (1024, 1024), (1000, 1), (1024, 70)] {
        let (length, queries) = (size(length), size(queries));
        check(Sizes { heads: 2, head_size: 64, length, queries }, 1);
    }
}

/// The reference itself, against finite differences.
#[test]
fn reference_gradient_equals_finite_differences() {
    for (length, queries) in [(7, 7), (6, 2), (5, 1)] {
        let sizes = Sizes { heads: 2, head_size: 3, length, queries };
        let [qkv, weights] = data(sizes, 5).map(|values| widened(&values));
        let numerical = numerical_gradient(&qkv, |qkv| dot(&sizes.forward(qkv), &weights));
        for (got, expected) in sizes.backward(&qkv, &weights).iter().zip(&numerical) {
            assert!((got - expected).abs() < 1e-8, "{got} {expected}");
        }
    }
}

/// A token's output does not depend on the number of queries or on later tokens.
#[test]
fn outputs_have_the_same_bits_for_fewer_queries_and_shorter_sequences() {
    let whole = Sizes { heads: 2, head_size: 16, length: size(150), queries: size(150) };
    let [qkv, weights] = data(whole, 9);
    let width = whole.width();
    for isa in Isa::available() {
        let [all, _] = compute(isa, whole, &qkv, &weights);
        for length in [1, 15, 17, 64, 65, 128, 150].map(size) {
            for queries in [1, 3, length].map(|queries| queries.min(length)) {
                let sizes = Sizes { length, queries, ..whole };
                let qkv = &qkv[..length * 3 * width];
                let [some, _] = compute(isa, sizes, qkv, &weights[..queries * width]);
                assert_eq!(some, &all[(length - queries) * width..length * width], "{isa}");
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_the_output_and_the_gradient() {
    let sizes = Sizes { heads: 2, head_size: 8, length: 20, queries: 20 };
    for isa in Isa::available() {
        for damage in [f32::NAN, f32::INFINITY] {
            for slice in 0..3 {
                let [mut qkv, weights] = data(sizes, 3);
                qkv[10 * 48 + slice * 16] = damage;
                let [output, gradient] = compute(isa, sizes, &qkv, &weights);
                for values in [&output, &gradient] {
                    assert!(values.iter().any(|value| !value.is_finite()), "{isa} {slice}");
                }
                // The other head does not see it.
                let other = output.chunks(16).flat_map(|row| &row[8..]);
                assert!(other.copied().all(f32::is_finite), "{isa} {slice}");
            }
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let attention = Attention { heads: 2, head_size: 4, scale: 0.5 };
    let (data, mut room) = (vec![0.0; 240], vec![0.0; 240]);
    let (isa, scratch) = (Isa::detect(), &mut Scratch::new());
    let qkv = Matrix::new(&data, 5, 24).unwrap();
    let mut log_sums = [0.0; 20];
    let mut output = MatrixMut::new(&mut room, 6, 8).unwrap();
    let result = attention.forward(isa, &qkv, &mut output, &mut log_sums[..12], scratch);
    assert!(matches!(result, Err(Error::Setting { what: "queries", got: 6, .. })));
    let mut output = MatrixMut::new(&mut room, 5, 8).unwrap();
    let result = attention.forward(isa, &qkv, &mut output, &mut log_sums[..9], scratch);
    assert!(matches!(result, Err(Error::Length { expected: 10, got: 9, .. })));
    let narrow = Matrix::new(&data, 5, 23).unwrap();
    let result = attention.forward(isa, &narrow, &mut output, &mut log_sums[..10], scratch);
    assert!(matches!(result, Err(Error::Shape { .. })));
    let output = Matrix::new(&data, 5, 8).unwrap();
    let mut gradient = MatrixMut::new(&mut room, 4, 24).unwrap();
    let result =
        attention.backward(isa, &qkv, &output, &log_sums[..10], &output, &mut gradient, scratch);
    assert!(matches!(result, Err(Error::Shape { .. })));
}

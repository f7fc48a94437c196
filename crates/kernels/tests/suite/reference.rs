//! Naive float64 references and random numbers.

use kernels::Isa;
use proptest::test_runner::Config;

/// A value that no kernel computes, around and between the rows of buffers.
pub const GUARD: f32 = -7.654_321e33;

/// Cases of a property: fewer in Miri, which takes a thousand times as long.
pub fn cases(count: u32) -> Config {
    let cases = if cfg!(miri) { 2 } else { count };
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// `count`, or a size that Miri can compute.
pub fn size(count: usize) -> usize {
    if cfg!(miri) { count.min(20) } else { count }
}

/// Numbers between −1 and 1 (a linear congruential generator).
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 24) as f32) * 2.0 - 1.0
    };
    (0..count + 3).map(|_| next()).skip(3).collect()
}

pub fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Fails unless `got` is within `tolerance` of `expected`, relative to the size of its terms.
#[track_caller]
pub fn assert_close(isa: Isa, got: &[f32], expected: &[f64], sizes: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (index, ((got, expected), size)) in got.iter().zip(expected).zip(sizes).enumerate() {
        let error = (f64::from(*got) - expected).abs();
        assert!(
            error <= tolerance * size,
            "{isa}: element {index} is {got}, expected {expected}, error {error:e}"
        );
    }
}

/// As [`assert_close`], relative to the largest expected number.
#[track_caller]
pub fn assert_close_to_largest(isa: Isa, got: &[f32], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(1e-30_f64, |largest, value| largest.max(value.abs()));
    assert_close(isa, got, expected, &vec![largest; expected.len()], tolerance);
}

/// `left [rows, inner] * right [inner, columns]`, and the sums of the absolute terms.
pub fn product(
    left: &[f64],
    right: &[f64],
    [rows, inner, columns]: [usize; 3],
) -> (Vec<f64>, Vec<f64>) {
    let mut sums = vec![0.0; rows * columns];
    let mut sizes = vec![0.0; rows * columns];
    for row in 0..rows {
        for column in 0..columns {
            for index in 0..inner {
                let term = left[row * inner + index] * right[index * columns + column];
                sums[row * columns + column] += term;
                sizes[row * columns + column] += term.abs();
            }
        }
    }
    (sums, sizes)
}

pub fn transposed<T: Copy>(matrix: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column]))
        .collect()
}

/// The gradient of `function` at `x` by central differences.
pub fn numerical_gradient(x: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut point = x.to_vec();
    let step = 1e-5;
    (0..x.len())
        .map(|index| {
            point[index] = x[index] + step;
            let above = function(&point);
            point[index] = x[index] - step;
            let below = function(&point);
            point[index] = x[index];
            (above - below) / (2.0 * step)
        })
        .collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A buffer of guard values with room for `rows` rows at `stride`, and guards on both sides.
pub struct Guarded {
    pub values: Vec<f32>,
    shape: [usize; 3],
}

/// Guards on each side.
const MARGIN: usize = 40;

impl Guarded {
    pub fn new(rows: usize, columns: usize, stride: usize) -> Self {
        let shape = [rows, columns, stride];
        Self { values: vec![GUARD; rows * stride + 2 * MARGIN], shape }
    }

    /// The rows with the gaps between them; the gap behind the last row is left out.
    pub fn inner(&mut self) -> &mut [f32] {
        let [rows, columns, stride] = self.shape;
        let length = rows.saturating_sub(1) * stride + if rows > 0 { columns } else { 0 };
        &mut self.values[MARGIN..MARGIN + length]
    }

    pub fn fill(&mut self, from: &[f32]) {
        let [_, columns, stride] = self.shape;
        for (index, value) in from.iter().enumerate() {
            self.values[MARGIN + index / columns * stride + index % columns] = *value;
        }
    }

    /// The elements without the gaps. Fails if a guard was overwritten.
    #[track_caller]
    pub fn checked(&self) -> Vec<f32> {
        let [rows, columns, stride] = self.shape;
        let mut elements = Vec::new();
        for (index, value) in self.values.iter().enumerate() {
            let place = index.wrapping_sub(MARGIN);
            if place < rows * stride && place % stride < columns {
                elements.push(*value);
            } else {
                assert_eq!(value.to_bits(), GUARD.to_bits(), "guard {index} was overwritten");
            }
        }
        elements
    }
}

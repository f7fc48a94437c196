//! Matrix products against float64.

use kernels::{Isa, Matrix, MatrixMut, PackedWeights, Precision, Scratch, Write, multiply};
use proptest::prelude::*;

use crate::reference::{Guarded, assert_close, cases, numbers, product, size, transposed, widened};

/// Update of the output of a product.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    Replace,
    Add,
    Bias,
}

/// A random product.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub rows: usize,
    pub inner: usize,
    pub columns: usize,
    /// Factors that lie transposed in memory.
    pub transpose: [bool; 2],
    pub mode: Mode,
    /// Gaps between rows of the left factor and of the output.
    pub gaps: [usize; 2],
    pub seed: u64,
}

pub fn case() -> impl Strategy<Value = Case> {
    let mode = prop_oneof![Just(Mode::Replace), Just(Mode::Add), Just(Mode::Bias)];
    (
        1..=70_usize,
        0..=900_usize,
        1..=100_usize,
        any::<[bool; 2]>(),
        mode,
        [0..20_usize, 0..20],
        0..99_u64,
    )
        .prop_map(|(rows, inner, columns, transpose, mode, gaps, seed)| Case {
            rows: size(rows),
            inner: size(inner),
            columns: size(columns),
            transpose,
            mode,
            gaps,
            seed,
        })
}

/// The factors, in memory order.
fn factors(case: &Case) -> [Vec<f32>; 2] {
    [
        numbers(case.rows * case.inner, case.seed),
        numbers(case.inner * case.columns, case.seed + 100),
    ]
}

/// A view of a factor that lies in memory as it is, or transposed.
fn view(data: &[f32], rows: usize, columns: usize, transpose: bool) -> Matrix<'_> {
    if transpose {
        Matrix::new(data, columns, rows).unwrap().transposed()
    } else {
        Matrix::new(data, rows, columns).unwrap()
    }
}

/// The factors row by row.
fn row_major(data: &[f32], rows: usize, columns: usize, transpose: bool) -> Vec<f32> {
    if transpose { transposed(data, columns, rows) } else { data.to_vec() }
}

/// Calls `compute` with an output of guards and compares what it writes.
fn check(
    isa: Isa,
    case: &Case,
    [left, right]: [&[f32]; 2],
    alpha: f64,
    tolerance: f64,
    compute: impl Fn(&mut MatrixMut<'_>, Write<'_>),
) {
    let Case { rows, inner, columns, mode, gaps, seed, .. } = *case;
    let (mut expected, mut sizes) =
        product(&widened(left), &widened(right), [rows, inner, columns]);
    let (before, bias) = (numbers(rows * columns, seed + 200), numbers(columns, seed + 300));
    for index in 0..rows * columns {
        let addend = f64::from(match mode {
            Mode::Replace => 0.0,
            Mode::Add => before[index],
            Mode::Bias => bias[index % columns],
        });
        expected[index] = alpha * expected[index] + addend;
        sizes[index] = alpha.abs() * sizes[index] + addend.abs() + 1e-30;
    }
    let mut output = Guarded::new(rows, columns, columns + gaps[1]);
    output.fill(&before);
    let mut matrix =
        MatrixMut::with_stride(output.inner(), rows, columns, columns + gaps[1]).unwrap();
    let write = match mode {
        Mode::Replace => Write::Replace,
        Mode::Add => Write::Add,
        Mode::Bias => Write::Bias(&bias),
    };
    compute(&mut matrix, write);
    assert_close(isa, &output.checked(), &expected, &sizes, tolerance);
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn products_in_memory_equal_float64(case in case(), alpha in -2.0..2.0_f32) {
        let Case { rows, inner, columns, transpose, .. } = case;
        let [left, right] = factors(&case);
        let plain = [
            row_major(&left, rows, inner, transpose[0]),
            row_major(&right, inner, columns, transpose[1]),
        ];
        for isa in Isa::available() {
            check(isa, &case, [&plain[0], &plain[1]], f64::from(alpha), 1e-6, |output, write| {
                let left = view(&left, rows, inner, transpose[0]);
                let right = view(&right, inner, columns, transpose[1]);
                let scratch = &mut Scratch::new();
                multiply(isa, alpha, &left, &right, output, write, scratch).unwrap();
            });
        }
    }

    #[test]
    fn products_with_packed_weights_equal_float64(case in case()) {
        let Case { rows, inner, columns, transpose, gaps, .. } = case;
        let [left, right] = factors(&case);
        let plain = row_major(&right, inner, columns, transpose[1]);
        let mut strided = Guarded::new(rows, inner, inner + gaps[0]);
        strided.fill(&left);
        for isa in Isa::available() {
            let factor = view(&right, inner, columns, transpose[1]);
            let packed = PackedWeights::pack(isa, Precision::Float32, &factor).unwrap();
            prop_assert_eq!(packed.shape(), [inner, columns]);
            check(isa, &case, [&left, &plain], 1.0, 1e-6, |output, write| {
                let mut strided = Guarded::new(rows, inner, inner + gaps[0]);
                strided.fill(&left);
                let stride = inner + gaps[0];
                let left = Matrix::with_stride(strided.inner(), rows, inner, stride).unwrap();
                packed.multiply(&left, output, write, &mut Scratch::new()).unwrap();
            });
        }
    }

    #[test]
    fn products_with_bfloat16_weights_equal_products_of_rounded_numbers(case in case()) {
        let Case { rows, inner, columns, transpose, .. } = case;
        let [left, right] = factors(&case);
        let round = |values: &[f32]| -> Vec<f32> {
            values.iter().map(|&value| half::bf16::from_f32(value).to_f32()).collect()
        };
        let plain = round(&row_major(&right, inner, columns, transpose[1]));
        let rounded = round(&row_major(&left, rows, inner, transpose[0]));
        for isa in Isa::available() {
            let factor = view(&right, inner, columns, transpose[1]);
            let packed = PackedWeights::pack(isa, Precision::BFloat16, &factor).unwrap();
            check(isa, &case, [&rounded, &plain], 1.0, 1e-6, |output, write| {
                let left = view(&left, rows, inner, transpose[0]);
                packed.multiply(&left, output, write, &mut Scratch::new()).unwrap();
            });
        }
    }

    /// The products of LoRA at any rank, with the shapes of its five uses.
    #[test]
    fn adapter_products_equal_float64(
        tokens in 1..=70_usize,
        rank in 1..=256_usize,
        width in 1..=80_usize,
        seed in 0..99_u64,
    ) {
        let (tokens, rank, width) = (size(tokens), size(rank), size(width));
        let x = numbers(tokens * width, seed);
        let h = numbers(tokens * rank, seed + 1);
        let a = numbers(rank * width, seed + 2);
        let (x_of, h_of) = (view(&x, tokens, width, false), view(&h, tokens, rank, false));
        let a_of = view(&a, rank, width, false);
        let products = [
            // x * aᵀ, h * bᵀ with b: [width, rank], gᵀ * h and hᵀ * x, h * a
            (x_of, a_of.transposed()),
            (h_of, view(&a, width, rank, false).transposed()),
            (x_of.transposed(), h_of),
            (h_of.transposed(), x_of),
            (h_of, a_of),
        ];
        for (left, right) in products {
            let ([rows, inner], [_, columns]) = (left.shape(), right.shape());
            let plain = |matrix: &Matrix<'_>| {
                let [rows, columns] = matrix.shape();
                let mut copy = vec![0.0; rows * columns];
                let ones: Vec<f32> =
                    (0..columns * columns).map(|i| f32::from(u8::from(i / columns == i % columns))).collect();
                let unit = Matrix::new(&ones, columns, columns).unwrap();
                let mut to = MatrixMut::new(&mut copy, rows, columns).unwrap();
                let scratch = &mut Scratch::new();
                multiply(Isa::PORTABLE, 1.0, matrix, &unit, &mut to, Write::Replace, scratch).unwrap();
                copy
            };
            let case = Case {
                rows, inner, columns, transpose: [false; 2], mode: Mode::Add, gaps: [0; 2], seed,
            };
            for isa in Isa::available() {
                check(isa, &case, [&plain(&left), &plain(&right)], 0.5, 1e-6, |output, write| {
                    let scratch = &mut Scratch::new();
                    multiply(isa, 0.5, &left, &right, output, write, scratch).unwrap();
                });
            }
        }
    }
}

//! Properties of matrix products beside their values.

use kernels::{
    Error, Isa, Matrix, MatrixMut, PackedWeights, Precision, Scratch, Write, multiply,
    round_to_bf16,
};
use proptest::prelude::*;

use crate::product::{Case, case};
use crate::reference::{cases, numbers, size};

/// A product of rows `[rows, inner]` with weights `[inner, columns]`, packed or not.
fn compute(
    isa: Isa,
    precision: Option<Precision>,
    rows: &[f32],
    weights: &[f32],
    [inner, columns]: [usize; 2],
) -> Vec<f32> {
    let count = rows.len() / inner;
    let left = Matrix::new(rows, count, inner).unwrap();
    let right = Matrix::new(weights, inner, columns).unwrap();
    let mut output = vec![0.0; count * columns];
    let mut matrix = MatrixMut::new(&mut output, count, columns).unwrap();
    let scratch = &mut Scratch::new();
    if let Some(precision) = precision {
        let packed = PackedWeights::pack(isa, precision, &right).unwrap();
        packed.multiply(&left, &mut matrix, Write::Replace, scratch).unwrap();
    } else {
        multiply(isa, 1.0, &left, &right, &mut matrix, Write::Replace, scratch).unwrap();
    }
    output
}

const KINDS: [Option<Precision>; 3] = [None, Some(Precision::Float32), Some(Precision::BFloat16)];

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn rows_have_the_same_bits_alone_and_among_others(case in case()) {
        let Case { rows, columns, seed, .. } = case;
        let inner = case.inner.max(1);
        let (input, weights) = (numbers(rows * inner, seed), numbers(inner * columns, seed + 1));
        for isa in Isa::available() {
            for kind in KINDS {
                let all = compute(isa, kind, &input, &weights, [inner, columns]);
                for row in 0..rows {
                    let alone = &input[row * inner..(row + 1) * inner];
                    let alone = compute(isa, kind, alone, &weights, [inner, columns]);
                    let bits = |values: &[f32]| -> Vec<u32> {
                        values.iter().map(|value| value.to_bits()).collect()
                    };
                    prop_assert_eq!(bits(&alone), bits(&all[row * columns..(row + 1) * columns]));
                }
            }
        }
    }

    /// Columns behind a point do not change those before it, wherever tiles begin.
    #[test]
    fn columns_have_the_same_bits_among_fewer(case in case(), fewer in 1..100_usize) {
        let Case { rows, columns, seed, .. } = case;
        let (inner, fewer) = (case.inner.max(1), fewer.min(columns));
        let (input, weights) = (numbers(rows * inner, seed), numbers(inner * columns, seed + 1));
        let narrow: Vec<f32> =
            weights.chunks(columns).flat_map(|row| row[..fewer].iter().copied()).collect();
        for isa in Isa::available() {
            for kind in KINDS {
                let all = compute(isa, kind, &input, &weights, [inner, columns]);
                let some = compute(isa, kind, &input, &narrow, [inner, fewer]);
                for (all, some) in all.chunks(columns).zip(some.chunks(fewer)) {
                    prop_assert_eq!(&all[..fewer], some);
                }
            }
        }
    }

    /// A sum does not depend on trailing zeros of the inner dimension.
    #[test]
    fn trailing_zeros_do_not_change_bits(case in case(), zeros in 1..900_usize) {
        let Case { rows, columns, seed, .. } = case;
        let (inner, zeros) = (case.inner.max(1), size(zeros));
        let longer = inner + zeros;
        let (input, weights) = (numbers(rows * inner, seed), numbers(longer * columns, seed + 1));
        let padded: Vec<f32> = input
            .chunks(inner)
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, zeros)))
            .collect();
        for isa in Isa::available() {
            for kind in KINDS {
                let short = &weights[..inner * columns];
                let short = compute(isa, kind, &input, short, [inner, columns]);
                let long = compute(isa, kind, &padded, &weights, [longer, columns]);
                prop_assert_eq!(short, long);
            }
        }
    }
}

#[test]
fn nan_and_infinity_stay_in_their_rows() {
    let [inner, columns] = [33, 21];
    let weights = numbers(inner * columns, 1);
    for isa in Isa::available() {
        for kind in KINDS {
            for damage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut input = numbers(5 * inner, 2);
                input[2 * inner + 7] = damage;
                let output = compute(isa, kind, &input, &weights, [inner, columns]);
                for (row, output) in output.chunks(columns).enumerate() {
                    assert!(output.iter().all(|value| value.is_finite() == (row != 2)), "{isa}");
                }
            }
        }
    }
}

#[test]
fn bfloat16_is_rounded_to_nearest_even() {
    let step = if cfg!(miri) { 997 } else { 1 };
    for upper in (0..=0xffff_u32).step_by(step) {
        for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let value = f32::from_bits(upper << 16 | lower);
            let expected = half::bf16::from_f32(value);
            assert_eq!(round_to_bf16(value), expected.to_bits(), "{value:?}");
        }
    }
}

#[test]
fn empty_products_do_nothing() {
    let (scratch, isa) = (&mut Scratch::new(), Isa::detect());
    // Views of an empty slice have any number of rows.
    let tall = Matrix::new(&[], usize::MAX, 0).unwrap();
    let nothing = Matrix::new(&[], 0, 0).unwrap();
    let mut output = MatrixMut::new(&mut [], usize::MAX, 0).unwrap();
    multiply(isa, 1.0, &tall, &nothing, &mut output, Write::Replace, scratch).unwrap();
    for precision in [Precision::Float32, Precision::BFloat16] {
        let packed = PackedWeights::pack(isa, precision, &nothing).unwrap();
        packed.multiply(&tall, &mut output, Write::Replace, scratch).unwrap();
    }
    // An empty inner dimension is a sum of nothing.
    let mut room = [7.0; 6];
    let left = Matrix::new(&[], 2, 0).unwrap();
    let right = Matrix::new(&[], 3, 0).unwrap().transposed();
    let mut output = MatrixMut::new(&mut room, 2, 3).unwrap();
    let bias = Write::Bias(&[1.0, 2.0, 3.0]);
    multiply(isa, 1.0, &left, &right, &mut output, bias, scratch).unwrap();
    assert_eq!(room, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
}

#[test]
fn wrong_shapes_are_errors() {
    let data = vec![0.0; 24];
    let mut room = vec![0.0; 24];
    let too_large = [(5, 5, 5), (2, 12, 13), (usize::MAX, 2, 2), (2, usize::MAX, 1), (3, 4, 3)];
    for (rows, columns, stride) in too_large {
        let result = Matrix::with_stride(&data, rows, columns, stride);
        assert!(matches!(result, Err(Error::Bounds { .. })), "{rows} {columns} {stride}");
        let result = MatrixMut::with_stride(&mut room, rows, columns, stride);
        assert!(matches!(result, Err(Error::Bounds { .. })), "{rows} {columns} {stride}");
    }
    let [left, right] =
        [(4, 6), (6, 4)].map(|(rows, columns)| Matrix::new(&data, rows, columns).unwrap());
    assert!(matches!(left.rows(3..5), Err(Error::Setting { .. })));
    assert!(matches!(left.columns(3..7), Err(Error::Setting { .. })));
    let isa = Isa::detect();
    let packed = PackedWeights::pack(isa, Precision::Float32, &right).unwrap();
    let scratch = &mut Scratch::new();
    for (rows, columns) in [(4, 3), (3, 4), (4, 6)] {
        let mut output = MatrixMut::new(&mut room, rows, columns).unwrap();
        let result = multiply(isa, 1.0, &left, &right, &mut output, Write::Replace, scratch);
        assert!(matches!(result, Err(Error::Shape { .. })));
        let result = packed.multiply(&left, &mut output, Write::Replace, scratch);
        assert!(matches!(result, Err(Error::Shape { .. })));
    }
    let mut output = MatrixMut::new(&mut room, 4, 4).unwrap();
    let result = packed.multiply(&left, &mut output, Write::Bias(&data[..3]), scratch);
    assert_eq!(result, Err(Error::Length { what: "bias", expected: 4, got: 3 }));
    let result = multiply(isa, 1.0, &left, &left, &mut output, Write::Replace, scratch);
    assert!(matches!(result, Err(Error::Shape { .. })));
}

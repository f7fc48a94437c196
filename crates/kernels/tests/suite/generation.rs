//! Kernels of text generation against float64.

use kernels::{Error, Isa, Matrix, MatrixMut, Scratch, Write, attend, multiply_few_rows};
use proptest::prelude::*;

use crate::reference::{
    Guarded, assert_close, assert_close_to_largest, cases, dot, numbers, product, size, transposed,
    widened,
};

/// Product of `rows` rows, `stride` apart in the output.
fn few_rows(
    isa: Isa,
    [input, weight, bias]: [&[f32]; 3],
    [rows, inner, outputs]: [usize; 3],
    gap: usize,
) -> Vec<f32> {
    let mut output = Guarded::new(rows, outputs, outputs + gap);
    let mut to = MatrixMut::with_stride(output.inner(), rows, outputs, outputs + gap).unwrap();
    let input = Matrix::new(input, rows, inner).unwrap();
    let weight = Matrix::new(weight, outputs, inner).unwrap();
    multiply_few_rows(isa, &input, &weight, &mut to, Write::Bias(bias)).unwrap();
    output.checked()
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn products_of_few_rows_equal_float64(
        rows in 1..=11_usize,
        inner in prop_oneof![0..=300_usize, 700..=2400_usize],
        outputs in 1..=40_usize,
        gap in 0..9_usize,
        seed in 0..99_u64,
    ) {
        let shape @ [rows, inner, outputs] = [rows, size(inner), size(outputs)];
        let input = numbers(rows * inner, seed);
        let weight = numbers(outputs * inner, seed + 1);
        let bias = numbers(outputs, seed + 2);
        let right = transposed(&widened(&weight), outputs, inner);
        let (mut expected, mut sizes) = product(&widened(&input), &right, shape);
        for (index, (expected, size)) in expected.iter_mut().zip(&mut sizes).enumerate() {
            *expected += f64::from(bias[index % outputs]);
            *size += 1.0;
        }
        for isa in Isa::available() {
            let all = few_rows(isa, [&input, &weight, &bias], shape, gap);
            assert_close(isa, &all, &expected, &sizes, 1e-6);
            // A row and an output alone have the same bits.
            for row in 0..rows {
                let input = &input[row * inner..][..inner];
                let alone = few_rows(isa, [input, &weight, &bias], [1, inner, outputs], 0);
                prop_assert_eq!(&alone, &all[row * outputs..][..outputs]);
            }
            let last = outputs - 1;
            let weight = &weight[last * inner..];
            let alone = few_rows(isa, [&input, weight, &bias[last..]], [rows, inner, 1], 0);
            for row in 0..rows {
                prop_assert_eq!(alone[row], all[row * outputs + last]);
            }
        }
    }

    #[test]
    fn attention_of_a_query_equals_float64(
        head_size in 1..=70_usize,
        length in 1..=200_usize,
        seed in 0..99_u64,
    ) {
        let (head_size, length) = (size(head_size), size(length));
        let query = numbers(head_size, seed);
        let keys: Vec<f32> = numbers(length * head_size, seed + 1).iter().map(|x| 3.0 * x).collect();
        let values = numbers(length * head_size, seed + 2);
        let (wide_query, wide_keys) = (widened(&query), widened(&keys));
        let scores: Vec<f64> =
            wide_keys.chunks(head_size).map(|key| 0.5 * dot(&wide_query, key)).collect();
        let sum: f64 = scores.iter().map(|score| score.exp()).sum();
        let mut expected = vec![0.0; head_size];
        for (score, values) in scores.iter().zip(widened(&values).chunks(head_size)) {
            for (expected, value) in expected.iter_mut().zip(values) {
                *expected += score.exp() / sum * value;
            }
        }
        for isa in Isa::available() {
            let mut output = Guarded::new(1, head_size, head_size);
            let keys = Matrix::new(&keys, length, head_size).unwrap();
            let values = Matrix::new(&values, length, head_size).unwrap();
            let scratch = &mut Scratch::new();
            attend(isa, 0.5, &query, [&keys, &values], output.inner(), scratch).unwrap();
            let tolerance = 3e-6 * 1.0_f64.max(1.0 / expected.iter().fold(0.0, |a: f64, b| a.max(b.abs())));
            assert_close_to_largest(isa, &output.checked(), &expected, tolerance);
        }
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let values = [0.0; 12];
    let matrix = |rows, columns| Matrix::new(&values, rows, columns).unwrap();
    let mut output = [0.0; 4];
    let isa = Isa::PORTABLE;
    let mut to = MatrixMut::new(&mut output, 2, 2).unwrap();
    let (two, three) = (matrix(2, 2), matrix(2, 3));
    let error = multiply_few_rows(isa, &two, &three, &mut to, Write::Replace).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }));
    let error = multiply_few_rows(isa, &two, &matrix(3, 2), &mut to, Write::Replace).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }));
    let error = multiply_few_rows(isa, &two, &two.transposed(), &mut to, Write::Add).unwrap_err();
    assert!(matches!(error, Error::Setting { .. }));
    let bias = Write::Bias(&values[..3]);
    let error = multiply_few_rows(isa, &two, &two, &mut to, bias).unwrap_err();
    assert!(matches!(error, Error::Length { .. }));

    let scratch = &mut Scratch::new();
    let mut refused = |keys, values, output: &mut [f32]| {
        attend(isa, 1.0, &[0.0; 2], [&keys, &values], output, scratch).unwrap_err()
    };
    assert!(matches!(refused(matrix(0, 2), matrix(0, 2), &mut [0.0; 2]), Error::Shape { .. }));
    assert!(matches!(refused(three, three, &mut [0.0; 2]), Error::Shape { .. }));
    assert!(matches!(refused(two, matrix(3, 2), &mut [0.0; 2]), Error::Shape { .. }));
    assert!(matches!(refused(two, two, &mut [0.0; 3]), Error::Length { .. }));
}

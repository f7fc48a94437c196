//! Cross entropy against float64.

use kernels::{CrossEntropy, Error, Isa, Matrix, MatrixMut};
use proptest::prelude::*;

use crate::reference::{
    Guarded, assert_close_to_largest, cases, numbers, numerical_gradient, size, widened,
};

/// The sum of the weighted losses.
fn reference(logits: &[f64], targets: &[usize], weights: &[f64]) -> f64 {
    logits
        .chunks(weights.len())
        .zip(targets)
        .map(|(row, &target)| {
            let sum: f64 = row.iter().map(|logit| (logit - row[target]).exp()).sum();
            weights[target] * sum.ln()
        })
        .sum()
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn cross_entropy_and_its_gradient_equal_float64(
        rows in 1..=8_usize,
        classes in 1..=60_usize,
        weighted in any::<bool>(),
        factor in 0.01..3.0_f32,
        seed in 0..99_u64,
    ) {
        let classes = size(classes);
        let logits: Vec<f32> = numbers(rows * classes, seed).iter().map(|x| 8.0 * x).collect();
        let targets: Vec<usize> = (0..rows).map(|row| (row * 7 + seed as usize) % classes).collect();
        let weights: Vec<f32> = numbers(classes, seed + 1).iter().map(|x| x + 1.5).collect();
        let ones = vec![1.0; classes];
        let wide = widened(if weighted { &weights } else { &ones });
        let expected = reference(&widened(&logits), &targets, &wide);
        let gradient: Vec<f64> =
            numerical_gradient(&widened(&logits), |logits| reference(logits, &targets, &wide))
                .iter()
                .map(|gradient| gradient * f64::from(factor))
                .collect();
        let loss = CrossEntropy { class_weights: weighted.then_some(&weights[..]) };
        let total: f64 = targets.iter().map(|&target| wide[target]).sum();
        prop_assert!((loss.total_weight(&targets).unwrap() - total).abs() < 1e-12);
        for isa in Isa::available() {
            let logits = Matrix::new(&logits, rows, classes).unwrap();
            let mut output = Guarded::new(rows, classes, classes + 3);
            let mut to =
                MatrixMut::with_stride(output.inner(), rows, classes, classes + 3).unwrap();
            let got = loss.forward(isa, &logits, &targets, factor, Some(&mut to)).unwrap();
            prop_assert!((got - expected).abs() <= 1e-6 * (expected + 1.0), "{} {}", got, expected);
            prop_assert_eq!(loss.forward(isa, &logits, &targets, factor, None).unwrap(), got);
            let sizes = f64::from(factor) * 3.0;
            let got = output.checked();
            let limit: Vec<f64> = gradient.iter().map(|g| g / sizes).collect();
            let got: Vec<f32> = got.iter().map(|g| g / sizes as f32).collect();
            let largest = limit.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            if largest > 1e-3 {
                assert_close_to_largest(isa, &got, &limit, 2e-5);
            }
        }
    }
}

#[test]
fn wrong_targets_are_errors() {
    let logits = [0.0; 6];
    let logits = Matrix::new(&logits, 2, 3).unwrap();
    let isa = Isa::detect();
    let loss = CrossEntropy::default();
    let result = loss.forward(isa, &logits, &[2, 3], 1.0, None);
    assert_eq!(result, Err(Error::Target { row: 1, target: 3, classes: 3 }));
    assert!(matches!(loss.forward(isa, &logits, &[0], 1.0, None), Err(Error::Length { .. })));
    let weighted = CrossEntropy { class_weights: Some(&[1.0, 2.0]) };
    let result = weighted.forward(isa, &logits, &[0, 1], 1.0, None);
    assert!(matches!(result, Err(Error::Length { what: "class weights", .. })));
    assert!(matches!(weighted.total_weight(&[2]), Err(Error::Target { .. })));
}

#[test]
fn nan_and_infinite_logits_give_no_finite_loss() {
    for isa in Isa::available() {
        for damage in [f32::NAN, f32::INFINITY] {
            for classes in [2, 40] {
                let mut logits = numbers(classes, 1);
                logits[0] = damage;
                let mut gradient = vec![0.0; classes];
                let logits = Matrix::new(&logits, 1, classes).unwrap();
                let mut to = MatrixMut::new(&mut gradient, 1, classes).unwrap();
                let loss = CrossEntropy::default();
                let loss = loss.forward(isa, &logits, &[1], 1.0, Some(&mut to)).unwrap();
                assert!(!loss.is_finite(), "{isa} {damage} {loss}");
                assert!(gradient.iter().any(|value| !value.is_finite()), "{isa} {damage}");
            }
        }
    }
}

//! GELU, masks and reductions against float64.

use kernels::{Error, Gelu, Isa, add, add_masked, is_finite, mask, sum_of_squares};
use proptest::prelude::*;

use crate::reference::{
    Guarded, assert_close, cases, dot, numbers, numerical_gradient, size, widened,
};

/// Error function by a series of terms of one sign (Abramowitz and Stegun 1964, 7.1.6): exact to
/// rounding, so that differences of it are exact too.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp()
}

fn gelu(kind: Gelu, x: f64) -> f64 {
    match kind {
        Gelu::Tanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Gelu::Erf => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn gelu_and_its_gradient_equal_float64(length in 0..200_usize, seed in 0..99_u64) {
        let length = size(length);
        let input: Vec<f32> = numbers(length, seed).iter().map(|x| 6.0 * x).collect();
        let weights = numbers(length, seed + 1);
        for kind in [Gelu::Tanh, Gelu::Erf] {
            let expected: Vec<f64> = input.iter().map(|&x| gelu(kind, f64::from(x))).collect();
            let wide = widened(&weights);
            let loss = |x: &[f64]| {
                let value: Vec<f64> = x.iter().map(|&x| gelu(kind, x)).collect();
                dot(&value, &wide)
            };
            let gradient = numerical_gradient(&widened(&input), loss);
            for isa in Isa::available() {
                let mut output = Guarded::new(1, length, length);
                kind.forward(isa, &input, output.inner()).unwrap();
                let sizes: Vec<f64> = input.iter().map(|x| f64::from(x.abs()) + 0.1).collect();
                assert_close(isa, &output.checked(), &expected, &sizes, 3e-7);

                let mut output = Guarded::new(1, length, length);
                output.fill(&weights);
                kind.backward(isa, &input, output.inner()).unwrap();
                assert_close(isa, &output.checked(), &gradient, &vec![1.0; length], 1e-6);
            }
        }
    }

    #[test]
    fn masks_and_sums_equal_float64(length in 0..200_usize, seed in 0..99_u64) {
        let (a, b) = (numbers(length, seed), numbers(length, seed + 1));
        let c = numbers(length, seed + 2);
        let mut output = Guarded::new(1, length, length);
        mask(&a, &b, output.inner()).unwrap();
        prop_assert!(output.checked().iter().zip(a.iter().zip(&b)).all(|(o, (a, b))| *o == a * b));
        output.fill(&c);
        add_masked(&a, &b, output.inner()).unwrap();
        let sums = c.iter().zip(a.iter().zip(&b)).map(|(c, (a, b))| c + a * b);
        prop_assert!(output.checked().into_iter().eq(sums));
        output.fill(&c);
        add(&a, output.inner()).unwrap();
        let sums = c.iter().zip(&a).map(|(c, a)| c + a);
        prop_assert!(output.checked().into_iter().eq(sums));
        let squares: f64 = widened(&a).iter().map(|a| a * a).sum();
        prop_assert!((sum_of_squares(&a) - squares).abs() <= 1e-12 * squares);
    }
}

#[test]
fn gelu_tails_are_finite() {
    let input = [1e4_f32, -1e4, 50.0, -50.0, 9.0, -9.0, 0.0, -0.0, f32::MIN_POSITIVE];
    for isa in Isa::available() {
        for kind in [Gelu::Tanh, Gelu::Erf] {
            let mut output = [0.0; 9];
            kind.forward(isa, &input, &mut output).unwrap();
            let mut gradient = [1.0; 9];
            kind.backward(isa, &input, &mut gradient).unwrap();
            for index in 0..9 {
                let positive = if input[index] > 1.0 { 1.0 } else { 0.0 };
                if input[index].abs() > 1.0 {
                    assert!(
                        (output[index] - positive * input[index]).abs() < 1e-6,
                        "{isa} {kind:?}"
                    );
                    assert!((gradient[index] - positive).abs() < 1e-6, "{isa} {kind:?}");
                } else {
                    assert!(
                        output[index].abs() < 1e-30 && gradient[index] == 0.5,
                        "{isa} {kind:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn gelu_of_nan_is_nan_and_of_infinity_not_finite() {
    for isa in Isa::available() {
        for kind in [Gelu::Tanh, Gelu::Erf] {
            let input = [f32::NAN, f32::INFINITY, 1.0];
            let mut output = [0.0; 3];
            kind.forward(isa, &input, &mut output).unwrap();
            assert!(output[0].is_nan() && !output[1].is_finite() && output[2].is_finite());
            let mut gradient = [1.0; 3];
            kind.backward(isa, &input, &mut gradient).unwrap();
            assert!(gradient[0].is_nan() && gradient[2].is_finite());
            let mut gradient = [1.0, f32::NAN, f32::INFINITY];
            kind.backward(isa, &[1.0, 1.0, 1.0], &mut gradient).unwrap();
            assert!(gradient[0].is_finite() && gradient[1].is_nan() && !gradient[2].is_finite());
        }
    }
}

#[test]
fn nan_and_infinite_elements_are_found() {
    assert!(is_finite(&[]));
    for damage in [f32::NEG_INFINITY, f32::NAN] {
        let mut values = numbers(3000, 1);
        assert!(is_finite(&values));
        values[2999] = damage;
        assert!(!is_finite(&values) && !sum_of_squares(&values).is_finite());
    }
}

#[test]
fn different_lengths_are_errors() {
    let (short, mut long) = (vec![0.0; 3], vec![0.0; 4]);
    let is_length = |result| matches!(result, Err(Error::Length { .. }));
    assert!(is_length(Gelu::Tanh.forward(Isa::detect(), &short, &mut long)));
    assert!(is_length(Gelu::Erf.backward(Isa::detect(), &short, &mut long)));
    assert!(is_length(mask(&short, &short, &mut long)));
    assert!(is_length(add_masked(&short, &short, &mut long)));
    assert!(is_length(add(&short, &mut long)));
}

//! AdamW against float64.

use kernels::{AdamW, Error, Isa};
use proptest::prelude::*;

use crate::reference::{Guarded, assert_close, cases, numbers, size, widened};

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn adamw_equals_float64_over_several_steps(
        length in 0..150_usize,
        rates in [1e-5..1e-1_f64, 0.0..0.5_f64],
        seed in 0..99_u64,
    ) {
        let length = size(length);
        let optimizer = AdamW {
            learning_rate: rates[0],
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: rates[1],
        };
        let start = numbers(length, seed);
        for isa in Isa::available() {
            let mut state = [(); 3].map(|()| Guarded::new(1, length, length));
            state[0].fill(&start);
            state[1].fill(&vec![0.0; length]);
            state[2].fill(&vec![0.0; length]);
            let mut parameter = widened(&start);
            let (mut mean, mut square) = (vec![0.0; length], vec![0.0; length]);
            for step in 1..=5_u32 {
                let gradient = numbers(length, seed + u64::from(step));
                let [values, means, squares] = &mut state;
                optimizer
                    .step(isa, step, &gradient, values.inner(), means.inner(), squares.inner())
                    .unwrap();
                for index in 0..length {
                    // Kingma and Ba 2015, algorithm 1, with the decay of Loshchilov and Hutter.
                    let g = f64::from(gradient[index]);
                    mean[index] = 0.9 * mean[index] + 0.1 * g;
                    square[index] = 0.999 * square[index] + 0.001 * g * g;
                    let corrected = mean[index] / (1.0 - 0.9_f64.powi(step as i32));
                    let variance = square[index] / (1.0 - 0.999_f64.powi(step as i32));
                    parameter[index] -= rates[0] * rates[1] * parameter[index];
                    parameter[index] -= rates[0] * corrected / (variance.sqrt() + 1e-8);
                }
            }
            let sizes = vec![1.0; length];
            assert_close(isa, &state[0].checked(), &parameter, &sizes, 2e-6);
            assert_close(isa, &state[1].checked(), &mean, &sizes, 1e-6);
            assert_close(isa, &state[2].checked(), &square, &sizes, 1e-6);
        }
    }
}

#[test]
fn wrong_lengths_and_step_zero_are_errors() {
    let optimizer =
        AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let (long, mut a, mut b, mut c) = ([0.0; 4], [0.0; 4], [0.0; 4], [0.0; 3]);
    let isa = Isa::detect();
    let result = optimizer.step(isa, 1, &long, &mut a, &mut b, &mut c);
    assert!(matches!(result, Err(Error::Length { what: "mean square of the gradient", .. })));
    let result = optimizer.step(isa, 0, &long[..3], &mut a[..3], &mut b[..3], &mut c);
    assert!(matches!(result, Err(Error::Setting { .. })));
}

#[test]
fn nan_stays_in_its_element() {
    let optimizer =
        AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    for isa in Isa::available() {
        let mut gradient = numbers(40, 1);
        gradient[17] = f32::NAN;
        let mut state = [(); 3].map(|()| vec![0.0; 40]);
        let [parameter, mean, square] = &mut state;
        optimizer.step(isa, 1, &gradient, parameter, mean, square).unwrap();
        for values in &state {
            assert!(
                values.iter().enumerate().all(|(index, value)| value.is_nan() == (index == 17))
            );
        }
    }
}

//! Which weights a model has, said in so few numbers that they fit beside settings.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Result, model::Gpt2};

/// Numbers that are looked at in each tensor, evenly spread over it.
const SAMPLES: i64 = 2;

/// Sums of each tensor, of all its numbers with signs that are as good as drawn.
const SUMS: u64 = 2;

/// Four numbers of every tensor of a model: two of its own, and two sums of all of them,
/// each with signs that follow from its place. They tell a model from others of its shapes,
/// and take copies for the same that were saved as float16 or bfloat16. A model that was
/// changed is another one if the change of a tensor is about a fiftieth of the tensor (in
/// the Euclidean norm), wherever it is, or if a number that is looked at has moved by more
/// than such a copy would round it.
///
/// Serialized it is a string of eight hexadecimal digits a number, those of its float32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(Vec<f32>);

impl Fingerprint {
    /// Of the body of a model in float32, before anything is put in the place of its
    /// layers.
    ///
    /// # Errors
    /// Whatever libtorch refuses.
    pub fn of(model: &Gpt2) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        let mut numbers = Vec::new();
        for (_, tensor) in model.named_parameters() {
            numbers.extend(samples(&tensor)?);
            for seed in 0..SUMS {
                numbers.push(signed_sum(&tensor, seed)?);
            }
        }
        Ok(Self(numbers))
    }

    /// The name of the first tensor of a model that has other numbers; `None` if it is the
    /// same model, or a copy of it in another dtype.
    ///
    /// # Errors
    /// Whatever libtorch refuses.
    pub fn differs_from(&self, model: &Gpt2) -> Result<Option<String>> {
        let _no_grad = tch::no_grad_guard();
        let mut expected = self.0.iter().copied();
        for (name, tensor) in model.named_parameters() {
            for value in samples(&tensor)? {
                if !expected.next().is_some_and(|expected| is_near(expected, value)) {
                    return Ok(Some(name));
                }
            }
            let most = most_of_roundings(&tensor)?;
            for seed in 0..SUMS {
                let sum = signed_sum(&tensor, seed)?;
                let is_same = |expected: f32| (expected - sum).abs() <= most;
                if !expected.next().is_some_and(is_same) {
                    return Ok(Some(name));
                }
            }
        }
        Ok(expected.next().map(|_| "the number of its tensors".to_owned()))
    }
}

/// Numbers of a tensor, none of one without numbers.
fn samples(tensor: &Tensor) -> Result<Vec<f32>> {
    let (shape, numbers) = (tensor.size(), tensor.numel() as i64);
    let mut samples = Vec::new();
    for part in (1..=SAMPLES).filter(|_| numbers > 0) {
        let mut rest = numbers * part / (SAMPLES + 1);
        let mut index = vec![0; shape.len()];
        for (place, size) in index.iter_mut().zip(&shape).rev() {
            (*place, rest) = (rest % size, rest / size);
        }
        samples.push(tensor.f_double_value(&index)? as f32);
    }
    Ok(samples)
}

/// The sum of a tensor's numbers, each with a sign that is the product of signs of its
/// places: one product of a matrix and a vector, and no copy.
fn signed_sum(tensor: &Tensor, seed: u64) -> Result<f32> {
    let mut sum = tensor.f_to_kind(Kind::Float)?;
    while let Some(&size) = sum.size().last() {
        let signs: Vec<f32> = (0..size as u64).map(|place| sign(place, seed)).collect();
        let signs = Tensor::f_from_slice(&signs)?.f_to_device(sum.device())?;
        sum = sum.f_matmul(&signs)?;
    }
    Ok(sum.f_double_value(&[])? as f32)
}

/// 1 or -1, by the finalizer of MurmurHash3.
fn sign(place: u64, seed: u64) -> f32 {
    let mut bits = place.wrapping_add(seed << 32).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ bits >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    if (bits ^ bits >> 33) & 1 == 0 { 1.0 } else { -1.0 }
}

/// How much a sum may move where a tensor is rounded to bfloat16: an error of 0.0016 of
/// each number in the root mean square, of which about ten times as much is allowed, and
/// the steps of float16 near zero.
fn most_of_roundings(tensor: &Tensor) -> Result<f32> {
    let norm = tensor.f_norm()?.f_double_value(&[])?;
    let tiny = 2f64.powi(-24) * (tensor.numel() as f64).sqrt();
    Ok((norm / 64.0 + 4.0 * tiny) as f32)
}

/// Whether two numbers may be one that was rounded to bfloat16, or to float16, whose
/// numbers near zero are 2^-24 apart.
fn is_near(one: f32, other: f32) -> bool {
    let (half_steps, tiny) = (2f32.powi(-8) + 2f32.powi(-11), 2f32.powi(-24));
    (one - other).abs() <= one.abs().max(other.abs()) * half_steps + tiny
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0.iter().map(|number| format!("{:08x}", number.to_bits())).collect()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            let is_hex = digits.len() == 8 && digits.bytes().all(|c| c.is_ascii_hexdigit());
            let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex);
            number.map(f32::from_bits).filter(|number| number.is_finite())
        };
        let numbers: Option<Vec<f32>> = text.as_bytes().chunks(8).map(number).collect();
        numbers.map(Self).ok_or_else(|| {
            "a fingerprint of a model is hexadecimal numbers of eight digits each".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;
    use tch::{Device, Kind};

    use super::*;
    use crate::Gpt2Config;

    fn small(seed: u64) -> Gpt2 {
        let config = Gpt2Config {
            vocab_size: 11,
            n_positions: 8,
            n_embd: 12,
            n_layer: 2,
            n_head: 3,
            ..Gpt2Config::named("gpt2").unwrap()
        };
        Gpt2::random(&config, seed, Device::Cpu).unwrap()
    }

    #[test]
    fn another_model_of_the_same_shapes_is_another() {
        let fingerprint = Fingerprint::of(&small(1)).unwrap();
        assert_eq!(fingerprint.differs_from(&small(1)).unwrap(), None);
        assert_eq!(fingerprint.differs_from(&small(2)).unwrap().as_deref(), Some("wte.weight"));
    }

    #[test]
    fn a_tensor_that_was_trained_on_is_named() {
        let fingerprint = Fingerprint::of(&small(1)).unwrap();
        for (number, (name, _)) in small(1).named_parameters().iter().enumerate() {
            let model = small(1);
            let _no_grad = tch::no_grad_guard();
            let mut tensor = model.named_parameters().swap_remove(number).1;
            let _ = tensor.f_add_scalar_(1e-2).unwrap();
            assert_eq!(fingerprint.differs_from(&model).unwrap().as_ref(), Some(name));
        }
    }

    #[test]
    fn a_copy_in_another_dtype_is_the_same() {
        let fingerprint = Fingerprint::of(&small(1)).unwrap();
        for kind in [Kind::BFloat16, Kind::Half] {
            let copy = small(1);
            let _no_grad = tch::no_grad_guard();
            for (_, mut tensor) in copy.named_parameters() {
                let rounded = tensor.f_to_kind(kind).unwrap().f_to_kind(Kind::Float).unwrap();
                tensor.f_copy_(&rounded).unwrap();
            }
            assert_eq!(fingerprint.differs_from(&copy).unwrap(), None, "{kind:?}");
        }
    }

    #[test]
    fn more_or_fewer_tensors_are_another_model() {
        let Fingerprint(mut numbers) = Fingerprint::of(&small(1)).unwrap();
        numbers.push(0.0);
        let said = Fingerprint(numbers.clone()).differs_from(&small(1)).unwrap();
        assert_eq!(said.as_deref(), Some("the number of its tensors"));
        numbers.truncate(numbers.len() - 2);
        let said = Fingerprint(numbers).differs_from(&small(1)).unwrap();
        assert_eq!(said.as_deref(), Some("ln_f.bias"));
    }

    #[test]
    fn it_is_text_that_can_be_read_again() {
        let fingerprint = Fingerprint::of(&small(3)).unwrap();
        let text = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), fingerprint);
        for wrong in ["abc", "+3f80000", "3f8000ä", "3f800000 3f80000", "7f800000", "ffc00000"] {
            assert!(Fingerprint::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    /// What is changed in a tensor is seen wherever it is, if it is no rounding.
    #[test]
    fn a_change_between_the_numbers_looked_at_is_seen() {
        let fingerprint = Fingerprint::of(&small(1)).unwrap();
        for (stride, by) in [(2, -1.0), (3, 0.0), (1000, 30.0)] {
            for number in 0..small(1).named_parameters().len() {
                let model = small(1);
                let _no_grad = tch::no_grad_guard();
                let (name, mut tensor) = model.named_parameters().swap_remove(number);
                let looked_at = samples(&tensor).unwrap();
                let mut values: Vec<f32> = Vec::try_from(tensor.f_reshape([-1]).unwrap()).unwrap();
                let before = values.clone();
                for value in values.iter_mut().step_by(stride) {
                    *value *= by;
                }
                let changed = Tensor::from_slice(&values).reshape(tensor.size());
                tensor.f_copy_(&changed).unwrap();
                if values != before && samples(&tensor).unwrap() == looked_at {
                    let said = fingerprint.differs_from(&model).unwrap();
                    assert_eq!(said, Some(name), "{stride} {by}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn roundings_of_a_number_are_near(value in -100f32..100.0, exponent in -30i32..1) {
            let value = value * 2f32.powi(exponent);
            let bfloat = bf16::from_f32(value).to_f32();
            for copy in [value, bfloat, f16::from_f32(value).to_f32()] {
                prop_assert!(is_near(bfloat, copy) && is_near(copy, value), "{value} {copy}");
            }
        }

        #[test]
        fn other_numbers_are_not(value in 0.001f32..10.0, by in 1.01f32..2.0) {
            prop_assert!(!is_near(value, value * by));
            prop_assert!(!is_near(value, -value));
        }
    }
}

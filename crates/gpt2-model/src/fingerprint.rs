//! Which weights a model has, said in so few numbers that they fit beside settings.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::{Result, model::Gpt2};

/// Numbers that are looked at in each tensor, evenly spread over it.
const OF_EACH: i64 = 2;

/// A few numbers of every tensor of a model, as bfloat16 rounds them. It tells a model
/// from others of its shapes, and takes copies for the same that were saved as float16 or
/// bfloat16. A model that was trained on from there is another one as soon as one of these
/// numbers moved by more than such a copy would round it.
///
/// Serialized it is a string of four hexadecimal digits a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(Vec<u16>);

impl Fingerprint {
    /// Of the body of a model, before anything is put in the place of its layers.
    ///
    /// # Errors
    /// Whatever libtorch refuses.
    pub fn of(model: &Gpt2) -> Result<Self> {
        let mut numbers = Vec::new();
        for (_, tensor) in model.named_parameters() {
            for value in samples(&tensor)? {
                numbers.push(to_bfloat16(value));
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
        let mut expected = self.0.iter().copied().map(from_bfloat16);
        for (name, tensor) in model.named_parameters() {
            for value in samples(&tensor)? {
                if !expected.next().is_some_and(|expected| is_near(expected, value)) {
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
    for part in (1..=OF_EACH).filter(|_| numbers > 0) {
        let mut rest = numbers * part / (OF_EACH + 1);
        let mut index = vec![0; shape.len()];
        for (place, size) in index.iter_mut().zip(&shape).rev() {
            (*place, rest) = (rest % size, rest / size);
        }
        samples.push(tensor.f_double_value(&index)? as f32);
    }
    Ok(samples)
}

/// The upper half of a float32, rounded to the nearest, of two to the even one.
fn to_bfloat16(value: f32) -> u16 {
    let bits = value.to_bits();
    let round = 0x7fff + (bits >> 16 & 1);
    (bits.wrapping_add(round) >> 16) as u16
}

fn from_bfloat16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Whether a number that was rounded to bfloat16 may be this one, as it was, or rounded to
/// bfloat16 too, or to float16, whose numbers near zero are 2^-24 apart.
fn is_near(rounded: f32, value: f32) -> bool {
    let (half_steps, tiny) = (2f32.powi(-8) + 2f32.powi(-11), 2f32.powi(-24));
    (rounded - value).abs() <= rounded.abs().max(value.abs()) * half_steps + tiny
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0.iter().map(|number| format!("{number:04x}")).collect()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            let is_hex = digits.len() == 4 && digits.bytes().all(|c| c.is_ascii_hexdigit());
            let number = u16::from_str_radix(digits, 16).ok().filter(|_| is_hex);
            number.filter(|&number| from_bfloat16(number).is_finite())
        };
        let numbers: Option<Vec<u16>> = text.as_bytes().chunks(4).map(number).collect();
        numbers.map(Self).ok_or_else(|| {
            "a fingerprint of a model is hexadecimal numbers of four digits each".to_owned()
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
        numbers.push(0);
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
        for wrong in ["abc", "+abc", "äbc", "0000 000", "7f80", "ffc0"] {
            assert!(Fingerprint::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn roundings_of_a_number_are_near(value in -100f32..100.0, exponent in -30i32..1) {
            let value = value * 2f32.powi(exponent);
            prop_assert_eq!(to_bfloat16(value), bf16::from_f32(value).to_bits());
            let stored = from_bfloat16(to_bfloat16(value));
            for copy in [value, stored, f16::from_f32(value).to_f32()] {
                prop_assert!(is_near(stored, copy), "{} {}", stored, copy);
            }
        }

        #[test]
        fn other_numbers_are_not(value in 0.001f32..10.0, by in 1.01f32..2.0) {
            prop_assert!(!is_near(from_bfloat16(to_bfloat16(value)), value * by));
            prop_assert!(!is_near(value, -value));
        }
    }
}

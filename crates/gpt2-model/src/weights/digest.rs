//! Digest of a model's weights.

use std::thread;

use serde_json::json;
use storage::Sha256;
use tch::{Device, Kind, Tensor};

use crate::{error::Result, model::gpt2::Gpt2};

/// Hexadecimal digits of a digest.
const DIGITS: usize = 16;

/// Elements copied from a tensor at a time.
const CHUNK: i64 = 1 << 18;

impl Gpt2 {
    /// Returns 16 hexadecimal digits that identify the computation: of a SHA-256 over the
    /// names, shapes and float32 values of the parameters and the settings of the
    /// configuration that shapes do not show. Adapters on the model do not change it.
    ///
    /// Files of any number format that hold the same numbers have the same digest; a copy
    /// that was rounded to another format ([`Gpt2::stored_dtype`]) has another.
    pub fn digest(&self) -> Result<String> {
        let config = self.config();
        let mut whole = Sha256::new();
        let settings = json!([
            config.n_head,
            config.activation_function,
            // Bits, because the digits of a float depend on the version of serde_json.
            config.layer_norm_epsilon.to_bits(),
            config.scale_attn_weights,
            config.scale_attn_by_inverse_layer_idx,
        ]);
        whole.update(settings.to_string());
        let mut parameters = self.named_parameters();
        parameters.retain(|(name, _)| name.ends_with(".weight") || name.ends_with(".bias"));
        for hash in in_two_threads(parameters)? {
            whole.update(hash);
        }
        let mut digits = whole.finish();
        digits.truncate(DIGITS);
        Ok(digits)
    }
}

/// Returns the hash of each tensor, in order. Each thread takes tensors with about half of
/// the elements.
fn in_two_threads(mut tensors: Vec<(String, Tensor)>) -> Result<Vec<String>> {
    let half = tensors.iter().map(|(_, tensor)| tensor.numel()).sum::<usize>() / 2;
    let mut before = 0;
    let middle = tensors.iter().position(|(_, tensor)| {
        before += tensor.numel();
        before > half
    });
    let second = tensors.split_off(middle.map_or(0, |middle| middle + 1));
    let all = |tensors: Vec<(String, Tensor)>| -> Result<Vec<String>> {
        tensors.iter().map(|(name, tensor)| hash(name, tensor)).collect()
    };
    thread::scope(|scope| {
        let other = scope.spawn(move || all(second));
        let mut hashes = all(tensors)?;
        match other.join() {
            Ok(second) => hashes.extend(second?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        Ok(hashes)
    })
}

/// Hashes the name, shape and float32 values of a tensor.
fn hash(name: &str, tensor: &Tensor) -> Result<String> {
    let _no_grad = tch::no_grad_guard();
    let mut hash = Sha256::new();
    hash.update(format!("{name} {:?}\n", tensor.size()));
    let flat = tensor.f_detach()?.f_contiguous()?.f_view([-1])?;
    let mut bytes = vec![0u8; 4 * CHUNK as usize];
    for chunk in flat.f_split(CHUNK, 0)? {
        let chunk = chunk.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
        let size = 4 * chunk.numel();
        chunk.f_view_dtype(Kind::Uint8)?.f_copy_data(&mut bytes, size)?;
        hash.update(&bytes[..size]);
    }
    Ok(hash.finish())
}

#[cfg(test)]
mod tests {
    use gpt2_config::Gpt2Config;

    use super::*;
    use crate::dtype::DType;

    fn config() -> Gpt2Config {
        Gpt2Config {
            vocab_size: 11,
            n_positions: 8,
            n_embd: 12,
            n_layer: 2,
            n_head: 3,
            ..Gpt2Config::named("gpt2").unwrap()
        }
    }

    fn small(seed: u64) -> Gpt2 {
        Gpt2::random(&config(), seed, Device::Cpu).unwrap()
    }

    #[test]
    fn the_same_weights_have_the_same_digest() {
        let digest = small(1).digest().unwrap();
        assert_eq!(digest.len(), 16);
        assert_eq!(small(1).digest().unwrap(), digest);
        assert_ne!(small(2).digest().unwrap(), digest);
        let folder = tempfile::tempdir().unwrap();
        small(1).save(folder.path(), DType::Float32).unwrap();
        let loaded = Gpt2::load(folder.path(), Device::Cpu).unwrap();
        assert_eq!(loaded.digest().unwrap(), digest);
        assert_eq!(loaded.share().digest().unwrap(), digest);
    }

    #[test]
    fn every_element_of_every_parameter_counts() {
        let digest = small(1).digest().unwrap();
        for number in 0..small(1).named_parameters().len() {
            let model = small(1);
            let (name, tensor) = model.named_parameters().swap_remove(number);
            for index in [0, tensor.numel() as i64 - 1] {
                let flat = tensor.view([-1]);
                let _ = flat.get(index).fill_(0.125);
                assert_ne!(model.digest().unwrap(), digest, "{name} {index}");
            }
        }
    }

    #[test]
    fn settings_that_change_the_computation_count() {
        let digest = small(1).digest().unwrap();
        for changed in [
            Gpt2Config { n_head: 4, ..config() },
            Gpt2Config { layer_norm_epsilon: 1e-6, ..config() },
            Gpt2Config { activation_function: crate::Activation::Gelu, ..config() },
            Gpt2Config { scale_attn_weights: false, ..config() },
            Gpt2Config { scale_attn_by_inverse_layer_idx: true, ..config() },
        ] {
            let model = Gpt2::random(&changed, 1, Device::Cpu).unwrap();
            assert_ne!(model.digest().unwrap(), digest, "{changed:?}");
        }
    }

    #[test]
    fn a_rounded_copy_tells_its_format() {
        let folder = tempfile::tempdir().unwrap();
        for dtype in DType::ALL {
            small(1).save(folder.path(), dtype).unwrap();
            let copy = Gpt2::load(folder.path(), Device::Cpu).unwrap();
            assert_eq!(copy.stored_dtype(), dtype);
            let same = copy.digest().unwrap() == small(1).digest().unwrap();
            assert_eq!(same, dtype == DType::Float32);
        }
    }
}

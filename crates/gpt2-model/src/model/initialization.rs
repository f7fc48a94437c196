//! Random initialization of a whole model and of a new head.

use gpt2_config::{Gpt2Config, LM_HEAD, expected};
use rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;
use tch::{Device, Tensor};

use crate::{
    error::{ArgumentError, Result},
    model::linear::Linear,
    weights::read::Weights,
};

/// Initializes all weights as GPT-2 (Radford et al. 2019, section 2.3): normal with a
/// standard deviation of 0.02, divided by √(2 · layers) where a block adds to
/// the residual stream; biases zero, layer norms one.
pub(crate) fn random_weights(config: &Gpt2Config, seed: u64, device: Device) -> Result<Weights> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let residual = 0.02 / (2.0 * config.n_layer as f32).sqrt();
    let mut weights = Weights::new();
    // Behind the body, so that this is the same with a head of its own.
    let head = (LM_HEAD.to_owned(), vec![config.vocab_size, config.n_embd]);
    let head = (!config.tie_word_embeddings).then_some(head);
    for (name, shape) in expected(config).into_iter().chain(head) {
        let count = shape.iter().product::<i64>() as usize;
        let values: Vec<f32> = if name.ends_with(".bias") {
            vec![0.0; count]
        } else if shape.len() == 1 {
            vec![1.0; count]
        } else {
            let deviation = if name.ends_with("c_proj.weight") { residual } else { 0.02 };
            let normal = Normal::new(0.0f32, deviation).map_err(|error| {
                ArgumentError::Deviation { deviation, reason: error.to_string() }
            })?;
            normal.sample_iter(&mut rng).take(count).collect()
        };
        let tensor = Tensor::f_from_slice(&values)?.f_view(shape.as_slice())?;
        weights.insert(name, tensor.f_to_device(device)?);
    }
    Ok(weights)
}

/// Initializes a linear layer as PyTorch's `nn.Linear`: weight `[out, in]` and bias
/// `[out]` uniform in ±1/√in (He et al. 2015 with a = √5), drawn in this order.
/// With a generator equal to torch's, the numbers equal torch's.
pub(crate) fn linear<R: Rng + ?Sized>(
    rng: &mut R,
    input: i64,
    output: i64,
    device: Device,
) -> Result<Linear> {
    let bound = (1.0 / (input as f64).sqrt()) as f32;
    let mut draw = |count: i64| -> Vec<f32> {
        (0..count)
            .map(|_| {
                // 24 random bits, as many as a float32 holds.
                let unit = (rng.next_u32() & 0x00ff_ffff) as f32 / (1u32 << 24) as f32;
                unit.mul_add(bound + bound, -bound)
            })
            .collect()
    };
    let weight = Tensor::f_from_slice(&draw(output * input))?.f_view([output, input])?;
    let bias = Tensor::f_from_slice(&draw(output))?;
    Ok(Linear::new(weight.f_to_device(device)?, Some(bias.f_to_device(device)?)))
}

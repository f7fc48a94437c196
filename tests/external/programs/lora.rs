//! Adapts a linear layer of tch.

use std::error::Error;

use lora::{LoraConfig, LoraLinear};
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
use tch::{Device, Kind, Tensor, nn, nn::ModuleT};

fn main() -> Result<(), Box<dyn Error>> {
    let variables = nn::VarStore::new(Device::Cpu);
    let layer = nn::linear(variables.root(), 8, 16, Default::default());
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let layer = LoraLinear::from_linear(&layer, &LoraConfig::new(4), &mut rng)?;
    let outputs = layer.forward_t(&Tensor::ones([2, 8], (Kind::Float, Device::Cpu)), true);
    let parameters: usize = layer.parameters().map(|parameter| parameter.numel()).sum();
    println!("{parameters} trainable parameters, outputs {:?}", outputs.size());
    Ok(())
}

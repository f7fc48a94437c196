//! Continues a text with a randomly initialized GPT-2.

use gpt2_model::{Gpt2, Gpt2Config};
use tch::{Device, Tensor};

fn main() -> Result<(), gpt2_model::Error> {
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 100, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}"#,
    )?;
    let model = Gpt2::random(&config, 123, Device::Cpu)?;
    let logits = model.lm_logits(&Tensor::from_slice(&[5i64, 6, 7]).view([1, 3]))?;
    println!("logits {:?}", logits.size());
    Ok(())
}

//! Last-position logits of a model on given token ids, for comparison with
//! another implementation:
//!
//! ```sh
//! cargo run -p gpt2-model --example last_logits -- MODEL_DIR PROMPTS.json OUT.safetensors
//! ```
//!
//! `PROMPTS.json` has a key `prompts` with a list of lists of token ids; the
//! tensors of the output are called `prompt.0`, `prompt.1`, …, of shape `[vocab]`.

use std::{error::Error, fs};

use gpt2_model::Gpt2;
use serde_json::Value;
use tch::{Device, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, prompts, out] = arguments.as_slice() else {
        return Err("usage: last_logits MODEL_DIR PROMPTS.json OUT.safetensors".into());
    };
    let model = Gpt2::load(folder, Device::Cpu)?;
    let file: Value = serde_json::from_str(&fs::read_to_string(prompts)?)?;
    let prompts: Vec<Vec<i64>> = serde_json::from_value(file["prompts"].clone())?;
    let mut rows = Vec::new();
    for (number, logits) in model.next_token_logits(&prompts)?.iter().enumerate() {
        rows.push((format!("prompt.{number}"), Tensor::f_from_slice(logits)?));
    }
    Tensor::write_safetensors(&rows, out)?;
    Ok(())
}

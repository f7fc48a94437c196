//! Text generation: batches of prompts with a key-value cache.

mod batch;
pub(crate) mod decoder;
mod logits;
mod sampling;
mod settings;
mod stopping;
mod torch_decoder;

pub use batch::{Generated, Prompt, generate, generate_batch};
pub use settings::{GenerateConfig, RandomSampling, Sampling};
pub use stopping::{FinishReason, check_prompt};

#[cfg(test)]
mod tests;

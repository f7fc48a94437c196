//! The gpt2-lora command.

fn main() {}

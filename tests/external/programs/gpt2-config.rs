//! Counts the tensors that the config.json of a model directory asks for.

use std::{error::Error, path::PathBuf};

use gpt2_config::{Gpt2Config, expected};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).map(PathBuf::from).ok_or("give a model directory")?;
    let config = Gpt2Config::from_file(&folder.join("config.json"))?;
    println!("{} tensors", expected(&config).len());
    Ok(())
}

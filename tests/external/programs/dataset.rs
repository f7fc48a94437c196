//! Splits a table of labeled text and makes batches of it.

use std::error::Error;

use dataset::{DataLoader, LabeledText, Padding, SplitConfig, Tokenizer, TorchRng};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("dataset-{}.csv", std::process::id()));
    let rows = "5,a good story\n1,far too long\n".repeat(10);
    std::fs::write(&path, format!("stars,body\n{rows}"))?;
    let data = LabeledText::open(&path)?.text("body").label("stars").read()?;
    std::fs::remove_file(&path)?;
    let splits = data.split(&SplitConfig::default())?.tokenize(&Tokenizer::gpt2())?;
    let padding = Padding::To(splits.max_length);
    let loader = DataLoader::new(&splits.train, 7, padding, true, true)?;
    let batches = loader.iter(&mut TorchRng::manual_seed(123)).len();
    println!("{} training examples in {batches} batches", splits.train.len());
    Ok(())
}

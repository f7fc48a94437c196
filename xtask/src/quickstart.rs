//! `cargo xtask quickstart`: from a fresh clone to a trained classifier.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo::{cargo, run},
    dataset, libtorch,
    workspace::{show, target_folder},
};

/// Messages that the new classifier predicts at the end.
const EXAMPLES: [&str; 3] = [
    "Running ten minutes late, can you save me a seat?",
    "CONGRATULATIONS! Your number has won a 500 pound gift card. Call 0900 111 222 to claim now",
    "Hi, it's the garage. Your car is ready to be picked up after four.",
];

pub fn quickstart(root: &Path) -> Result<()> {
    libtorch::ensure(root)?;
    let (data, is_sample) = data(root)?;
    say!("building (the first time, that takes minutes)");
    // The tests use the same selection of packages: nothing is compiled twice.
    cargo(root, &["build", "--locked", "--workspace", "--bins"])?;
    let out = free_folder(root)?;
    let text = |path: &Path| path.display().to_string();
    say!("fine-tuning weights/pocket on {}", show(root, &data));
    gpt2_lora(
        root,
        &["train", "--model", "weights/pocket", "--data", &text(&data), "--out", &text(&out)],
    )?;
    tell!("\nthree messages that it has never seen (label, probability, text):");
    let adapter = text(&out.join("adapter"));
    let mut predict = vec!["predict", "--adapter", &adapter, "--"];
    predict.extend(EXAMPLES);
    gpt2_lora(root, &predict)?;
    tell!("\nResults are in {}: adapter/, loss.png, accuracy.png, report.json.", show(root, &out));
    tell!("The same on GPT-2 124M, which is larger and better:\n");
    tell!("    cargo xtask fetch-weights");
    if is_sample {
        tell!("    cargo xtask fetch-dataset");
    }
    tell!("    cargo run -p trainer");
    Ok(())
}

/// The SMS Spam Collection if it is present or can be fetched, else the sample, with a
/// note.
fn data(root: &Path) -> Result<(PathBuf, bool)> {
    let collection = root.join(dataset::COLLECTION);
    if collection.is_file() {
        return Ok((collection, false));
    }
    match dataset::fetch(root, &dataset::FetchArgs::default()) {
        Ok(()) => Ok((collection, false)),
        Err(error) => {
            let sample = root.join("datasets/sample/messages.tsv");
            if !sample.is_file() {
                bail!("{} is missing, which is part of the project", show(root, &sample));
            }
            say!(
                "note: the sample messages of {} are used, because {error:#}",
                show(root, &sample)
            );
            Ok((sample, true))
        }
    }
}

/// The first free `runs/quickstart-N`, which the training makes.
fn free_folder(root: &Path) -> Result<PathBuf> {
    let mut folders = (1u32..).map(|number| root.join(format!("runs/quickstart-{number}")));
    folders.find(|folder| !folder.exists()).context("no free name is left in runs/")
}

/// Runs the command that was built.
fn gpt2_lora(root: &Path, arguments: &[&str]) -> Result<()> {
    let program = target_folder(root).join("debug/gpt2-lora");
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(root);
    run(command).with_context(|| format!("{} {}", program.display(), arguments[0]))
}

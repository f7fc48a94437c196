//! `cargo xtask readme-images`: the terminal recording and the plot of the README.

use std::{
    fs, io,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo::cargo,
    libtorch,
    workspace::{remove_folder, show, target_folder},
};

/// Directory of the README's images.
const IMAGES: &str = "docs/images";
/// The recorded run: models and messages that ship with the project, so that anyone can repeat it.
const RUN: &str = "runs/readme-images";
const ARGUMENTS: [&str; 8] =
    ["--model", "pocket", "--data", "datasets/sample/messages.tsv", "--epochs", "3", "--out", RUN];

pub fn render(root: &Path) -> Result<()> {
    libtorch::ensure(root)?;
    cargo(root, &["build", "--locked", "--workspace", "--bins"])?;
    let run = root.join(RUN);
    remove_folder(&run)?;
    say!("training; that takes minutes");
    let output = record(root)?;
    let images = root.join(IMAGES);
    fs::create_dir_all(&images).with_context(|| images.display().to_string())?;
    let text = format!("$ cargo run -p trainer -- {}\n{output}", ARGUMENTS.join(" "));
    let recording = images.join("training.svg");
    fs::write(&recording, anstyle_svg::Term::new().render_svg(&text))
        .with_context(|| recording.display().to_string())?;
    let plot = images.join("loss.svg");
    fs::copy(run.join("loss.svg"), &plot).with_context(|| plot.display().to_string())?;
    remove_folder(&run)?;
    tell!("{}\n{}", show(root, &recording), show(root, &plot));
    Ok(())
}

/// Everything that the run prints, in the order in which a terminal shows it.
fn record(root: &Path) -> Result<String> {
    let program = target_folder(root).join("debug/trainer");
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(&program);
    command.args(ARGUMENTS).current_dir(root).stdin(Stdio::null());
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| program.display().to_string())?;
    // Holds the writing end of the pipe, which would never end otherwise.
    drop(command);
    let mut output = String::new();
    reader.read_to_string(&mut output)?;
    let status = child.wait()?;
    if !status.success() {
        bail!("the training failed ({status}):\n{output}");
    }
    Ok(output)
}

//! Regenerates the seeds that are not plain text, after a change of their formats:
//! `cargo run -p parsers --example make_seeds`.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use gpt2_model::{DType, Gpt2, Gpt2Config, Pooling};
use lora::{CONFIG_FILE, LoraConfig, WEIGHTS_FILE};
use tch::Device;
use trainer::{
    Control, Head, TrainArgs,
    config::{GivenSettings, PadTo},
    inference::AdapterMetadata,
    run,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A folder of the project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn seed(path: &str) -> PathBuf {
    project("tests/fuzz/seeds").join(path)
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    model(folder.path())?;
    adapters()?;
    split(folder.path())?;
    checkpoint(folder.path())
}

fn model(folder: &Path) -> Result<()> {
    let config = Gpt2Config::from_file(&seed("model_config/tiny.json"))?;
    let body = Gpt2::random(&config, 1, Device::Cpu)?;
    for (name, dtype) in [("tiny", DType::Float32), ("half", DType::Float16)] {
        body.save(folder, dtype)?;
        let to = seed(&format!("model_weights/{name}.safetensors"));
        fs::copy(folder.join("model.safetensors"), to)?;
    }
    Ok(())
}

/// One that PEFT wrote, and what this project keeps beside one.
fn adapters() -> Result<()> {
    let peft = project("tests/fixtures/peft/default");
    fs::copy(peft.join(CONFIG_FILE), seed("adapter_config/peft.json"))?;
    fs::copy(peft.join(WEIGHTS_FILE), seed("adapter_weights/peft.safetensors"))?;
    let about = AdapterMetadata {
        prompts: None,
        task: trainer::TaskKind::Classify,
        base_model: "base".to_owned(),
        base_seed: None,
        base_digest: None,
        tokenizer: None,
        base_dtype: None,
        labels: ["ham", "spam", "other"].map(str::to_owned).to_vec(),
        pooling: Pooling::LastToken,
        pad_to: PadTo::None,
        max_length: 8,
        dtype: DType::Float32,
        head: Head::Full,
        quotes: dataset::Quotes::Keep,
        lora: None,
        head_bias: None,
    };
    fs::write(seed("adapter_use/three_labels.json"), serde_json::to_string_pretty(&about)?)?;
    let known = AdapterMetadata {
        base_digest: Some(parsers::base_model().digest()?),
        base_dtype: Some(DType::Float32),
        lora: Some(LoraConfig::new(4).targets(["q", "k", "v"])),
        head_bias: Some(vec![0.5, -0.25, 0.0]),
        ..about
    };
    fs::write(seed("adapter_use/known_base.json"), serde_json::to_string_pretty(&known)?)?;
    Ok(())
}

/// Split of the rows of the target.
fn split(folder: &Path) -> Result<()> {
    let rows: String =
        (0..20).map(|row| format!("{}\ttext {row}\n", ["a", "b"][row % 2])).collect();
    fs::write(folder.join("data.tsv"), rows)?;
    let parts = folder.join("parts");
    let files = dataset::LabeledFiles::new(folder.join("data.tsv"));
    dataset::PreparedSplit::new(&files, &dataset::SplitConfig::default(), &parts)?.write()?;
    fs::copy(parts.join(dataset::MANIFEST_FILE), seed("split/twenty_rows.json"))?;
    Ok(())
}

/// The checkpoint of a run that is stopped after its first step.
fn checkpoint(folder: &Path) -> Result<()> {
    // It remembers paths, and these should be the same everywhere.
    fs::create_dir(folder.join("model"))?;
    for file in ["config.json", "model.safetensors"] {
        fs::copy(project("weights/pocket").join(file), folder.join("model").join(file))?;
    }
    fs::copy(project("datasets/sample/messages.tsv"), folder.join("data.tsv"))?;
    std::env::set_current_dir(folder)?;
    let settings = GivenSettings::default()
        .with("model", "model")
        .with("data", vec!["data.tsv"])
        .with("out", "run")
        .with("rank", 1)
        .with("target-modules", vec!["q"]);
    let resolved = TrainArgs { settings, ..TrainArgs::default() }.resolve()?;
    let stop = Arc::new(AtomicBool::new(true));
    let control = Control { stop, ..Control::default() };
    match run(&resolved, &control, &mut ()) {
        Err(trainer::Error::Interrupted { .. }) => {}
        other => return Err(format!("the run was not stopped: {other:?}").into()),
    }
    let found =
        trainer::training::last_checkpoint(Path::new("run"))?.ok_or("there is no checkpoint")?;
    fs::copy(found.path, seed("checkpoint/first_step.safetensors"))?;
    Ok(())
}

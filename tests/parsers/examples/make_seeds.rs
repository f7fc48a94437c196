//! Makes the seeds that are no plain text again, for when their formats change:
//! `cargo run -p parsers --example make_seeds`.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use gpt2_model::{DType, Fingerprint, Gpt2, Gpt2Config, Pooling, StorageType};
use lora::{CONFIG_FILE, WEIGHTS_FILE, peft::PeftAdapter};
use tch::Device;
use trainer::{AdapterUse, Control, Head, PadTo, TrainArgs, run_with};

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
    adapters(folder.path())?;
    split(folder.path())?;
    checkpoint(folder.path())
}

fn model(folder: &Path) -> Result<()> {
    let config = Gpt2Config::from_file(&seed("model_config/tiny.json"))?;
    let body = Gpt2::random(&config, 1, Device::Cpu)?;
    for (name, storage) in [("tiny", StorageType::Float32), ("half", StorageType::Float16)] {
        body.save(folder, storage)?;
        let to = seed(&format!("model_weights/{name}.safetensors"));
        fs::copy(folder.join("model.safetensors"), to)?;
    }
    Ok(())
}

/// One that PEFT wrote, and the same in this project's format.
fn adapters(folder: &Path) -> Result<()> {
    let peft = project("tests/fixtures/peft/default");
    fs::copy(peft.join(CONFIG_FILE), seed("adapter_config/peft.json"))?;
    fs::copy(peft.join(WEIGHTS_FILE), seed("adapter_weights/peft.safetensors"))?;
    let about = AdapterUse {
        base_model: "base".to_owned(),
        base_folder: None,
        base_seed: None,
        base_fingerprint: None,
        labels: ["ham", "spam", "other"].map(str::to_owned).to_vec(),
        pooling: Pooling::LastToken,
        pad_to: PadTo::None,
        max_length: 8,
        dtype: DType::Float32,
        head: Head::Full,
        quotes: dataset::Quotes::Keep,
    };
    fs::write(seed("adapter_use/three_labels.json"), serde_json::to_string_pretty(&about)?)?;
    let known = AdapterUse {
        base_fingerprint: Some(Fingerprint::of(&parsers::base_model())?),
        ..about.clone()
    };
    fs::write(seed("adapter_use/known_base.json"), serde_json::to_string_pretty(&known)?)?;
    let mut ours = PeftAdapter::load(&peft)?.into_state("transformer.")?;
    if let serde_json::Value::Object(about) = serde_json::to_value(&about)? {
        ours.more_mut().extend(about);
    }
    ours.save(folder)?;
    fs::copy(folder.join(CONFIG_FILE), seed("adapter_config/ours.json"))?;
    fs::copy(folder.join(WEIGHTS_FILE), seed("adapter_weights/ours.safetensors"))?;
    Ok(())
}

/// Of the rows that the target has.
fn split(folder: &Path) -> Result<()> {
    let rows: String =
        (0..20).map(|row| format!("{}\ttext {row}\n", ["a", "b"][row % 2])).collect();
    fs::write(folder.join("data.tsv"), rows)?;
    let parts = folder.join("parts");
    dataset::prepare(folder.join("data.tsv"), &dataset::SplitConfig::default(), &parts)?;
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
    let args = TrainArgs {
        model: Some("model".to_owned()),
        data: Some("data.tsv".into()),
        out: Some("run".into()),
        rank: Some(1),
        target_modules: vec!["score".to_owned()],
        ..TrainArgs::default()
    };
    let config = args.resolve()?;
    let control = Control { resume: false, stop: Arc::new(AtomicBool::new(true)) };
    match run_with(&config, &control, &mut ()) {
        Err(trainer::Error::Interrupted { .. }) => {}
        other => return Err(format!("the run was not stopped: {other:?}").into()),
    }
    let run = Path::new("run");
    let found = trainer::last_checkpoint(run)?.ok_or("there is no checkpoint")?;
    fs::copy(found.path, seed("checkpoint/first_step.safetensors"))?;
    Ok(())
}

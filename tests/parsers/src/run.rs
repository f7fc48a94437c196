//! The files of a run: its options, what its model suggests, its split and checkpoints.

use dataset::{LabeledFiles, MANIFEST_FILE, PreparedSplit, SplitConfig};
use serde_json::Value;
use trainer::{TrainArgs, config::GivenSettings, training::last_checkpoint};

use crate::{Outcome, refused, temporary_folder::TemporaryFolder};

const CONFIG: &[u8] = include_bytes!("../../fuzz/seeds/model_config/tiny.json");

/// `run.toml`, whose paths are not followed.
pub fn options(bytes: &[u8]) -> Outcome {
    let folder = TemporaryFolder::with(&[
        ("run.toml", bytes),
        ("model/config.json", CONFIG),
        ("data.tsv", b"ham\tsee you\n"),
    ]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let file = path("run.toml");
    let table: toml::Table =
        std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    let mut settings = GivenSettings::default()
        .with("model", path("model"))
        .with("random-init", true)
        .with("out", path("out"))
        .with("data", vec![path("data.tsv")]);
    for name in
        ["validation-data", "test-data"].into_iter().filter(|name| table.contains_key(*name))
    {
        settings = settings.with(name, path("data.tsv"));
    }
    let args = TrainArgs { config: Some((&file).into()), settings, ..TrainArgs::default() };
    match args.resolve() {
        Ok(run) => {
            assert_eq!(run.out, folder.path().join("out"));
            Outcome::Accepted
        }
        // An invalid setting is named, or the file.
        Err(error) => {
            let names: Vec<&str> =
                table.keys().map(String::as_str).chain([file.as_str()]).collect();
            refused(&error, &names)
        }
    }
}

/// `fine_tuning.json`.
pub fn model_defaults(bytes: &[u8]) -> Outcome {
    let folder = TemporaryFolder::with(&[
        ("model/fine_tuning.json", bytes),
        ("model/config.json", CONFIG),
        ("data.tsv", b"ham\tsee you\n"),
    ]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let settings = GivenSettings::default()
        .with("model", path("model"))
        .with("random-init", true)
        .with("out", path("out"))
        .with("data", vec![path("data.tsv")]);
    match (TrainArgs { settings, ..TrainArgs::default() }).resolve() {
        Err(error) => {
            let settings: Value = serde_json::from_slice(bytes).unwrap_or_default();
            let names = settings.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            let options: Vec<String> = names.map(|name| name.replace('_', "-")).collect();
            let options = options.iter().map(String::as_str).chain(["fine_tuning.json"]);
            refused(&error, &options.collect::<Vec<_>>())
        }
        Ok(run) => {
            assert!(run.model_defaults.is_some());
            Outcome::Accepted
        }
    }
}

/// A checkpoint of a run.
pub fn checkpoint(bytes: &[u8]) -> Outcome {
    let name = "checkpoints/step-00000002.safetensors";
    let folder = TemporaryFolder::with(&[(name, bytes)]);
    match last_checkpoint(folder.path()) {
        Err(error) => refused(&error, &["step-00000002.safetensors"]),
        Ok(found) => {
            assert_eq!(found.unwrap().path, folder.path().join(name));
            Outcome::Accepted
        }
    }
}

/// `split.json`, beside the parts that belong to the first seed: the split is used
/// again, or made again, and is the same.
pub fn split(bytes: &[u8]) -> Outcome {
    let rows: String =
        (0..20).map(|row| format!("{}\ttext {row}\n", ["a", "b"][row % 2])).collect();
    let folder = TemporaryFolder::with(&[("data.tsv", rows.as_bytes())]);
    let files = LabeledFiles::new(folder.path().join("data.tsv"));
    let parts = folder.path().join("parts");
    let prepare = || PreparedSplit::new(&files, &SplitConfig::default(), &parts).unwrap();
    let made = prepare();
    made.write().unwrap();
    std::fs::write(parts.join(MANIFEST_FILE), bytes).unwrap();
    let again = prepare();
    again.write().unwrap();
    // A label that is spelled otherwise would be another one.
    assert_eq!(again.split.labels, made.split.labels);
    let texts = |split: &dataset::Split| -> Vec<(usize, String)> {
        let all = split.train.iter().chain(&split.validation).chain(&split.test);
        all.map(|example| (example.label, example.text.clone())).collect()
    };
    assert_eq!(texts(&again.split), texts(&made.split));
    if again.reused { Outcome::Accepted } else { Outcome::Refused }
}

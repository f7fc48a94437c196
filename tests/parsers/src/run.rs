//! The files of a run: its options, what its model suggests, its split and checkpoints.

use dataset::{MANIFEST_FILE, SplitConfig, prepare};
use trainer::{Suggested, TrainArgs, last_checkpoint};

use crate::{Outcome, refused, scratch::Scratch};

const CONFIG: &[u8] = include_bytes!("../../fuzz/seeds/model_config/tiny.json");

/// `run.toml`, whose paths are not followed.
pub fn options(bytes: &[u8]) -> Outcome {
    let folder = Scratch::with(&[
        ("run.toml", bytes),
        ("model/config.json", CONFIG),
        ("data.tsv", b"ham\tsee you\n"),
    ]);
    let file = folder.path().join("run.toml");
    let read = TrainArgs { config: Some(file.clone()), ..TrainArgs::default() }.with_file();
    let args = match read {
        Err(error) => return refused(&error, &[&file.display().to_string()]),
        Ok(args) => args,
    };
    // Written down, they are the same options.
    let text = toml::to_string(&args).unwrap();
    assert_eq!(toml::from_str::<TrainArgs>(&text).unwrap(), args);

    let here = |name: &str| folder.path().join(name);
    let given = |path: &Option<_>| path.as_ref().map(|_: &std::path::PathBuf| here("data.tsv"));
    let resolved = TrainArgs {
        model: Some(here("model").display().to_string()),
        random_init: Some(true),
        out: Some(here("out")),
        data: Some(here("data.tsv")),
        validation_data: given(&args.validation_data),
        test_data: given(&args.test_data),
        ..args
    }
    .resolve();
    match resolved {
        Ok(_) => Outcome::Accepted,
        // A setting without meaning is named.
        Err(error) => {
            let names: Vec<&str> =
                text.lines().filter_map(|line| line.split_once(" = ")).map(|it| it.0).collect();
            refused(&error, &names)
        }
    }
}

/// `fine_tuning.json`.
pub fn suggested(bytes: &[u8]) -> Outcome {
    let folder = Scratch::with(&[("fine_tuning.json", bytes), ("config.json", CONFIG)]);
    match Suggested::of_model(folder.path()) {
        Err(error) => refused(&error, &["fine_tuning.json"]),
        Ok(suggested) => {
            assert!(suggested.is_some());
            Outcome::Accepted
        }
    }
}

/// A checkpoint of a run.
pub fn checkpoint(bytes: &[u8]) -> Outcome {
    let name = "checkpoints/step-00000002.safetensors";
    let folder = Scratch::with(&[(name, bytes)]);
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
    let folder = Scratch::with(&[("data.tsv", rows.as_bytes())]);
    let (data, parts) = (folder.path().join("data.tsv"), folder.path().join("parts"));
    let config = SplitConfig::default();
    let made = prepare(&data, &config, &parts).unwrap();
    std::fs::write(parts.join(MANIFEST_FILE), bytes).unwrap();
    let again = prepare(&data, &config, &parts).unwrap();
    // A label that is spelled otherwise would be another one.
    assert_eq!(again.split.labels, made.split.labels);
    let texts = |split: &dataset::Split| -> Vec<(usize, String)> {
        let all = split.train.iter().chain(&split.validation).chain(&split.test);
        all.map(|example| (example.label, example.text.clone())).collect()
    };
    assert_eq!(texts(&again.split), texts(&made.split));
    if again.reused { Outcome::Accepted } else { Outcome::Refused }
}

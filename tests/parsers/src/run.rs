//! The files of a run: its options, what its model suggests, its checkpoints and
//! events.

use trainer::{Event, Suggested, TrainArgs, last_checkpoint};

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
        // A setting without meaning is named by its name.
        Err(error) => refused(&error, &[""]),
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

/// `metrics.jsonl`: what can be read comes back as it was.
pub fn events(bytes: &[u8]) -> Outcome {
    let mut outcome = Outcome::Accepted;
    for event in serde_json::Deserializer::from_slice(bytes).into_iter::<Event>() {
        match event {
            Err(_) => outcome = Outcome::Refused,
            Ok(event) => {
                let text = serde_json::to_string(&event).unwrap();
                let again: Event = serde_json::from_str(&text).unwrap();
                assert_eq!(serde_json::to_string(&again).unwrap(), text);
            }
        }
    }
    outcome
}

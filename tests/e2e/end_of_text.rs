//! Tokens that end a text: several of them, and others than in training.

use std::{fs, path::PathBuf};

use dataset::{END_OF_TEXT, Tokenizer};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{Finished, fixture, read_json, run, run_and_signal};

/// A copy of the tiny model whose settings can be changed, and examples.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("model")).unwrap();
        for name in ["config.json", "model.safetensors"] {
            fs::copy(fixture("tiny").join(name), place.path("model").join(name)).unwrap();
        }
        let row = |row: usize| json!({"prompt": format!("{row}. Cats"), "completion": " sleep"});
        let rows: String = (0..40).map(|number| format!("{}\n", row(number))).collect();
        fs::write(place.path("data.jsonl"), rows).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Sets the ids in one of the settings of the model.
    fn set(&self, file: &str, name: &str, ids: &Value) {
        let path = self.path("model").join(file);
        let mut settings = if path.exists() { read_json(&path) } else { json!({}) };
        settings[name] = ids.clone();
        fs::write(path, settings.to_string()).unwrap();
    }

    /// Arguments in which `./name` is a path in this folder.
    fn arguments(&self, command: &str) -> Vec<String> {
        let path = |word: &str| match word.strip_prefix("./") {
            Some(name) => self.path(name).display().to_string(),
            None => word.to_owned(),
        };
        command.split_whitespace().map(path).chain(["--device=cpu".to_owned()]).collect()
    }

    fn run(&self, command: &str) -> Finished {
        run("gpt2-lora", self.arguments(command))
    }

    fn generated(&self, model: &str) -> Value {
        let command = format!("generate {model} --prompt Cats --json --max-new-tokens 4");
        serde_json::from_str(&self.run(&command).succeeded().stdout()).unwrap()
    }
}

#[test]
fn text_ends_at_any_of_the_tokens_that_end_texts() {
    let place = Place::new();
    let before = place.generated("--model ./model");
    assert_eq!((&before["new_tokens"], &before["finish_reason"]), (&json!(4), &json!("length")));
    // The first token of the text, which is the most probable one.
    let first = Tokenizer::gpt2().encode(before["completion"].as_str().unwrap())[0];
    for file in ["config.json", "generation_config.json"] {
        place.set(file, "eos_token_id", &json!([END_OF_TEXT, first]));
        let after = place.generated("--model ./model");
        assert_eq!((&after["new_tokens"], &after["finish_reason"]), (&json!(0), &json!("stop")));
        place.set(file, "eos_token_id", &json!(END_OF_TEXT));
        assert_eq!(place.generated("--model ./model"), before, "{file}");
    }

    // Trained, saved and merged models keep all of them.
    place.set("config.json", "eos_token_id", &json!([first, END_OF_TEXT]));
    place.set("generation_config.json", "eos_token_id", &json!([first, END_OF_TEXT]));
    let train = "train --task language-model --model ./model --data ./data.jsonl --steps 1 \
                 --batch-size 4 --eval-batches 1";
    place.run(&format!("{train} --out ./adapted")).succeeded();
    place.run(&format!("{train} --train all --out ./whole")).succeeded();
    place.run("merge --adapter ./adapted/adapter --out ./merged").succeeded();
    for model in ["whole/model", "merged"] {
        for file in ["config.json", "generation_config.json"] {
            let settings = read_json(&place.path(model).join(file));
            assert_eq!(settings["eos_token_id"], json!([first, END_OF_TEXT]), "{model}/{file}");
        }
    }
}

#[test]
fn other_special_tokens_than_in_training_are_noted_and_not_resumed() {
    let place = Place::new();
    let train = "train --task language-model --model ./model --data ./data.jsonl --batch-size 4 \
                 --eval-batches 1 --threads 1";
    place.run(&format!("{train} --steps 1 --out ./done")).succeeded();
    // As in adapters of earlier versions.
    let metadata = read_json(&place.path("done/adapter/gpt2_lora.json"));
    assert_eq!(metadata.get("tokenizer"), None);
    let begun = || {
        // The first is whole as soon as there is a second.
        place.path("out/checkpoints").read_dir().is_ok_and(|all| all.count() > 1)
    };
    let options = "--steps 5000 --checkpoint-every 1 --out ./out";
    let arguments = place.arguments(&format!("{train} {options}"));
    let killed = run_and_signal("gpt2-lora", arguments, "KILL", begun);
    assert_eq!(killed.output.status.code(), None, "it ended by itself");

    let commands = [
        "generate --adapter ./done/adapter --prompt a --max-new-tokens 1",
        "evaluate --adapter ./done/adapter --data ./data.jsonl --max-new-tokens 0",
    ];
    let note = "the tokens that end and fill texts (eos_token_id, pad_token_id) are";
    for command in commands {
        assert!(!place.run(command).succeeded().stderr().contains(note), "{command}");
    }
    for (name, id, difference) in [
        ("eos_token_id", 7, "eos=7 pad=50256, but"),
        ("eos_token_id", 50_256, ""),
        ("pad_token_id", 9, "eos=50256 pad=9, but"),
    ] {
        place.set("config.json", name, &json!(id));
        for command in commands.iter().filter(|_| !difference.is_empty()) {
            let noted = place.run(command).succeeded().stderr();
            for words in [note, difference, "was trained with eos=50256 pad=50256"] {
                assert!(noted.contains(words), "{words:?} is not in {noted}");
            }
        }
        if !difference.is_empty() {
            place.run(&format!("{train} {options} --resume")).failed(&["another tokenizer"]);
        }
    }
}

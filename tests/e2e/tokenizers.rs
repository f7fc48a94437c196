//! Models with a tokenizer of their own, from training to a merged model.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{fixture, pocket, read_json, run};

/// Kinds of tokenizers: the directory of the fixture, and texts of two classes.
pub(crate) const KINDS: [(&str, [&str; 2]); 3] = [
    ("byte_level", ["Мы долго шли через лес и вышли к озеру", "Хлеб пекут рано"]),
    ("word_piece", ["早上河边有很大的雾", "孩子们在花园里玩"]),
    ("unigram", ["電車がいつ来るのか分かりません", "パン屋は毎朝店を開けます"]),
];

/// A directory with a model of random weights and a tokenizer, and data for it.
pub(crate) struct Case {
    folder: TempDir,
    texts: [String; 2],
}

impl Case {
    pub fn new(kind: &str, texts: [&str; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let case = Self { folder, texts: texts.map(str::to_owned) };
        let base = case.path("base");
        fs::create_dir(&base).unwrap();
        for (name, bytes) in tokenizer_files(&fixture("tokenizers").join(kind)) {
            fs::write(base.join(name), bytes).unwrap();
        }
        case.write_config(1000, &json!({}));
        let row = |row: usize| format!("{},{} {row}\n", ["calm", "busy"][row % 2], texts[row % 2]);
        let rows: String = (0..40).map(row).collect();
        fs::write(case.path("data.csv"), format!("label,text\n{rows}")).unwrap();
        fs::write(case.path("text.txt"), texts.join("\n\n").repeat(20)).unwrap();
        case
    }

    fn write_config(&self, vocab_size: usize, more: &Value) {
        let mut config = json!({
            "model_type": "gpt2", "vocab_size": vocab_size, "n_positions": 32, "n_embd": 16,
            "n_layer": 1, "n_head": 2,
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fs::write(self.path("base/config.json"), config.to_string()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Arguments in which `./name` is a path in the directory of the case.
    pub fn arguments(&self, command: &str) -> Vec<String> {
        let path = |word: &str| match word.strip_prefix("./") {
            Some(name) => self.shown(name),
            None => word.to_owned(),
        };
        command.split_whitespace().map(path).collect()
    }

    #[track_caller]
    pub fn succeeds(&self, command: &str) -> test_support::Finished {
        run("gpt2-lora", self.arguments(command)).succeeded()
    }

    #[track_caller]
    pub fn refuses(&self, command: &str, words: &[&str]) {
        run("gpt2-lora", self.arguments(command)).failed(words);
    }

    #[track_caller]
    fn train(&self) -> test_support::Finished {
        self.succeeds(
            "train --model ./base --random-init --data ./data.csv --epochs 1 --batch-size 4 \
             --rank 2 --eval-batches 1 --out ./out",
        )
    }

    /// The probabilities of the texts by the adapter or model in a directory.
    fn probabilities(&self, adapter: &str) -> Vec<Value> {
        let mut arguments =
            self.arguments(&format!("predict --adapter {adapter} --json --probabilities --"));
        arguments.extend(self.texts.clone());
        let printed = run("gpt2-lora", arguments).succeeded().stdout();
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Contents of the files of a directory by name.
pub(crate) fn tokenizer_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let named = paths.map(|path| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
    });
    named.collect()
}

#[test]
fn models_with_their_own_tokenizers_are_trained_evaluated_and_merged() {
    for (kind, texts) in KINDS {
        let case = Case::new(kind, texts);
        let trained = case.train().stderr();
        assert!(trained.contains("of the 1000 tokens"), "{trained}");
        let metadata = read_json(&case.path("out/adapter/gpt2_lora.json"));
        let fingerprint = metadata["tokenizer"].as_str().unwrap();
        let (encoding, special) = fingerprint.split_once(' ').unwrap();
        assert_eq!(encoding.len(), 16);
        let ids = [("byte_level", [2, 0]), ("word_piece", [3, 0]), ("unigram", [1, 0])];
        let ids = ids.into_iter().find(|(other, _)| *other == kind).unwrap().1;
        assert_eq!(special, format!("eos={} pad={}", ids[0], ids[1]));
        assert_eq!(read_json(&case.path("out/report.json"))["tokenizer"], fingerprint);

        let evaluated = case.succeeds("evaluate --adapter ./out/adapter --data ./data.csv --json");
        let report: Value = serde_json::from_str(&evaluated.stdout()).unwrap();
        assert!(report["accuracy"].is_number(), "{report}");
        let expected = case.probabilities("./out/adapter");
        case.succeeds("merge --adapter ./out/adapter --out ./merged");
        let merged = tokenizer_files(&case.path("merged"));
        for (name, bytes) in tokenizer_files(&fixture("tokenizers").join(kind)) {
            assert!(merged[&name] == bytes, "{kind}: {name}");
        }
        // The base model is not needed any more.
        fs::remove_dir_all(case.path("base")).unwrap();
        let again = case.probabilities("./merged");
        let evaluated = case.succeeds("evaluate --adapter ./merged --data ./data.csv").stderr();
        assert!(!evaluated.contains("eos_token_id"), "{evaluated}");
        assert_eq!((expected.len(), again.len()), (2, 2));
        for (one, other) in expected.iter().zip(&again) {
            assert_eq!(one["label"], other["label"]);
            let busy = |it: &Value| it["probabilities"]["busy"].as_f64().unwrap();
            let (one, other) = (busy(one), busy(other));
            assert!((one - other).abs() < 1e-5, "{kind}: {one} and {other}");
        }
        let config = read_json(&case.path("merged/config.json"));
        let [end, padding] = ["eos_token_id", "pad_token_id"].map(|name| config[name].as_i64());
        assert_eq!([end, padding], ids.map(Some), "{kind}");
    }
}

#[test]
fn text_is_generated_with_the_tokenizer_of_the_model() {
    for (kind, texts) in KINDS {
        let case = Case::new(kind, texts);
        case.succeeds(
            "pretrain --model ./base --data ./text.txt --steps 2 --batch-size 2 --max-length 8 \
             --out ./out",
        );
        let model = tokenizer_files(&case.path("out/model"));
        for (name, bytes) in tokenizer_files(&fixture("tokenizers").join(kind)) {
            assert!(model[&name] == bytes, "{kind}: {name}");
        }
        let prompt = texts[1].split(' ').next().unwrap();
        let generated = case.succeeds(&format!(
            "generate --model ./out/model --max-new-tokens 3 --prompt {prompt}"
        ));
        let without_spaces = generated.stdout().replace(' ', "");
        assert!(without_spaces.starts_with(prompt), "{kind}: {without_spaces}");
    }
}

#[test]
fn heads_of_their_own_are_trained_and_saved() {
    let (kind, texts) = KINDS[0];
    let case = Case::new(kind, texts);
    case.write_config(701, &json!({"tie_word_embeddings": false}));
    let head = |name: &str| {
        let bytes = fs::read(case.path(name)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.tensor("lm_head.weight").map(|tensor| tensor.data().to_vec())
    };
    let pretrain = "pretrain --data ./text.txt --steps 2 --batch-size 2 --max-length 8";
    let stderr = case.succeeds(&format!("{pretrain} --model ./base --out ./one")).stderr();
    assert!(!stderr.contains("of the 701 tokens"), "{stderr}");
    let saved = head("one/model/model.safetensors").unwrap();
    // Pretrained models are saved in float16.
    assert_eq!(saved.len(), 701 * 16 * 2);
    // Training continues with the head, and changes it.
    case.succeeds(&format!("{pretrain} --model ./one/model --random-init=false --out ./two"));
    assert!(head("two/model/model.safetensors").unwrap() != saved);
    // An adapter leaves it as it is, and a classifier does not have it.
    case.succeeds(
        "train --task language-model --model ./one/model --data ./text.txt --steps 2 \
         --batch-size 2 --max-length 8 --rank 2 --out ./adapted",
    );
    case.succeeds(
        "train --model ./one/model --data ./data.csv --epochs 1 --batch-size 4 --rank 2 \
         --out ./classified",
    );
    case.succeeds("merge --adapter ./classified/adapter --out ./merged");
    assert!(head("merged/model.safetensors").is_err());
    assert_eq!(case.probabilities("./merged").len(), 2);
}

#[test]
fn another_tokenizer_is_not_confused_with_the_one_of_the_training() {
    let (kind, texts) = KINDS[0];
    let case = Case::new(kind, texts);
    case.train();
    let file = case.path("base/tokenizer_config.json");
    let mut settings = read_json(&file);
    settings["add_prefix_space"] = json!(true);
    fs::write(&file, settings.to_string()).unwrap();
    let words = ["the tokenizer", "--model", "tokenizer files"];
    case.refuses("predict --adapter ./out/adapter hi", &words);
    case.refuses("merge --adapter ./out/adapter --out ./merged", &words);
    case.refuses(
        "train --adapter ./out/adapter --data ./data.csv --epochs 1 --batch-size 4 --out ./again",
        &words,
    );
    // Without the files, the directory has GPT-2's, whose tokens the model lacks.
    for name in tokenizer_files(&fixture("tokenizers").join(kind)).keys() {
        fs::remove_file(case.path("base").join(name)).unwrap();
    }
    case.refuses("predict --adapter ./out/adapter hi", &["GPT-2's tokenizer", "--model"]);
}

#[test]
fn unusable_tokenizers_are_refused_before_training() {
    const TRAIN: &str = "train --model ./base --random-init --data ./data.csv --out ./out";
    let (kind, texts) = KINDS[0];
    let case = Case::new(kind, texts);
    case.write_config(700, &json!({}));
    case.refuses(TRAIN, &["config.json", "vocab_size of at least 701", "got 700", "--model"]);
    case.write_config(1000, &json!({}));
    fs::write(case.path("base/tokenizer.json"), "{\"model\": 7}").unwrap();
    case.refuses(TRAIN, &["base/tokenizer.json", "cannot be used"]);
    case.refuses("generate --model ./base --random-init --prompt a", &["base/tokenizer.json"]);
    fs::remove_file(case.path("base/tokenizer.json")).unwrap();
    fs::write(case.path("base/spiece.model"), "x").unwrap();
    case.refuses(TRAIN, &["base/spiece.model", "save_pretrained"]);
    assert!(!case.path("out").exists());
}

#[test]
fn runs_on_another_tokenizer_are_not_resumed() {
    let (kind, texts) = KINDS[0];
    let case = Case::new(kind, texts);
    let train = "train --model ./base --random-init --data ./data.csv --epochs 1 --batch-size 4 \
                 --rank 2 --eval-batches 1 --out ./out --seeds 1,2";
    case.succeeds(train);
    let file = case.path("base/tokenizer_config.json");
    let mut settings = read_json(&file);
    settings["add_prefix_space"] = json!(true);
    fs::write(&file, settings.to_string()).unwrap();
    case.refuses(&format!("{train} --resume"), &["another tokenizer"]);
}

/// transformers loads merged models with their tokenizers, and computes the same probabilities.
#[test]
#[ignore = "needs PEFT_PYTHON"]
fn transformers_computes_the_probabilities_of_merged_models() {
    let python = std::env::var_os("PEFT_PYTHON").expect("PEFT_PYTHON names a Python with peft");
    for (kind, texts) in KINDS {
        let case = Case::new(kind, texts);
        case.train();
        case.succeeds("merge --adapter ./out/adapter --out ./merged");
        let expected = json!({"texts": texts, "predictions": case.probabilities("./merged")});
        fs::write(case.path("expected.json"), expected.to_string()).unwrap();
        let output = Command::new(&python)
            .arg(fixture("check_probabilities.py"))
            .args([case.path("merged"), case.path("expected.json")])
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{kind}: {stdout}{stderr}");
        assert!(stdout.contains("2 texts"), "{kind}: {stdout}");
    }
}

/// The published tokenizer beside a model is the one that a model without files has.
#[test]
fn tokenizer_files_of_gpt2_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    dataset::Tokenizer::gpt2().save(&base, 256).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(pocket().join(name), base.join(name)).unwrap();
    }
    let generate = |model: &Path| {
        let model = model.display().to_string();
        let arguments =
            ["generate", "--model", &model, "--prompt", "The river", "--max-new-tokens", "5"];
        run("gpt2-lora", arguments).succeeded().stdout()
    };
    assert_eq!(generate(&base), generate(&pocket()));
}

//! Commands and their results.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use test_support::{
    Finished, fixture, read_json, read_jsonl, read_tensors, read_toml, results, run,
    run_with_input, train, training,
};

fn out(run: &Finished) -> BTreeMap<String, Vec<u8>> {
    results(&run.folder.path().join("out"))
}

#[test]
fn a_run_leaves_its_results() {
    let run = train("--epochs 2 --rank 2 --eval-every 5 --seed 7").succeeded();
    let names: Vec<String> = out(&run).into_keys().collect();
    let expected = [
        "accuracy.png",
        "accuracy.svg",
        "adapter/README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/gpt2_lora.json",
        "adapter_init/adapter_config.json",
        "adapter_init/adapter_model.safetensors",
        "adapter_init/gpt2_lora.json",
        "loss.png",
        "loss.svg",
        "metrics.jsonl",
        "predictions.jsonl",
        "report.json",
        "run.toml",
        "split.json",
        "test.csv",
        "train.csv",
        "validation.csv",
    ];
    assert_eq!(names, expected);

    let folder = run.folder.path().join("out");
    let settings = read_toml(&folder.join("run.toml"));
    for (name, value) in [("rank", 2), ("eval-every", 5), ("batch-size", 8), ("seed", 7)] {
        assert_eq!(settings[name].as_integer(), Some(value), "{name}");
    }
    assert_eq!(settings["split-seed"].as_integer(), Some(7));
    assert_eq!(settings["epochs"].as_float(), Some(2.0));

    let metrics = read_jsonl(&folder.join("metrics.jsonl"));
    let kinds: Vec<&str> = metrics.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("initial", "final"));
    let count = |kind: &str| kinds.iter().filter(|other| **other == kind).count();
    let steps: usize = 2 * (112 / 8);
    assert_eq!((count("step"), count("eval"), count("epoch")), (steps, steps.div_ceil(5), 2));

    let stdout = run.stdout();
    for word in ["train", "validation", "test", "accuracy", "trainable", "out/adapter"] {
        assert!(stdout.contains(word), "{word} is not in {stdout}");
    }
    let stderr = run.stderr();
    for word in ["before training: ", "step  0: ", "epoch 2: "] {
        assert!(stderr.contains(word), "{word} is not in {stderr}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    // With dropout, whose masks are drawn too.
    let options = "--epochs 1 --rank 2 --threads 1 --lora-dropout 0.2";
    let first = out(&train(options).succeeded());
    let second = out(&train(options).succeeded());
    assert!(first.keys().eq(second.keys()));
    for (name, bytes) in &first {
        assert!(second[name] == *bytes, "{name} differs");
    }
    let two = "--epochs 1 --rank 2 --threads 2 --lora-dropout 0.2 --arithmetic fused";
    let on_two = out(&train(two).succeeded());
    for (name, bytes) in out(&train(two).succeeded()) {
        assert!(on_two[&name] == bytes, "{name} differs on two threads");
    }
    let third = out(&train(&format!("{options} --seed 5")).succeeded());
    for name in ["train.csv", "adapter_init/adapter_model.safetensors", "metrics.jsonl"] {
        assert!(third[name] != first[name], "{name} is the same for another seed");
    }
    let same_split = "--epochs 1 --rank 2 --threads 1 --seed 5 --split-seed 123";
    assert_eq!(out(&train(same_split).succeeded())["train.csv"], first["train.csv"]);
}

#[test]
fn kernels_give_the_same_bytes_on_any_number_of_threads() {
    let on_threads = |threads: usize| {
        let options = "--epochs 1 --rank 2 --lora-dropout 0.2 --max-grad-norm 1 --head full";
        out(&train(&format!("{options} --arithmetic kernels --threads {threads}")).succeeded())
    };
    let expected = on_threads(1);
    for threads in [2, 3, 4] {
        let found = on_threads(threads);
        for name in ["adapter/adapter_model.safetensors", "metrics.jsonl", "predictions.jsonl"] {
            assert!(found[name] == expected[name], "{name} differs on {threads} threads");
        }
    }
}

#[test]
fn both_binaries_train_alike() {
    let mut arguments = vec!["train".to_owned()];
    arguments.extend(training(&fixture("tiny"), &fixture("messages.tsv"), Path::new("out")));
    arguments.extend("--epochs 1 --rank 2 --threads 1".split(' ').map(String::from));
    let ours = run("gpt2-lora", arguments).succeeded();
    let theirs = train("--epochs 1 --rank 2 --threads 1").succeeded();
    assert_eq!(out(&ours), out(&theirs));
}

#[test]
fn json_is_the_report_and_nothing_else() {
    let run = train("--epochs 1 --rank 2 --json").succeeded();
    let printed: Value = serde_json::from_str(&run.stdout()).unwrap();
    assert_eq!(printed, read_json(&run.folder.path().join("out/report.json")));
    let metrics = read_jsonl(&run.folder.path().join("out/metrics.jsonl"));
    let last = metrics.last().unwrap();
    assert_eq!(printed["accuracy"]["test"], last["test_accuracy"]);
    assert_eq!(printed["trainable_parameters"], last["trainable_parameters"]);
}

#[test]
fn modules_are_printed_on_request() {
    let run = train("--epochs 1 --rank 2 --target-modules q,score --print-model").succeeded();
    let stdout = run.stdout();
    for line in [
        "c_attn: LoraLinear(in_features=16, out_features=48, bias=true, rank=2, scale=16)",
        "wte: Embedding",
        "score: LoraLinear",
    ] {
        assert!(stdout.contains(line), "{line} is not in {stdout}");
    }
    let adapter = run.folder.path().join("out/adapter/adapter_model.safetensors");
    let names: Vec<String> = read_tensors(&adapter).into_keys().collect();
    assert_eq!(
        names,
        [
            "score.weight",
            "transformer.h.0.attn.c_attn.lora_A.weight",
            "transformer.h.0.attn.c_attn.lora_B.weight",
            "transformer.h.1.attn.c_attn.lora_A.weight",
            "transformer.h.1.attn.c_attn.lora_B.weight",
            "transformer.ln_f.bias",
            "transformer.ln_f.weight",
        ]
        .map(|name| format!("base_model.model.{name}"))
    );
}

#[test]
fn without_an_output_folder_runs_are_numbered() {
    let (model, data) = (fixture("tiny"), fixture("messages.tsv"));
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let run = run("trainer", ["--model", model, "--data", data, "--epochs", "1"]).succeeded();
    assert!(run.folder.path().join("runs/tiny-1/adapter").is_dir());
}

#[test]
fn text_is_generated() {
    let generate = |options: &str| {
        let model = fixture("tiny").display().to_string();
        let all =
            ["generate", "--model", &model, "--prompt", "Hello there", "--max-new-tokens", "8"];
        let all = all.into_iter().chain(options.split_whitespace());
        run("gpt2-lora", all.map(String::from)).succeeded().stdout()
    };
    let greedy = generate("");
    assert!(greedy.starts_with("Hello there"), "{greedy}");
    assert!(greedy.len() > "Hello there\n".len());
    assert_eq!(generate(""), greedy);
    assert_eq!(generate("--top-k 1"), greedy);
    let drawn = generate("--temperature 1.5 --seed 1");
    assert_eq!(generate("--temperature 1.5 --seed 1"), drawn);
    assert_ne!(generate("--temperature 1.5 --seed 2"), drawn);
}

#[test]
fn models_and_adapters_are_shown() {
    let model = fixture("tiny").display().to_string();
    let tree = run("gpt2-lora", ["inspect", &model]).succeeded().stdout();
    assert!(
        tree.contains("wpe: Embedding(96, 16)") && tree.contains("812,240 parameters"),
        "{tree}"
    );
    let json = run("gpt2-lora", ["inspect", &model, "--json"]).succeeded().stdout();
    let json: Value = serde_json::from_str(&json).unwrap();
    // 50257 and 96 embeddings of 16, two blocks, the last norm.
    let block = 2 * 16 + 16 * 48 + 48 + 16 * 16 + 16 + 2 * 16 + 16 * 64 + 64 + 64 * 16 + 16;
    assert_eq!(json["total_parameters"], 50257 * 16 + 96 * 16 + 2 * block + 2 * 16);

    let trained = train("--epochs 1 --rank 2").succeeded();
    let adapter = trained.folder.path().join("out/adapter").display().to_string();
    let text = run("gpt2-lora", ["inspect", &adapter]).succeeded().stdout();
    for word in [
        "r: 2",
        "lora_alpha: 32.0",
        "rank_pattern: {\"c_attn\":6}",
        "labels: [\"ham\",\"spam\"]",
        "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight [6, 16]",
        "base_model.model.score.weight [2, 16]",
        "c_attn holds the adapters of query, key and value",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let json = run("gpt2-lora", ["inspect", &adapter, "--json"]).succeeded().stdout();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["metadata"]["labels"], serde_json::json!(["ham", "spam"]));
    // Adapters that PEFT wrote, and those without our metadata.
    for case in ["default", "dora", "patterns", "more-trained"] {
        let folder = fixture("peft").join(case).display().to_string();
        let text = run("gpt2-lora", ["inspect", &folder]).succeeded().stdout();
        assert!(text.contains("peft_type: \"LORA\"") && text.contains(".lora_B.weight"), "{text}");
    }
    fs::remove_file(trained.folder.path().join("out/adapter/gpt2_lora.json")).unwrap();
    let text = run("gpt2-lora", ["inspect", &adapter]).succeeded().stdout();
    assert!(text.contains("score.weight [2, 16]") && !text.contains("labels"), "{text}");
}

/// The model card of an adapter.
#[test]
fn an_adapter_has_a_model_card() {
    let trained = train("--epochs 1 --rank 2").succeeded();
    let out = trained.folder.path().join("out");
    let card = fs::read_to_string(out.join("adapter/README.md")).unwrap();
    let accuracy = read_json(&out.join("report.json"))["accuracy"]["test"].as_f64().unwrap();
    assert!(card.starts_with("---\nlibrary_name: peft\n"), "{card}");
    for words in [
        "pipeline_tag: text-classification",
        "metrics:\n- accuracy",
        "Base model: `tiny`",
        "base = \"path/to/tiny\"\n",
        "PeftModel.from_pretrained(model, adapter)",
        "cargo run -p cli -- predict --adapter path/to/this-directory --model path/to/tiny",
        "\"1\": \"spam\"",
        &format!("| test | 32 | {:.2} % |", 100.0 * accuracy),
    ] {
        assert!(card.contains(words), "{words} is not in {card}");
    }
    // The base model is not on the hub.
    assert!(!card.contains("base_model:"), "{card}");
    let settings = read_json(&out.join("adapter/adapter_config.json"));
    assert_eq!(settings["base_model_name_or_path"], "tiny");
}

/// It can be published, and is the same wherever the base model is.
#[test]
fn an_adapter_names_no_folder_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = |place: &str| {
        let (model, out) = (folder.path().join(place).join("base"), folder.path().join(place));
        fs::create_dir_all(&model).unwrap();
        for name in ["config.json", "model.safetensors"] {
            fs::copy(fixture("tiny").join(name), model.join(name)).unwrap();
        }
        let mut arguments = training(&model, &fixture("messages.tsv"), &out);
        let options = "--epochs 1 --rank 2 --threads 1";
        arguments.extend(options.split(' ').map(String::from));
        run("trainer", arguments).succeeded();
        out.join("adapter")
    };
    let (one, other) = (adapter("one"), adapter("other/place"));
    let files = results(&one);
    assert!(files == results(&other));
    for (name, bytes) in files {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains(folder.path().to_str().unwrap()), "{name}: {text}");
    }
    assert_eq!(read_json(&one.join("gpt2_lora.json"))["base_model"], "base");
    // The run knows where its base model is. Elsewhere it has to be named.
    let predict = |adapter: &Path| {
        run("gpt2-lora", ["predict", "--adapter", adapter.to_str().unwrap(), "win a prize"])
    };
    predict(&one).succeeded();
    let alone = folder.path().join("alone");
    fs::rename(&one, &alone).unwrap();
    predict(&alone).failed(&["the base model base", "--model"]);
    fs::remove_file(alone.join("gpt2_lora.json")).unwrap();
    predict(&alone).failed(&["the base model base", "--model"]);
    let path = alone.join("adapter_config.json");
    let mut settings = read_json(&path);
    settings["base_model_name_or_path"] = Value::Null;
    fs::write(&path, settings.to_string()).unwrap();
    predict(&alone).failed(&["base model", "--model"]);
}

/// A language model has no such head.
#[test]
fn an_unused_head_is_noted_for_classifiers_alone() {
    let first = train("--epochs 1 --train head").succeeded();
    let model = first.folder.path().join("out/model");
    let again = |data: &Path, options: &str| {
        let mut arguments = training(&model, data, &first.folder.path().join("again"));
        arguments.extend(options.split(' ').map(String::from));
        run("trainer", arguments).succeeded().stderr()
    };
    let text = first.folder.path().join("text.txt");
    fs::write(&text, "Some words of a text.\n\nAnd some others.\n".repeat(20)).unwrap();
    let noted = again(&text, "--task language-model --steps 1 --max-length 8 --rank 2");
    assert!(!noted.contains("classification head"), "{noted}");
    fs::remove_dir_all(first.folder.path().join("again")).unwrap();
    let noted = again(&fixture("messages.tsv"), "--epochs 1 --rank 2");
    assert!(noted.contains("the classification head of"), "{noted}");
}

#[test]
fn an_adapter_of_a_language_model_is_refused_where_classes_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let (text, out) = (folder.path().join("text.txt"), folder.path().join("out"));
    fs::write(&text, "Some words of a text.\n\nAnd some others.\n".repeat(20)).unwrap();
    let train = |options: &str, out: &Path| {
        let mut arguments = training(&fixture("tiny"), &text, out);
        let fixed = "--task language-model --steps 1 --max-length 8";
        arguments.extend(fixed.split(' ').chain(options.split(' ')).map(String::from));
        run("trainer", arguments).succeeded();
    };
    train("--rank 2", &out);
    let adapter = out.join("adapter").display().to_string();
    run("gpt2-lora", ["predict", "--adapter", &adapter, "hi"]).failed(&[
        "the adapter of a language model",
        "generate --adapter",
        "train --adapter",
    ]);
    let card = fs::read_to_string(out.join("adapter/README.md")).unwrap();
    assert!(card.contains("AutoModelForCausalLM") && card.contains("train --adapter"), "{card}");
    let out = folder.path().join("all");
    train("--train all", &out);
    let model = out.join("model").display().to_string();
    run("gpt2-lora", ["predict", "--adapter", &model, "hi"])
        .failed(&["got a language model", "generate --model"]);
}

#[test]
fn merging_notes_where_transformers_classifies_elsewhere() {
    for (recipe, expected) in [("book", 1), ("default", 0)] {
        let trained = train(&format!("--epochs 1 --rank 2 --recipe {recipe}")).succeeded();
        let path = |name: &str| trained.folder.path().join(name).display().to_string();
        let arguments = ["merge", "--adapter", &path("out/adapter"), "--out", &path("merged")];
        let stderr = run("gpt2-lora", arguments).succeeded().stderr();
        assert_eq!(stderr.matches("the last position of the padded text").count(), expected);
        let tokenizer = read_json(Path::new(&path("merged/tokenizer_config.json")));
        let metadata = read_json(Path::new(&path("merged/gpt2_lora.json")));
        assert_eq!(tokenizer["model_max_length"], metadata["max_length"]);
    }
}

/// The sets of a run have class numbers, as the book's files.
#[test]
fn the_test_set_of_a_run_can_be_evaluated() {
    let trained = train("--epochs 2 --rank 4 --lr 0.005").succeeded();
    let out = trained.folder.path().join("out");
    let adapter = out.join("adapter").display().to_string();
    let evaluate = |data: &Path, more: &[&str]| {
        let data = data.display().to_string();
        let fixed = ["evaluate", "--adapter", &adapter, "--data", &data, "--json"];
        run("gpt2-lora", fixed.iter().chain(more))
    };
    let report = read_json(&out.join("report.json"));
    let evaluated = evaluate(&out.join("test.csv"), &[]).succeeded();
    let note = "its labels are the class numbers of \"ham\", \"spam\", from 0";
    assert_eq!(evaluated.stderr().matches(note).count(), 1, "{}", evaluated.stderr());
    let measured: Value = serde_json::from_str(&evaluated.stdout()).unwrap();
    for name in ["accuracy", "examples", "confusion"] {
        assert_eq!(measured[name], report["test"][name], "{name}");
    }
    let rounded = evaluate(&out.join("test.csv"), &["--dtype", "bfloat16"]).succeeded();
    let rounded: Value = serde_json::from_str(&rounded.stdout()).unwrap();
    let [loss, rounded] = [measured, rounded].map(|json| json["mean_loss"].as_f64().unwrap());
    assert!(rounded != loss && (rounded - loss).abs() < 0.02 * loss, "{rounded} and {loss}");
    // Numbers in any other file are labels that the adapter does not know.
    let copy = out.join("copy.csv");
    fs::copy(out.join("test.csv"), &copy).unwrap();
    evaluate(&copy, &[]).failed(&["unknown label", "\"ham\", \"spam\""]);
    let test = fs::read_to_string(&copy).unwrap();
    fs::write(out.join("test.csv"), test + "1,one more\n").unwrap();
    evaluate(&out.join("test.csv"), &[]).failed(&["unknown label"]);
    fs::copy(&copy, out.join("test.csv")).unwrap();

    // An earlier evaluation is replaced with a note.
    let to = out.join("evaluated").display().to_string();
    for times in 0..2 {
        let evaluated = evaluate(&out.join("test.csv"), &["--out", &to]).succeeded();
        let said = evaluated.stderr().matches("was replaced").count();
        assert_eq!(said, times, "{}", evaluated.stderr());
    }
}

/// The real size of GPT-2, without its weights.
#[test]
fn gpt2_has_its_published_size() {
    let json = run("gpt2-lora", ["inspect", "gpt2", "--random-init", "--json"]).succeeded();
    let json: Value = serde_json::from_str(&json.stdout()).unwrap();
    assert_eq!(json["total_parameters"], 124_439_808);
}

#[test]
fn texts_are_classified_as_in_the_run() {
    for options in ["--recipe book", "--recipe default", "--dtype bfloat16"] {
        let trained = train(&format!("--epochs 2 --rank 4 --lr 0.005 {options}")).succeeded();
        let out = trained.folder.path().join("out");
        let split = read_json(&out.join("split.json"));
        let messages = fs::read_to_string(fixture("messages.tsv")).unwrap();
        let lines: Vec<&str> = messages.lines().collect();
        let rows = split["test"]["rows"].as_array().unwrap();
        let texts = rows.iter().map(|row| lines[row.as_u64().unwrap() as usize]);
        let mut texts: Vec<&str> = texts.map(|line| line.split_once('\t').unwrap().1).collect();
        // Stripped by one recipe and kept by the other.
        let plain = |text: &&str| !text.starts_with('"');
        let expected = read_jsonl(&out.join("predictions.jsonl")).into_iter().zip(&texts);
        let expected: Vec<Value> =
            expected.filter(|(_, text)| plain(text)).map(|(line, _)| line).collect();
        texts.retain(plain);

        let adapter = out.join("adapter").display().to_string();
        let mut arguments = vec!["predict", "--adapter", &adapter, "--json", "--"];
        arguments.extend(&texts);
        let printed = run("gpt2-lora", arguments).succeeded().stdout();
        let printed: Vec<Value> =
            printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(printed.len(), expected.len());
        assert!(printed.len() > 10);
        for ((printed, expected), text) in printed.iter().zip(&expected).zip(texts) {
            assert_eq!(printed["text"], text);
            assert_eq!(printed["label"], expected["predicted"], "{text}");
            let logit = |class: usize| expected["logits"][class].as_f64().unwrap();
            let spam = 1.0 / (1.0 + (logit(0) - logit(1)).exp());
            let ours = printed["probabilities"]["spam"].as_f64().unwrap();
            assert!((ours - spam).abs() < 1e-5, "{ours}, {spam}: {text}");
        }
    }
}

#[test]
fn checkpointing_and_kernels_change_losses_by_rounding_alone() {
    let losses = |options: &str| {
        let run = train(&format!("--epochs 1 --rank 4 --lr 0.005 --threads 1 {options}"));
        let metrics = read_jsonl(&run.succeeded().folder.path().join("out/metrics.jsonl"));
        let losses = metrics.iter().filter_map(|event| event["loss"].as_f64());
        losses.collect::<Vec<f64>>()
    };
    let plain = losses("--arithmetic fused");
    assert!(plain[13] < plain[0], "{plain:?}");
    for (options, limit) in [("--gradient-checkpointing", 1e-6), ("--arithmetic kernels", 1e-4)] {
        let found = losses(options);
        assert_eq!((plain.len(), found.len()), (14, 14));
        for (plain, found) in plain.iter().zip(&found) {
            assert!((plain - found).abs() < limit, "{options}: {plain}, {found}");
        }
    }
}

#[test]
fn lines_of_standard_input_are_classified() {
    let trained = train("--epochs 1 --rank 2").succeeded();
    let adapter = trained.folder.path().join("out/adapter").display().to_string();
    let input: String = (0..300).map(|number| format!("message {number}\n")).collect();
    let printed = run_with_input("gpt2-lora", ["predict", "--adapter", &adapter], &input);
    let printed = printed.succeeded().stdout();
    assert_eq!(printed.lines().count(), 300);
    for (number, line) in printed.lines().enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        assert!(["ham", "spam"].contains(&fields[0]), "{line}");
        assert!((0.5..=1.0).contains(&fields[1].parse::<f64>().unwrap()), "{line}");
        assert_eq!(fields[2], format!("message {number}"));
    }
    // Options of tables have no effect on texts.
    for option in ["--output=x.csv", "--text-column=x", "--encoding=latin-1"] {
        let name = option.split('=').next().unwrap();
        run("gpt2-lora", ["predict", "--adapter", &adapter, option, "x"])
            .failed(&[name, "cannot be used with"]);
    }
    // A directory without an adapter.
    run("gpt2-lora", ["predict", "--adapter", "nowhere", "x"])
        .failed(&["nowhere: does not exist", "--adapter"]);
}

#[test]
fn several_seeds_are_summed_up() {
    let run = train("--epochs 1 --rank 2 --threads 1 --seeds 3,5 --json").succeeded();
    let printed: Value = serde_json::from_str(&run.stdout()).unwrap();
    let out = run.folder.path().join("out");
    assert_eq!(printed, read_json(&out.join("seeds.json")));
    let of_runs: Vec<f64> = printed["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["accuracy"]["validation"].as_f64().unwrap())
        .collect();
    let mean = (of_runs[0] + of_runs[1]) / 2.0;
    assert!((printed["mean"]["validation"].as_f64().unwrap() - mean).abs() < 1e-12);
    // Each is the run that its seed gives alone, on the split of the first seed.
    let alone = train("--epochs 1 --rank 2 --threads 1 --seed 5 --split-seed 123").succeeded();
    let metrics = |folder: &Path| results(folder)["metrics.jsonl"].clone();
    assert_eq!(metrics(&out.join("seed-5")), metrics(&alone.folder.path().join("out")));
    assert_ne!(metrics(&out.join("seed-3")), metrics(&out.join("seed-5")));
}

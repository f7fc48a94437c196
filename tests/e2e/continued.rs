//! Training of an adapter that continues, on the same data or on other data.

use std::{
    fs,
    path::{Path, PathBuf},
};

use test_support::{
    Finished, assert_same_results, fixture, read_json, read_jsonl, read_tensors, read_toml, run,
    run_and_signal, train,
};

/// Options with the defaults of these tests.
fn with_defaults(options: &str) -> String {
    let mut all = format!("--threads 1 --eval-every 100 {options}");
    for (name, value) in [("--lr", "0.005"), ("--epochs", "1")] {
        if !options.contains(name) {
            all += &format!(" {name} {value}");
        }
    }
    all
}

/// Arguments that continue the adapter in a folder.
fn arguments(adapter: &Path, data: &Path, out: &Path, options: &str) -> Vec<String> {
    let mut all = vec!["train".to_owned()];
    for (name, path) in [("--adapter", adapter), ("--data", data), ("--out", out)] {
        all.extend([name.to_owned(), path.display().to_string()]);
    }
    all.extend(with_defaults(options).split_whitespace().map(String::from));
    all
}

fn continued(adapter: &Path, out: &Path, options: &str) -> Finished {
    run("gpt2-lora", arguments(adapter, &fixture("messages.tsv"), out, options))
}

/// Mean loss of the training steps.
fn loss(out: &Path) -> f64 {
    let metrics = read_jsonl(&out.join("metrics.jsonl"));
    let losses: Vec<f64> = metrics
        .iter()
        .filter(|it| it["event"] == "step")
        .filter_map(|it| it["loss"].as_f64())
        .collect();
    losses.iter().sum::<f64>() / losses.len() as f64
}

/// The folder of a finished run, and a place for another.
fn trained(options: &str) -> (Finished, PathBuf, PathBuf) {
    let run = train(&with_defaults(options)).succeeded();
    let (adapter, out) =
        (run.folder.path().join("out/adapter"), run.folder.path().join("continued"));
    (run, adapter, out)
}

#[test]
fn an_adapter_is_trained_further_with_its_own_settings() {
    for options in [
        "--rank 3 --alpha 6",
        "--rank 2 --target-modules q,v,c_fc --scaling rslora --rank-pattern c_fc=4",
        "--rank 2 --dora --lora-dropout 0.1 --alpha-pattern c_fc=4",
        "--rank 2 --init pissa",
        "--rank 2 --head full --target-modules c_attn",
        "--rank 2 --dtype bfloat16",
    ] {
        let (first, adapter, out) = trained(options);
        continued(&adapter, &out, "").succeeded();
        assert!(loss(&out) < loss(&first.folder.path().join("out")), "{options}");
        // The accuracies before training equal the accuracies of the adapter.
        let report = read_json(&first.folder.path().join("out/report.json"));
        let again = read_json(&out.join("report.json"));
        assert_ne!(report["initial"], again["initial"], "{options}");
        if !options.contains("pissa") {
            let [was, is] = [first.folder.path().join("out/run.toml"), out.join("run.toml")];
            let [was, is] = [read_toml(&was), read_toml(&is)];
            for name in ["rank", "alpha", "scaling", "target-modules", "dora", "head", "model"] {
                assert_eq!(was.get(name), is.get(name), "{options} {name}");
            }
            let sizes = |folder: &Path| -> Vec<(String, Vec<usize>)> {
                let tensors = read_tensors(&folder.join("adapter/adapter_model.safetensors"));
                tensors.into_iter().map(|(name, (shape, _))| (name, shape)).collect()
            };
            assert_eq!(sizes(&out), sizes(&first.folder.path().join("out")), "{options}");
            for name in ["trainable_parameters", "base_digest"] {
                assert_eq!(report[name], again[name], "{options} {name}");
            }
        }
        // And once more, and the file of the run repeats it.
        let (third, fourth) = (out.with_file_name("third"), out.with_file_name("fourth"));
        continued(&out.join("adapter"), &third, "--seed 5").succeeded();
        let file = third.join("run.toml").display().to_string();
        let to = fourth.display().to_string();
        run("gpt2-lora", ["train", "--config", &file, "--out", &to]).succeeded();
        assert_same_results(&third, &fourth);
    }
}

/// Without our metadata, as PEFT would write it.
#[test]
fn an_adapter_of_peft_is_trained_further() {
    for options in ["--rank 2", "--rank 2 --target-modules c_attn,c_proj --scaling rslora --dora"] {
        let (first, adapter, out) = trained(options);
        fs::remove_file(adapter.join("gpt2_lora.json")).unwrap();
        let finished = continued(&adapter, &out, "").succeeded();
        assert!(finished.stderr().contains("does not name its classes"), "{}", finished.stderr());
        assert!(loss(&out) < loss(&first.folder.path().join("out")), "{options}");
        assert_eq!(read_toml(&out.join("run.toml"))["head"].as_str(), Some("full"));
        let again = out.display().to_string() + "/adapter";
        run("gpt2-lora", ["predict", "--adapter", &again, "win a prize"]).succeeded();
    }
}

#[test]
fn a_continued_run_resumes_byte_for_byte() {
    let (first, adapter, out) = trained("--rank 2 --lora-dropout 0.1");
    let data = fixture("messages.tsv");
    let options = "--epochs 30 --checkpoint-every 5";
    run("gpt2-lora", arguments(&adapter, &data, &out, options)).succeeded();
    let stopped = first.folder.path().join("stopped");
    let steps = || {
        let metrics = fs::read_to_string(stopped.join("metrics.jsonl")).unwrap_or_default();
        metrics.matches("\"event\":\"step\"").count()
    };
    let halted =
        run_and_signal("gpt2-lora", arguments(&adapter, &data, &stopped, options), "TERM", || {
            steps() > 12
        });
    halted.failed(&["stopped after step", "--resume"]);

    // It is not resumed with another adapter.
    let resume = format!("{options} --resume");
    let copy = first.folder.path().join("copy/adapter");
    other_adapter(&adapter, &copy);
    run("gpt2-lora", arguments(&copy, &data, &stopped, &resume))
        .failed(&["another adapter", "--out"]);
    run("gpt2-lora", arguments(&adapter, &data, &stopped, &resume)).succeeded();
    assert_same_results(&out, &stopped);
}

/// Writes a copy of a run's adapter in which one bit is another.
fn other_adapter(adapter: &Path, copy: &Path) {
    fs::create_dir_all(copy).unwrap();
    for entry in fs::read_dir(adapter).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let settings = adapter.with_file_name("run.toml");
    fs::copy(settings, copy.with_file_name("run.toml")).unwrap();
    let weights = copy.join("adapter_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, &bytes).unwrap();
}

#[test]
fn finished_seeds_of_another_adapter_are_refused() {
    let (first, adapter, out) = trained("--rank 2");
    let copy = first.folder.path().join("copy/adapter");
    other_adapter(&adapter, &copy);
    continued(&adapter, &out, "--seeds 3,5").succeeded();
    let report = read_json(&out.join("seed-3/report.json"));
    assert_eq!(report["adapter_digest"].as_str().map(str::len), Some(64), "{report}");
    continued(&copy, &out, "--seeds 3,5 --resume").failed(&["seed-3", "another adapter", "--out"]);
    continued(&adapter, &out, "--seeds 3,5 --resume").succeeded();
}

#[test]
fn what_does_not_fit_the_adapter_is_refused() {
    let (first, adapter, out) = trained("--rank 2");
    let data = fixture("three_labels.tsv");
    run("gpt2-lora", arguments(&adapter, &data, &out, ""))
        .failed(&["the labels of the adapter", "\"ham\", \"spam\""]);
    for (options, says) in [
        ("--rank 3", &["--rank", "got 3", "leave it out"][..]),
        ("--target-modules q", &["target-modules", "leave it out"]),
        ("--head full", &["--head", "leave it out"]),
        ("--train all", &["--adapter: has no effect here", "--train lora"]),
        ("--task language-model", &["task"]),
    ] {
        continued(&adapter, &out, options).failed(says);
        assert!(!out.exists(), "{options}");
    }
    // Equal settings are accepted.
    continued(&adapter, &out, "--rank 2 --alpha 16").succeeded();
    let nowhere = first.folder.path().join("nowhere");
    continued(&nowhere, &out, "").failed(&["nowhere: does not exist", "--adapter"]);
    continued(&fixture("tiny"), &out, "").failed(&["complete model", "--model"]);
}

/// Classes keep their labels if the data has them in another order.
#[test]
fn labels_keep_their_classes() {
    let (first, adapter, out) = trained("--rank 4 --epochs 4");
    // An adapter whose classes are in another order than the alphabet's.
    let path = adapter.join("gpt2_lora.json");
    let metadata = fs::read_to_string(&path).unwrap();
    let renamed = metadata.replace("\"ham\"", "\"zzz\"").replace("\"spam\"", "\"aaa\"");
    fs::write(&path, renamed).unwrap();
    let messages = fs::read_to_string(fixture("messages.tsv")).unwrap();
    let rename = |line: &str| match line.split_once('\t').unwrap() {
        ("ham", text) => format!("zzz\t{text}\n"),
        (_, text) => format!("aaa\t{text}\n"),
    };
    let data = first.folder.path().join("renamed.tsv");
    fs::write(&data, messages.lines().map(rename).collect::<String>()).unwrap();
    run("gpt2-lora", arguments(&adapter, &data, &out, "--lr 0")).succeeded();
    let probability = |adapter: &Path| {
        let adapter = adapter.display().to_string();
        let arguments = ["predict", "--adapter", &adapter, "--json", "win a prize now"];
        let printed = run("gpt2-lora", arguments).succeeded().stdout();
        let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
        printed["probabilities"]["aaa"].as_f64().unwrap()
    };
    let (was, is) = (probability(&adapter), probability(&out.join("adapter")));
    assert!((was - is).abs() < 1e-5 && (was - 0.5).abs() > 0.01, "{was} {is}");
    let metadata = read_json(&out.join("adapter/gpt2_lora.json"));
    assert_eq!(metadata["labels"], serde_json::json!(["aaa", "zzz"]));

    // The same for an adapter that does not name its classes.
    fs::remove_file(&path).unwrap();
    let named = "--lr 0 --pooling last-position --max-length 96 --labels";
    let start = |out: &Path, labels: &str| {
        let options = format!("{named} {labels} --model {}", fixture("tiny").display());
        run("gpt2-lora", arguments(&adapter, &data, out, &options))
    };
    let outs = ["in-order", "swapped"].map(|name| first.folder.path().join(name));
    start(&outs[0], "zzz,aaa").succeeded();
    start(&outs[1], "aaa,zzz").succeeded();
    let [in_order, swapped] = outs.map(|out| probability(&out.join("adapter")));
    assert!((in_order + swapped - 1.0).abs() < 1e-5, "{in_order} {swapped}");
    assert!((in_order < 0.5) == (was < 0.5), "{in_order} {was}");
    start(&out.with_file_name("empty"), "zzz,").failed(&["--labels: label 2 is empty"]);
    let model = fixture("tiny").display().to_string();
    run("gpt2-lora", ["train", "--model", &model, "--labels", "a,b"])
        .failed(&["--labels", "requires --adapter"]);
}

/// Trains a language model on the rows of a table, further if options name an adapter.
fn train_language_model(folder: &Path, data: &str, out: &str, options: &str) -> Finished {
    let model = fixture("tiny").display().to_string();
    let [data, out] = [data, out].map(|name| folder.join(name).display().to_string());
    let fixed = ["train", "--model", &model, "--data", &data, "--out", &out].map(String::from);
    let task = if options.contains("--adapter") { "" } else { "--task language-model " };
    let options = with_defaults(&format!("{task}--device cpu --batch-size 4 {options}"));
    run("gpt2-lora", fixed.into_iter().chain(options.split_whitespace().map(String::from)))
        .succeeded()
}

#[test]
fn a_language_model_keeps_the_templates_of_its_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let path = |name: &str| folder.join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    write("pairs.jsonl", &"{\"prompt\": \"a\", \"completion\": \"b\"}\n".repeat(20));
    let message = |role: &str| serde_json::json!({"role": role, "content": "a"});
    let chat = serde_json::json!({"messages": [message("user"), message("assistant")]});
    write("chats.jsonl", &format!("{chat}\n").repeat(20));
    for (name, text) in [("own", "Own"), ("other", "Other")] {
        write(&format!("{name}-prompt.jinja"), &format!("{text}: {{{{ prompt }}}}"));
        let messages = "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}\
                        {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
        write(&format!("{name}-chat.jinja"), &format!("{text} {messages}"));
    }
    for (kind, entry) in [("prompt", "template"), ("chat", "chat_template")] {
        let note = &format!("the examples have the {kind} template of the adapter");
        let data = if kind == "prompt" { "pairs.jsonl" } else { "chats.jsonl" };
        let template = |name: &str| path(&format!("{name}-{kind}.jinja")).display().to_string();
        let recorded = |out: &str| {
            let metadata = read_json(&path(out).join("adapter/gpt2_lora.json"));
            metadata["prompts"][entry].as_str().unwrap().to_owned()
        };
        let begin = |options: &str, out: &str| train_language_model(folder, data, out, options);
        let [first, kept, replaced] =
            ["first", "kept", "replaced"].map(|it| format!("{it}-{kind}"));
        begin(&format!("--{kind}-template {}", template("own")), &first);
        let further = format!("--adapter {}", path(&first).join("adapter").display());
        let stderr = begin(&further, &kept).stderr();
        assert!(stderr.contains(note), "{stderr}");
        assert_eq!(recorded(&kept), recorded(&first));
        assert!(recorded(&kept).contains("Own"), "{}", recorded(&kept));
        let option = format!("--{kind}-template");
        let stderr =
            begin(&format!("{further} {option} {}", template("other")), &replaced).stderr();
        let says = format!("trained with another {kind} template than these examples have");
        assert!(stderr.contains(&says) && !stderr.contains(note), "{stderr}");
        assert!(recorded(&replaced).contains("Other"), "{}", recorded(&replaced));
        let same = format!("same-{kind}");
        let stderr = begin(&format!("{further} {option} {}", template("own")), &same).stderr();
        assert!(!stderr.contains("another"), "{stderr}");
        // Examples of the other kind do not have it.
        let other = if kind == "prompt" { "chats.jsonl" } else { "pairs.jsonl" };
        let options = match kind {
            "chat" => format!("{further} --prompt-template {}", path("own-prompt.jinja").display()),
            _ => further,
        };
        let out = format!("without-{kind}");
        let stderr = train_language_model(folder, other, &out, &options).stderr();
        let says = format!("trained with a {kind} template, which these examples do not have");
        assert!(stderr.contains(&says) && !stderr.contains(note), "{stderr}");
    }
}

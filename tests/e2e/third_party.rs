//! Models and adapters as others leave them, used by the commands as they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use test_support::{fixture, pocket, read_json, run, train};

/// Runs a command and returns what it prints.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    run("gpt2-lora", arguments).succeeded().stdout()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A safetensors file: names, types and shapes, and bytes.
struct Tensors(Vec<(String, Value, Vec<u8>)>);

impl Tensors {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
        let data = &bytes[8 + size..];
        let tensors =
            header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
        Self(
            tensors
                .map(|(name, about)| {
                    let [from, to] =
                        [0, 1].map(|end| about["data_offsets"][end].as_u64().unwrap() as usize);
                    (name.clone(), about.clone(), data[from..to].to_vec())
                })
                .collect(),
        )
    }

    fn write(&self, path: &Path) {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
        for (name, about, bytes) in &self.0 {
            let mut about = about.clone();
            about["data_offsets"] = json!([data.len(), data.len() + bytes.len()]);
            header.insert(name.clone(), about);
            data.extend(bytes);
        }
        let header = Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        fs::write(path, file).unwrap();
    }

    fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        self.0.iter_mut().for_each(|(name, ..)| *name = rename(name));
        self
    }
}

/// The files of a small model in a new folder.
fn model() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    fs::create_dir(&base).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(pocket().join(file), base.join(file)).unwrap();
    }
    (folder, base)
}

#[test]
fn model_folders_of_every_form_are_read() {
    let (folder, base) = model();
    let expected = printed(&["inspect", &shown(&base)]);
    let weights = base.join("model.safetensors");

    for prefix in ["module.", "_orig_mod.", "transformer.", "module._orig_mod.transformer."] {
        Tensors::read(&pocket().join("model.safetensors"))
            .renamed(|name| format!("{prefix}{name}"))
            .write(&weights);
        assert_eq!(printed(&["inspect", &shown(&base)]), expected, "{prefix}");
    }
    for head in ["classifier", "qa_outputs", "multiple_choice_head.summary", "v_head.summary"] {
        let mut tensors = Tensors::read(&pocket().join("model.safetensors"));
        let about = json!({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]});
        tensors.0.push((format!("{head}.bias"), about, vec![0; 4]));
        tensors.write(&weights);
        let finished = run("gpt2-lora", ["inspect", &shown(&base)]).succeeded();
        assert_eq!(finished.stdout(), expected, "{head}");
        let note = finished.stderr();
        assert!(note.contains(head) && note.contains("another task"), "{note}");
    }
    for count in [1, 2, 5] {
        let sharded = folder.path().join(format!("sharded-{count}"));
        fs::create_dir(&sharded).unwrap();
        fs::copy(base.join("config.json"), sharded.join("config.json")).unwrap();
        let tensors = Tensors::read(&pocket().join("model.safetensors")).0;
        let mut map = serde_json::Map::new();
        for (number, shard) in tensors.chunks(tensors.len().div_ceil(count)).enumerate() {
            let name = format!("model-{:05}-of-{count:05}.safetensors", number + 1);
            Tensors(shard.to_vec()).write(&sharded.join(&name));
            map.extend(shard.iter().map(|(tensor, ..)| (tensor.clone(), json!(name))));
        }
        let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
        fs::write(sharded.join("model.safetensors.index.json"), index).unwrap();
        assert_eq!(printed(&["inspect", &shown(&sharded)]), expected, "{count} shards");
    }
    // What is not the file itself is called by its name.
    for (name, content, says) in [
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid", "git-lfs pointer"),
        ("pytorch_model.bin", "version https://git-lfs.github.com/spec/v1\noid", "git-lfs pointer"),
        ("pytorch_model.bin", "PK\u{3}\u{4} not read", "PyTorch checkpoint"),
        ("pytorch_model.bin", "\u{80}\u{2}", "PyTorch 1.6"),
        ("model.safetensors", "<html>", "not a whole safetensors file"),
    ] {
        let _ = fs::remove_file(&weights);
        fs::write(base.join(name), content).unwrap();
        run("gpt2-lora", ["inspect", &shown(&base)]).failed(&[name, says]);
        fs::remove_file(base.join(name)).unwrap();
    }
}

#[test]
fn the_hub_cache_is_a_model_and_an_adapter_folder() {
    let (folder, base) = model();
    let expected = printed(&["inspect", &shown(&base)]);
    let cache = folder.path().join("models--me--pocket");
    let snapshot = cache.join("snapshots/0123");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(cache.join("refs")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::rename(base.join(file), snapshot.join(file)).unwrap();
    }
    assert_eq!(printed(&["inspect", &shown(&cache)]), expected, "a single snapshot");
    fs::create_dir(cache.join("snapshots/4567")).unwrap();
    run("gpt2-lora", ["inspect", &shown(&cache)]).failed(&["got 2", "snapshots"]);
    fs::write(cache.join("refs/main"), "0123").unwrap();
    assert_eq!(printed(&["inspect", &shown(&cache)]), expected, "the main branch");

    let trained = train("--epochs 1 --rank 2").succeeded();
    let adapter = trained.folder.path().join("out/adapter");
    let cache = folder.path().join("models--me--adapter");
    fs::create_dir_all(cache.join("snapshots")).unwrap();
    let before = printed(&["predict", "--adapter", &shown(&adapter), "win a prize"]);
    fs::rename(&adapter, cache.join("snapshots/89ab")).unwrap();
    // Away from its run, the adapter does not know where its base model is.
    let base = shown(&fixture("tiny"));
    let predict = ["predict", "--adapter", &shown(&cache), "--model", &base, "win a prize"];
    assert_eq!(printed(&predict), before);
    assert!(printed(&["inspect", &shown(&cache)]).contains("LoRA adapter"));
}

/// The folder of an adapter, and what it makes of some texts.
fn adapter() -> (tempfile::TempDir, PathBuf, String) {
    let trained = train("--epochs 2 --rank 2 --lr 0.005").succeeded();
    let adapter = trained.folder.path().join("out/adapter");
    let before = predict(&adapter);
    (trained.folder, adapter, before)
}

fn predict(adapter: &Path) -> String {
    printed(&["predict", "--adapter", &shown(adapter), "--", "win a prize", "see you at the bus"])
}

/// Name of a tensor with the name of its adapter.
fn named(name: &str, adapter: &str) -> String {
    let name = name.replace("lora_A.", &format!("lora_A.{adapter}."));
    name.replace("lora_B.", &format!("lora_B.{adapter}."))
}

#[test]
fn adapters_with_names_of_every_spelling_are_read() {
    let (_folder, adapter, before) = adapter();
    let weights = adapter.join("adapter_model.safetensors");
    let original = fs::read(&weights).unwrap();
    type Rename = Box<dyn Fn(&str) -> String>;
    let spellings: [(&str, Rename); 6] = [
        ("default", Box::new(|name: &str| named(name, "default"))),
        ("another adapter name", Box::new(|name: &str| named(name, "spam-2"))),
        ("module", Box::new(|name: &str| format!("module.{name}"))),
        ("_orig_mod", Box::new(|name: &str| format!("_orig_mod.{name}"))),
        ("both", Box::new(|name: &str| format!("module._orig_mod.{}", named(name, "default")))),
        (
            "modules_to_save",
            Box::new(|name: &str| name.replace("score.", "score.modules_to_save.default.")),
        ),
    ];
    for (what, rename) in spellings {
        fs::write(&weights, &original).unwrap();
        Tensors::read(&weights).renamed(rename).write(&weights);
        assert_eq!(predict(&adapter), before, "{what}");
    }
    // Copies of the base model's own tensors are ignored.
    for copy in ["score.original_module.weight", "transformer.h.0.attn.c_attn.base_layer.weight"] {
        fs::write(&weights, &original).unwrap();
        let mut tensors = Tensors::read(&weights);
        let (_, about, bytes) = tensors.0[0].clone();
        tensors.0.push((format!("base_model.model.{copy}"), about, vec![0; bytes.len()]));
        tensors.write(&weights);
        assert_eq!(predict(&adapter), before, "{copy}");
    }
}

/// `adapter_model.bin`, as older versions of PEFT wrote it.
#[test]
fn a_pickled_adapter_is_read_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let peft = fixture("peft/default");
    fs::copy(peft.join("adapter_config.json"), folder.path().join("adapter_config.json")).unwrap();
    let weights = folder.path().join("adapter_model.bin");
    let seeds = fixture("../fuzz/seeds/adapter_pickle");
    fs::copy(seeds.join("peft.bin"), &weights).unwrap();
    let expected = printed(&["inspect", &shown(&peft)]);
    assert_eq!(printed(&["inspect", &shown(folder.path())]), expected);
    for (file, says) in [
        (seeds.join("refused_code.bin"), "posix.system"),
        (fixture("pickles/refused_module.bin"), "torch.nn.modules"),
        (fixture("pickles/refused_list.bin"), "not a dictionary of tensors"),
        (fixture("pickles/refused_legacy.bin"), "PyTorch 1.6"),
    ] {
        fs::copy(file, &weights).unwrap();
        run("gpt2-lora", ["inspect", &shown(folder.path())]).failed(&["adapter_model.bin", says]);
    }
    assert!(!Path::new("executed").exists());
}

/// Fields of other versions of PEFT.
#[test]
fn settings_of_other_versions_are_ignored_or_refused_by_name() {
    let (_folder, adapter, before) = adapter();
    let path = adapter.join("adapter_config.json");
    let original = read_json(&path);
    let set = |name: &str, value: Value| {
        let mut config = original.clone();
        config[name] = value;
        fs::write(&path, config.to_string()).unwrap();
        let arguments =
            ["predict", "--adapter", &shown(&adapter), "--", "win a prize", "see you at the bus"];
        run("gpt2-lora", arguments)
    };
    for (name, value) in [
        ("peft_version", json!("0.99.0")),
        ("auto_mapping", json!({"base_model_class": "GPT2"})),
        ("corda_config", json!({"beta": 1})),
        ("use_something_new", json!(false)),
        ("something_config", json!(null)),
        ("loftq_config", json!({"bits": 4})),
    ] {
        let finished = set(name, value).succeeded();
        assert_eq!(finished.stdout(), before, "{name}");
        assert!(!finished.stderr().contains("note"), "{}", finished.stderr());
    }
    for (name, value) in [("group_size", json!(16)), ("flavor", json!("plain"))] {
        let finished = set(name, value).succeeded();
        assert_eq!(finished.stdout(), before, "{name}");
        assert!(
            finished.stderr().contains(&format!("ignored: {name} = ")),
            "{}",
            finished.stderr()
        );
    }
    for (name, value) in [
        ("bias", json!("lora_only")),
        ("lora_bias", json!(true)),
        ("use_qalora", json!(true)),
        ("trainable_token_indices", json!([50256])),
        ("layer_replication", json!([[0, 1]])),
        ("init_lora_weights", json!("pissa")),
        ("use_something_new", json!(true)),
        ("task_type", json!("SEQ_2_SEQ_LM")),
    ] {
        if name == "task_type" {
            fs::remove_file(adapter.join("gpt2_lora.json")).unwrap();
        }
        set(name, value).failed(&["adapter_config.json", name]);
    }
}

#[test]
fn classes_get_their_names_from_the_command() {
    let (_folder, adapter, before) = adapter();
    let with = |labels: &str| {
        let arguments = ["predict", "--adapter", &shown(&adapter), "--labels", labels, "--"];
        let texts = ["win a prize", "see you at the bus"];
        run("gpt2-lora", arguments.into_iter().chain(texts))
    };
    with("ham,spam").failed(&["names its classes", "leave out --labels"]);
    fs::remove_file(adapter.join("gpt2_lora.json")).unwrap();
    assert!(predict(&adapter).contains("LABEL_"));
    assert_eq!(with("ham,spam").succeeded().stdout(), before);
    assert!(with("a,b").succeeded().stdout().starts_with(['a', 'b']));
    with("a,b,c").failed(&["--labels: expected 2 labels", "got 3"]);
    with("a,a").failed(&["--labels", "\"a\""]);
    // A merged model keeps them.
    let merged = adapter.with_file_name("merged");
    let arguments =
        ["merge", "--adapter", &shown(&adapter), "--labels", "ham,spam", "--out", &shown(&merged)];
    run("gpt2-lora", arguments).succeeded();
    assert_eq!(predict(&merged), before);
    assert_eq!(read_json(&merged.join("config.json"))["id2label"]["0"], "ham");
    // And so does one without our metadata, whose labels may be spelled in any way.
    fs::remove_file(merged.join("gpt2_lora.json")).unwrap();
    let path = merged.join("config.json");
    let original = read_json(&path);
    for spelling in [
        json!({"0": "ham", "1": "spam"}),
        json!(["ham", "spam"]),
        json!({"LABEL_0": "ham", "LABEL_1": "spam"}),
        json!({"01": "spam", "00": "ham"}),
    ] {
        let mut config = original.clone();
        config["id2label"] = spelling.clone();
        fs::write(&path, config.to_string()).unwrap();
        assert_eq!(predict(&merged), before, "{spelling}");
    }
    for problem in ["multi_label_classification", "regression"] {
        let mut config = original.clone();
        config["problem_type"] = json!(problem);
        fs::write(&path, config.to_string()).unwrap();
        run("gpt2-lora", ["predict", "--adapter", &shown(&merged), "hi"])
            .failed(&["problem_type", problem]);
    }
}

/// A head of one logit is for regression or a sigmoid.
#[test]
fn a_head_of_one_logit_is_refused() {
    let (_folder, adapter, _) = adapter();
    fs::remove_file(adapter.join("gpt2_lora.json")).unwrap();
    let weights = adapter.join("adapter_model.safetensors");
    let mut tensors = Tensors::read(&weights);
    for (name, about, bytes) in &mut tensors.0 {
        if name.ends_with("score.weight") {
            about["shape"][0] = json!(1);
            bytes.truncate(bytes.len() / 2);
        }
    }
    tensors.write(&weights);
    run("gpt2-lora", ["predict", "--adapter", &shown(&adapter), "hi"])
        .failed(&["score.weight", "single logit"]);
}

/// Token embeddings that PEFT saves beside an adapter.
#[test]
fn saved_embeddings_are_used() {
    let (_folder, adapter, before) = adapter();
    let weights = adapter.join("adapter_model.safetensors");
    let original = fs::read(&weights).unwrap();
    let wte = Tensors::read(&fixture("tiny/model.safetensors")).0;
    let (_, about, bytes) =
        wte.into_iter().find(|(name, ..)| name.ends_with("wte.weight")).unwrap();
    let with = |name: &str, change: &dyn Fn(&mut Value, &mut Vec<u8>)| {
        fs::write(&weights, &original).unwrap();
        let mut tensors = Tensors::read(&weights);
        let (mut about, mut bytes) = (about.clone(), bytes.clone());
        change(&mut about, &mut bytes);
        tensors.0.push((format!("base_model.model.{name}"), about, bytes));
        tensors.write(&weights);
    };
    with("transformer.wte.weight", &|_, _| ());
    assert_eq!(predict(&adapter), before, "the same");
    with("lm_head.weight", &|_, _| ());
    assert_eq!(predict(&adapter), before, "the tied head");
    with("transformer.wte.weight", &|about, bytes| {
        let row = bytes.len() / about["shape"][0].as_u64().unwrap() as usize;
        about["shape"][0] = json!(about["shape"][0].as_u64().unwrap() + 1);
        bytes.extend(vec![0; row]);
    });
    assert_eq!(predict(&adapter), before, "one token more");
    with("transformer.wte.weight", &|_, bytes| bytes.fill(0));
    assert_ne!(predict(&adapter), before, "zeros");
    with("transformer.wpe.weight", &|_, _| ());
    run("gpt2-lora", ["predict", "--adapter", &shown(&adapter), "hi"])
        .failed(&["adapter_model.safetensors", "wpe.weight: expected shape"]);
}

/// `weights/gpt2` under the names that it has on the hub.
#[test]
fn a_published_model_has_its_names_of_the_hub() {
    let (_folder, adapter, before) = adapter();
    let project = adapter.with_file_name("project");
    fs::create_dir_all(project.join("datasets")).unwrap();
    let weights = project.join("weights/gpt2");
    fs::create_dir_all(&weights).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture("tiny").join(file), weights.join(file)).unwrap();
    }
    fs::remove_file(adapter.join("gpt2_lora.json")).unwrap();
    let path = adapter.join("adapter_config.json");
    let original = read_json(&path);
    for name in ["gpt2", "openai-community/gpt2", "openai-community/gpt2/", "weights/gpt2"] {
        let mut config = original.clone();
        config["base_model_name_or_path"] = json!(name);
        fs::write(&path, config.to_string()).unwrap();
        for arguments in [&["predict"][..], &["predict", "--model", name]] {
            let output = std::process::Command::new(test_support::binary("gpt2-lora"))
                .args(arguments)
                .args(["--adapter", &shown(&adapter), "--labels", "ham,spam", "--"])
                .args(["win a prize", "see you at the bus"])
                .current_dir(&project)
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(String::from_utf8_lossy(&output.stdout), before, "{name}: {stderr}");
        }
    }
}

/// A checkpoint of the hub, as `cargo xtask fetch-weights OWNER/NAME` leaves it.
#[test]
fn adapters_name_the_fetched_checkpoint_that_they_were_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path();
    let weights = project.join("weights/me--small");
    fs::create_dir_all(project.join("datasets")).unwrap();
    let gpt2_lora = |arguments: &[&str]| {
        let mut command = std::process::Command::new(test_support::binary("gpt2-lora"));
        let output = command.args(arguments).current_dir(project).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let train = |model: &str, out: &str| {
        let data = shown(&fixture("messages.tsv"));
        let words = format!("--threads 1 --batch-size 8 --epochs 1 --out {out} --model {model}");
        let options: Vec<&str> = words.split(' ').collect();
        gpt2_lora(&[&["train", "--data", &data], &options[..]].concat())
    };
    fs::create_dir_all(&weights).unwrap();
    for missing in ["config.json", "model.safetensors"] {
        let (ended, _, stderr) = train("me/small", "unused");
        let advice = "fetch it with `cargo xtask fetch-weights me/small`";
        assert!(!ended && stderr.contains(missing) && stderr.contains(advice), "{stderr}");
        assert!(!project.join("unused").exists());
        fs::copy(fixture("tiny").join(missing), weights.join(missing)).unwrap();
    }
    fs::write(weights.join("fetched.json"), r#"{"repository": "me/small"}"#).unwrap();
    for (number, model) in ["me/small", "me/small/", "weights/me--small"].into_iter().enumerate() {
        let out = format!("run-{number}");
        let (ended, _, stderr) = train(model, &out);
        assert!(ended, "{model}: {stderr}");
        let adapter = project.join(&out).join("adapter");
        let config = read_json(&adapter.join("adapter_config.json"));
        assert_eq!(config["base_model_name_or_path"], "me/small", "{model}");
        assert_eq!(read_json(&adapter.join("gpt2_lora.json"))["base_model"], "me/small");
        assert!(fs::read_to_string(adapter.join("README.md")).unwrap().contains("me/small"));
        // Without the settings of the run, the base model is found by its name.
        fs::rename(&adapter, project.join("moved")).unwrap();
        let (ended, _, stderr) = gpt2_lora(&["predict", "--adapter", "moved", "--", "win a prize"]);
        assert!(ended, "{model}: {stderr}");
        fs::remove_dir_all(project.join("moved")).unwrap();
    }
}

/// A vocabulary that is padded, or has a padding token of its own.
#[test]
fn a_merged_model_of_a_padded_vocabulary_pads_with_the_tokenizers_token() {
    for (extra, given) in [(47, None), (1, None), (1, Some(50_257)), (47, Some(50_256))] {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        fs::create_dir(&base).unwrap();
        let mut tensors = Tensors::read(&fixture("tiny/model.safetensors"));
        for (name, about, bytes) in &mut tensors.0 {
            if name.ends_with("wte.weight") {
                let row = bytes.len() / about["shape"][0].as_u64().unwrap() as usize;
                about["shape"][0] = json!(about["shape"][0].as_u64().unwrap() + extra);
                bytes.extend(vec![0; row * extra as usize]);
            }
        }
        tensors.write(&base.join("model.safetensors"));
        let mut config = read_json(&fixture("tiny/config.json"));
        config["vocab_size"] = json!(50_257 + extra);
        for name in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            config.as_object_mut().unwrap().remove(name);
        }
        if let Some(token) = given {
            config["pad_token_id"] = json!(token);
        }
        fs::write(base.join("config.json"), config.to_string()).unwrap();
        let (out, merged) = (folder.path().join("out"), folder.path().join("merged"));
        test_support::train_on(&base, &fixture("messages.tsv"), &out).succeeded();
        let adapter = shown(&out.join("adapter"));
        run("gpt2-lora", ["merge", "--adapter", &adapter, "--out", &shown(&merged)]).succeeded();
        let config = read_json(&merged.join("config.json"));
        for name in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            assert_eq!(config[name], 50_256, "{name} {extra} {given:?}");
        }
        let tokenizer = read_json(&merged.join("tokenizer_config.json"));
        assert_eq!(tokenizer["pad_token"], "<|endoftext|>");
    }
}

//! Saved and merged adapters of language models generate the texts of their run, also in PEFT and
//! transformers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dataset::Tokenizer;
use gpt2_model::{DType, GenerateConfig, Gpt2, Prompt, generate_batch};
use serde_json::{Value, json};
use tch::Device;
use trainer::{
    Generator, Predictor,
    inference::{
        AnswerCheck, Completion, GenerationRequest, evaluate_language_model, is_language_model,
        write_merged,
    },
};

use crate::exchange::{
    fixtures, make_hub, printed, python_programs, run_python, train_model, train_with,
};

const PROMPTS: [&str; 4] = ["Every effort moves you", "The sea", "a", "one two three four five"];

/// The folder of a short run of a language model on the tiny model.
fn train(options: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.txt");
    let lines = (0..200).map(|line| format!("line {line} of the sea, and {} ships\n\n", line % 7));
    fs::write(&text, lines.collect::<String>()).unwrap();
    let fixed = "--task language-model --max-length 16 --batch-size 4 --steps 12 --eval-batches 1";
    train_with(&text, folder.path(), &format!("{fixed} --lr 0.01 --rank 3 --alpha 6 {options}"));
    folder
}

fn request() -> GenerationRequest {
    let config = GenerateConfig { max_new_tokens: 12, ..GenerateConfig::default() };
    GenerationRequest { config, ..GenerationRequest::default() }
}

/// Greedy completions of the prompts, and the loss on them as texts.
fn results(generator: &Generator, prompts: &[&str]) -> (Vec<Completion>, f64) {
    let completions = generator.generate(prompts, 0, &request(), None).unwrap();
    let completions = completions.into_iter().collect::<Result<_, _>>().unwrap();
    let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    let line = |text: &&str| format!("{}\n", json!({ "text": text }));
    fs::write(&file, prompts.iter().map(line).collect::<String>()).unwrap();
    let paths = vec![file.path().to_owned()];
    let files = generator.completion_files(paths, Default::default(), Default::default());
    let examples = files.read_all().unwrap();
    let (check, long) = (AnswerCheck { request: request(), pattern: None }, Default::default());
    let result = evaluate_language_model(generator, &examples, &check, long, &mut |_| ()).unwrap();
    (completions, result.loss)
}

/// Asserts that the adapter of a run, its files for PEFT and the merged model (`merged`) generate
/// alike, and writes logits and tokens to `expected.json`.
fn compare_forms(options: &str) -> tempfile::TempDir {
    let out = train(options);
    let [adapter, peft, merged] = ["adapter", "peft", "merged"].map(|name| out.path().join(name));
    assert!(is_language_model(&adapter).unwrap());
    let tiny = fixtures().join("tiny");
    let cpu = || Generator::options().device(Device::Cpu);
    let (completions, loss) = results(&cpu().load(&adapter).unwrap(), &PROMPTS);
    fs::create_dir(&peft).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter.join(file), peft.join(file)).unwrap();
    }
    let predictor = Predictor::options().device(Device::Cpu);
    write_merged(&adapter, &predictor, &merged, DType::Float32).unwrap();
    let on_tiny = cpu().base(tiny.to_str().unwrap());
    for generator in [on_tiny.load(&peft).unwrap(), cpu().load(&merged).unwrap()] {
        let (others, other_loss) = results(&generator, &PROMPTS);
        assert_eq!(completions, others, "{options}");
        assert!((loss - other_loss).abs() < 1e-5, "{options}: {loss} {other_loss}");
    }
    let (base, _) = results(&cpu().load_base(tiny.to_str().unwrap(), None).unwrap(), &PROMPTS);
    assert_ne!(completions, base, "the adapter has no effect");
    write_expected(&merged, &PROMPTS, loss, &out.path().join("expected.json"));
    out
}

/// Writes the logits and greedy tokens after some prompts, the prompts and completions as texts with
/// their tokens, and the mean loss on the prompts.
fn write_expected(folder: &Path, prompts: &[&str], loss: f64, file: &Path) {
    let model = Gpt2::load(folder, Device::Cpu).unwrap();
    let tokenizer = Tokenizer::of_model(folder).unwrap();
    let encode = |text: &&str| tokenizer.encode(text).into_iter().map(i64::from).collect();
    let ids: Vec<Vec<i64>> = prompts.iter().map(encode).collect();
    let numbered: Vec<Prompt> =
        ids.iter().map(|ids| Prompt { ids: ids.clone(), number: 0 }).collect();
    let mut config = request().config;
    config.stop_tokens.push(i64::from(tokenizer.end_of_text()));
    let mut on_token = |_, _| std::ops::ControlFlow::Continue(());
    let generated = generate_batch(&model, &numbered, &config, 8, &mut on_token).unwrap();
    let tokens: Vec<Vec<i64>> = generated.into_iter().map(|text| text.tokens).collect();
    let completions: Vec<String> = tokens
        .iter()
        .map(|ids| tokenizer.decode(&ids.iter().map(|&id| id as u32).collect::<Vec<_>>()))
        .collect();
    let logits = model.next_token_logits(&ids).unwrap();
    let all = json!({
        "texts": prompts, "prompts": ids, "logits": logits, "tokens": tokens,
        "completions": completions, "loss": loss, "end_of_text": tokenizer.end_of_text(),
    });
    fs::write(file, all.to_string()).unwrap();
}

/// Options of runs.
const RUNS: [&str; 3] =
    ["", "--target-modules q,v,c_fc --scaling rslora", "--dora --target-modules all-linear"];

#[test]
fn saved_and_merged_adapters_generate_like_the_run() {
    for options in RUNS {
        let out = compare_forms(options);
        let merged = out.path().join("merged");
        let config: Value =
            serde_json::from_slice(&fs::read(merged.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["architectures"], json!(["GPT2LMHeadModel"]));
        let files = ["generation_config.json", "tokenizer_config.json", "vocab.json", "merges.txt"];
        for file in files {
            assert!(merged.join(file).is_file(), "{file} is missing");
        }
    }
}

#[test]
#[ignore = "needs PEFT_PYTHON"]
fn peft_and_transformers_generate_the_texts_of_runs() {
    for options in RUNS {
        let out = compare_forms(options);
        let [adapter, merged, expected] =
            ["adapter", "merged", "expected.json"].map(|name| out.path().join(name));
        run_python("check_language_model.py", &[&merged, &expected]);
        let (tiny, option) = (fixtures().join("tiny"), PathBuf::from("--adapter"));
        run_python("check_language_model.py", &[&tiny, &expected, &option, &adapter]);
    }
}

/// The programs of model cards render prompts as the training did.
#[test]
#[ignore = "needs PEFT_PYTHON"]
fn programs_of_model_cards_for_peft_generate_the_texts_of_runs() {
    let tiny = fixtures().join("tiny");
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let conversation = [message("user", "a"), message("assistant", "the sea")];
    for row in [
        json!({"messages": conversation}),
        json!({"instruction": "a", "output": "the sea"}),
        json!({"text": "the sea"}),
    ] {
        let folder = tempfile::tempdir().unwrap();
        make_hub(folder.path());
        let data = folder.path().join("rows.jsonl");
        fs::write(&data, format!("{row}\n").repeat(20)).unwrap();
        let options = "--task language-model --batch-size 4 --steps 12 --eval-batches 1 --lr 0.01";
        train_with(&data, folder.path(), options);
        let adapter = folder.path().join("adapter");
        let [program] = python_programs(&adapter.join("README.md"));
        let prompt = if row.get("text").is_some() { PROMPTS[0] } else { "How are you?" };
        let loader = Generator::options().device(Device::Cpu).base(tiny.to_str().unwrap());
        let found =
            loader.load(&adapter).unwrap().generate(&[prompt], 0, &request(), None).unwrap();
        let text = &found[0].as_ref().unwrap().text;
        let program = program.replace("path/to/tiny", tiny.to_str().unwrap());
        let program = ["=100,", "=20,"].iter().fold(program, |all, it| all.replace(it, "=12,"));
        let theirs = printed(&program, &adapter, folder.path());
        assert!(!text.trim().is_empty() && theirs.ends_with(text.trim()), "{row}: {theirs} {text}");
    }
}

/// Models whose tokenizers are of other kinds, from training to `transformers`.
#[test]
#[ignore = "needs PEFT_PYTHON"]
fn transformers_generates_with_merged_models_of_other_tokenizers() {
    for kind in ["byte_level", "word_piece", "unigram"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("base")).unwrap();
        for files in ["tokenizers", "tokenizer_models"] {
            for entry in fs::read_dir(fixtures().join(files).join(kind)).unwrap() {
                let file = entry.unwrap().path();
                fs::copy(&file, path("base").join(file.file_name().unwrap())).unwrap();
            }
        }
        let golden: Value =
            serde_json::from_slice(&fs::read(path("base/golden.json")).unwrap()).unwrap();
        let examples = golden["examples"].as_array().unwrap();
        let examples: String = examples.iter().map(|example| format!("{example}\n")).collect();
        fs::write(path("data.jsonl"), examples.repeat(8)).unwrap();
        let options = "--task language-model --epochs 2 --batch-size 4 --lr 0.01 --rank 3";
        train_model(&path("base"), &path("data.jsonl"), &path("out"), options);
        let prompts: Vec<&str> =
            golden["texts"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        let cpu = || Generator::options().device(Device::Cpu);
        let expected = results(&cpu().load(path("out/adapter")).unwrap(), &prompts);
        let predictor = Predictor::options().device(Device::Cpu);
        write_merged(&path("out/adapter"), &predictor, &path("merged"), DType::Float32).unwrap();
        let merged = results(&cpu().load(path("merged")).unwrap(), &prompts);
        assert_eq!(merged.0, expected.0, "{kind}");
        write_expected(&path("merged"), &prompts, expected.1, &path("expected.json"));
        run_python("check_language_model.py", &[&path("merged"), &path("expected.json")]);
    }
}

/// PEFT generated the expected texts (`tests/fixtures/make_generation.py`).
#[test]
fn adapters_of_peft_generate_its_texts() {
    let folder = fixtures().join("generation");
    let golden: Value =
        serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let tiny = fixtures().join("tiny");
    let options = Generator::options().device(Device::Cpu).base(tiny.to_str().unwrap());
    let generator = options.load(folder.join("adapter")).unwrap();
    let tokenizer = Tokenizer::gpt2();
    let decode = |ids: &Value| {
        let ids: Vec<u32> = serde_json::from_value(ids.clone()).unwrap();
        (tokenizer.decode(&ids), ids)
    };
    let mut compared = 0;
    for text in golden["adapter"].as_array().unwrap() {
        let (prompt, ids) = decode(&text["prompt"]);
        // Other ids are not the tokens of a text.
        if tokenizer.encode(&prompt) != ids {
            continue;
        }
        for greedy in text["greedy"].as_array().unwrap() {
            let mut request = request();
            request.config.max_new_tokens = 24;
            let penalty = greedy["settings"]["repetition_penalty"].as_f64();
            request.config.repetition_penalty = penalty.unwrap_or(1.0);
            let found = generator.generate(&[&prompt], 0, &request, None).unwrap().remove(0);
            let (expected, ids) = decode(&greedy["tokens"]);
            let found = found.unwrap();
            assert_eq!((found.text, found.new_tokens), (expected, ids.len()));
            compared += 1;
        }
    }
    assert!(compared >= 9, "{compared}");
}

#[test]
fn a_damaged_row_does_not_stop_the_others() {
    let tiny = fixtures().join("tiny");
    let options = Generator::options().device(Device::Cpu);
    let generator = options.load_base(tiny.to_str().unwrap(), None).unwrap();
    let long = "word ".repeat(200);
    let mut pieces = vec![String::new(); 4];
    let mut on_text = |index: usize, text: &str| pieces[index] += text;
    let prompts = ["The sea", "", &long, "a"];
    let outcomes = generator.generate(&prompts, 0, &request(), Some(&mut on_text)).unwrap();
    let texts: Vec<String> = outcomes
        .iter()
        .map(|outcome| {
            outcome.as_ref().map_or_else(|error| error.to_string(), |it| it.text.clone())
        })
        .collect();
    assert!(texts[1].contains("empty") && texts[2].contains("context of 96"), "{texts:?}");
    assert_eq!([&pieces[0], &pieces[3]], [&texts[0], &texts[3]]);
    assert_eq!((&pieces[1][..], &pieces[2][..]), ("", ""));
    // A stop string ends the text before it.
    let stop: String = texts[0].chars().skip(3).take(4).collect();
    let stopped = GenerationRequest { stop: vec![stop.clone()], ..request() };
    let outcome = generator.generate(&prompts[..1], 0, &stopped, None).unwrap().remove(0).unwrap();
    assert_eq!(outcome.text, texts[0].split(&stop).next().unwrap());
    assert_eq!(outcome.finish.name(), "stop-string");
}

//! Language models with a tokenizer of their own, from training to a merged model. `transformers`
//! computed the expected values of the base models (`fixtures/make_tokenizer_models.py`).

use std::fs;

use dataset::Tokenizer;
use serde_json::{Value, json};
use test_support::{fixture, read_json};

use crate::tokenizers::{Case, KINDS, tokenizer_files};

const TRAIN: &str = "train --task language-model --model ./base --data ./examples.jsonl \
                     --validation-data ./check.jsonl --epochs 3 --batch-size 4 --rank 4 --lr 0.01 \
                     --threads 1 --out ./out";

/// Writes the model of a kind, its examples and its prompts to the directory of a case.
fn language_model(kind: &str, texts: [&str; 2]) -> (Case, Value) {
    let (case, folder) = (Case::new(kind, texts), fixture("tokenizer_models").join(kind));
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        fs::copy(folder.join(name), case.path("base").join(name)).unwrap();
    }
    let golden = read_json(&folder.join("golden.json"));
    let examples: String = list(&golden, "examples").iter().map(|it| format!("{it}\n")).collect();
    fs::write(case.path("examples.jsonl"), examples.repeat(8)).unwrap();
    fs::write(case.path("check.jsonl"), examples).unwrap();
    let prompt = |it: &Value| format!("{}\n", json!({ "prompt": it["prompt"] }));
    let prompts: String = list(&golden, "greedy").iter().map(prompt).collect();
    fs::write(case.path("prompts.jsonl"), prompts).unwrap();
    (case, golden)
}

fn list<'a>(values: &'a Value, name: &str) -> &'a [Value] {
    values[name].as_array().unwrap()
}

/// Greedy completions of the prompts.
fn completions(case: &Case, model: &str) -> Vec<String> {
    let generated = case.succeeds(&format!(
        "generate {model} --input ./prompts.jsonl --output - --max-new-tokens 12 --batch-size 3"
    ));
    let printed = generated.stdout();
    let rows = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| row["completion"].as_str().unwrap().to_owned()).collect()
}

/// Mean loss over the completions of the examples.
fn loss(case: &Case, adapter: &str) -> f64 {
    let command = "--data ./check.jsonl --max-new-tokens 4 --json";
    let printed = case.succeeds(&format!("evaluate --adapter {adapter} {command}")).stdout();
    let evaluation: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(evaluation["skipped"], 0, "{evaluation}");
    evaluation["loss"].as_f64().unwrap()
}

/// Fraction of the completions in the file `greedy.jsonl` that the base model generates.
fn exact_match(case: &Case, options: &str) -> Value {
    let command = "evaluate --adapter ./base --data ./greedy.jsonl --max-new-tokens 12 --json";
    let printed = case.succeeds(&format!("{command} {options}")).stdout();
    let evaluation: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(evaluation["answers"], 4, "{evaluation}");
    evaluation["exact_match"].clone()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-4, "{what}: {found}, expected {expected}");
}

#[test]
fn prompts_without_tokens_are_refused_before_training() {
    let (case, _) = language_model(KINDS[1].0, KINDS[1].1);
    let train = format!("{TRAIN} --sample-every 1 --sample-prompt \u{200b}");
    case.refuses(&train, &["--sample-prompt", "at least 1 token"]);
}

#[test]
fn base_models_compute_the_ids_texts_and_losses_of_transformers() {
    for (kind, texts) in KINDS {
        let (case, golden) = language_model(kind, texts);
        let tokenizer = Tokenizer::of_model(&case.path("base")).unwrap();
        for (text, ids) in list(&golden, "texts").iter().zip(list(&golden, "ids")) {
            assert_eq!(json!(tokenizer.encode(text.as_str().unwrap())), *ids, "{kind}: {text}");
        }
        let found = completions(&case, "--model ./base");
        let expected = list(&golden, "greedy").iter().map(|it| it["completion"].as_str().unwrap());
        assert_eq!(found, expected.collect::<Vec<_>>(), "{kind}");
        case.succeeds(TRAIN);
        let before = &read_json(&case.path("out/report.json"))["language_model"]["before"];
        for tokens in ["completions", "all"] {
            let (found, expected) = (&before[tokens], &golden["losses"][tokens]);
            assert_eq!(found["tokens"], expected["tokens"], "{kind}: {tokens}");
            let [found, expected] = [found, expected].map(|it| it["loss"].as_f64().unwrap());
            assert_close(found, expected, kind);
        }
    }
}

#[test]
fn generated_completions_equal_texts_that_have_the_same_tokens() {
    for (kind, texts) in KINDS {
        let (case, golden) = language_model(kind, texts);
        let greedy = list(&golden, "greedy");
        let write = |change: &dyn Fn(usize, &str) -> String| {
            let row = |(index, it): (usize, &Value)| {
                let completion = change(index, it["completion"].as_str().unwrap());
                format!("{}\n", json!({ "prompt": it["prompt"], "completion": completion }))
            };
            let rows: String = greedy.iter().enumerate().map(row).collect();
            fs::write(case.path("greedy.jsonl"), rows).unwrap();
        };
        // People write Chinese without the spaces of decoded tokens.
        let is_chinese = kind == "word_piece";
        let written = |text: &str| if is_chinese { text.replace(' ', "") } else { text.to_owned() };
        write(&|_, text| written(text));
        assert_eq!(exact_match(&case, ""), 1.0, "{kind}");
        assert_eq!(exact_match(&case, "--match ^(.+)$"), 1.0, "{kind}");
        assert_eq!(exact_match(&case, "--match ^(.+)x$"), 0.0, "{kind}");
        let without_last = |text: &str| text.chars().take(text.chars().count() - 1).collect();
        write(&|index, text| if index == 2 { without_last(text) } else { written(text) });
        assert_eq!(exact_match(&case, ""), 0.75, "{kind}");
    }
}

#[test]
fn language_models_are_trained_evaluated_generate_and_are_merged() {
    for (kind, texts) in KINDS {
        let (case, golden) = language_model(kind, texts);
        case.succeeds(TRAIN);
        let model = &read_json(&case.path("out/report.json"))["language_model"];
        let [before, after] =
            ["before", "after"].map(|when| model[when]["completions"]["loss"].as_f64().unwrap());
        assert!(after < before - 0.5, "{kind}: {before} and {after}");
        assert_close(loss(&case, "./out/adapter"), after, kind);
        let texts = completions(&case, "--adapter ./out/adapter");
        assert_ne!(texts, completions(&case, "--model ./base"), "{kind}");

        case.succeeds("merge --adapter ./out/adapter --out ./merged");
        let merged = tokenizer_files(&case.path("merged"));
        for (name, bytes) in tokenizer_files(&fixture("tokenizers").join(kind)) {
            assert!(merged[&name] == bytes, "{kind}: {name}");
        }
        let [base, config, settings] =
            ["base/config.json", "merged/config.json", "merged/generation_config.json"]
                .map(|name| read_json(&case.path(name)));
        assert_eq!(config["architectures"], json!(["GPT2LMHeadModel"]));
        for name in ["vocab_size", "n_positions", "tie_word_embeddings"] {
            assert_eq!(config[name], base[name], "{kind}: {name}");
        }
        for file in [&config, &settings] {
            assert_eq!(file["eos_token_id"], golden["end_of_text"], "{kind}");
        }
        // The base model is not needed any more.
        fs::remove_dir_all(case.path("base")).unwrap();
        assert_close(loss(&case, "./merged"), after, kind);
        for option in ["--adapter", "--model"] {
            assert_eq!(completions(&case, &format!("{option} ./merged")), texts, "{kind}");
        }
    }
}

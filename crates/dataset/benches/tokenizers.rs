//! Speed of GPT-2's tokenizer by tiktoken and by the library for all kinds:
//! `cargo bench --profile dev -p dataset`. Without divan, which needs other features of clap than
//! the programs, so that crates would be compiled twice.

#![allow(clippy::unwrap_used, reason = "benchmark")]

use std::{fs, hint::black_box, path::Path, time::Instant};

use dataset::Tokenizer;
use serde_json::{Value, json};

/// Rounds in which both tokenizers take turns.
const ROUNDS: usize = 100;

/// GPT-2's tokenizer with a token more, which only the library for all kinds reads.
fn by_library() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    Tokenizer::gpt2().save(folder.path(), 1024).unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut token = json["added_tokens"][0].clone();
    (token["content"], token["id"]) = (json!("<pad>"), json!(50_257));
    json["added_tokens"].as_array_mut().unwrap().push(token);
    fs::write(&path, json.to_string()).unwrap();
    Tokenizer::of_model(folder.path()).unwrap()
}

/// Seconds for the texts.
fn seconds(tokenizer: &Tokenizer, texts: &[&str]) -> f64 {
    let start = Instant::now();
    for text in texts {
        black_box(tokenizer.encode(black_box(text)));
    }
    start.elapsed().as_secs_f64()
}

fn main() {
    // Cargo runs benchmarks in tests, too, where they are not to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/sample/messages.tsv");
    let text = fs::read_to_string(path).unwrap();
    let messages: Vec<&str> = text.lines().collect();
    let tokenizers = [("tiktoken", Tokenizer::gpt2()), ("tokenizers", by_library())];
    for (name, texts) in [("messages", messages.as_slice()), ("one text", &[&text])] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ((_, tokenizer), times) in tokenizers.iter().zip(&mut times) {
                times.push(seconds(tokenizer, texts));
            }
        }
        for ((library, _), times) in tokenizers.iter().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            let median = times[ROUNDS / 2];
            let rate = text.len() as f64 / median / 1e6;
            println!("{name} by {library}: {:.2} ms, {rate:.1} MB/s (median)", median * 1e3);
        }
    }
}

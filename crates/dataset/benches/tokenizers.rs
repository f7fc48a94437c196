//! Speed of GPT-2's tokenizer by tiktoken and by the library for all kinds:
//! `cargo bench --profile dev -p dataset`.

#![allow(clippy::unwrap_used, reason = "benchmark")]

use std::{fs, path::Path};

use dataset::Tokenizer;
use divan::{Bencher, black_box, counter::BytesCount};
use serde_json::{Value, json};

fn main() {
    divan::main();
}

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

/// Messages.
fn texts() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/sample/messages.tsv");
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn encode(bencher: Bencher<'_, '_>, tokenizer: &Tokenizer, texts: &[String]) {
    let bytes: usize = texts.iter().map(String::len).sum();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        texts.iter().map(|text| tokenizer.encode(black_box(text)).len()).sum::<usize>()
    });
}

#[divan::bench]
fn messages_by_tiktoken(bencher: Bencher<'_, '_>) {
    encode(bencher, &Tokenizer::gpt2(), &texts());
}

#[divan::bench]
fn messages_by_tokenizers(bencher: Bencher<'_, '_>) {
    encode(bencher, &by_library(), &texts());
}

#[divan::bench]
fn one_text_by_tiktoken(bencher: Bencher<'_, '_>) {
    encode(bencher, &Tokenizer::gpt2(), &[texts().join("\n")]);
}

#[divan::bench]
fn one_text_by_tokenizers(bencher: Bencher<'_, '_>) {
    encode(bencher, &by_library(), &[texts().join("\n")]);
}

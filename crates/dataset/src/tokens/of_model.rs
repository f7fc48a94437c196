//! Tokenizer of a model directory.

use std::{iter, path::Path};

use serde::Deserialize;
use storage::{Sha256, read_limited_text};

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// First line of GPT-2's `merges.txt`.
const VERSION: &str = "#version: 0.2";
/// SHA-256 of GPT-2's `merges.txt`, as published.
const MERGES: &str = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5";

/// Vocabularies of WordPiece and SentencePiece.
const OTHERS: [&str; 4] =
    ["vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"];

/// The part of `tokenizer.json` that differs between tokenizers of one kind.
#[derive(Deserialize)]
struct Pipeline {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    /// Byte-pair encodings only.
    #[serde(default)]
    merges: Vec<Merge>,
}

/// A pair of tokens, as older and newer versions of `tokenizers` write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

impl Tokenizer {
    /// Checks that a model directory has no other tokenizer than GPT-2's: with other token ids, a
    /// model gives results without meaning. A directory without tokenizer files passes.
    ///
    /// # Errors
    /// [`Error::OtherTokenizer`] names the file of the other tokenizer; [`Error::Storage`] a file
    /// that cannot be read.
    pub fn check_model(folder: &Path) -> Result<()> {
        let existing = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let (path, is_gpt2) = if let Some(path) = existing("merges.txt") {
            let text = read_limited_text(&path)?;
            let lines = text.lines().map(str::trim_end);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("#version"));
            (path, is_gpt2(lines))
        } else if let Some(path) = existing("tokenizer.json") {
            let merges =
                serde_json::from_str(&read_limited_text(&path)?).map_or(Vec::new(), merges);
            (path, is_gpt2(merges.iter().map(String::as_str)))
        } else if let Some(path) = OTHERS.into_iter().find_map(existing) {
            (path, false)
        } else {
            return Ok(());
        };
        if is_gpt2 { Ok(()) } else { Err(Error::OtherTokenizer { path }) }
    }
}

fn merges(pipeline: Pipeline) -> Vec<String> {
    let text = |merge: Merge| match merge {
        Merge::Text(text) => text,
        Merge::Pair(first, second) => format!("{first} {second}"),
    };
    pipeline.model.merges.into_iter().map(text).collect()
}

/// Returns true if these are GPT-2's merges.
fn is_gpt2<'a>(merges: impl Iterator<Item = &'a str>) -> bool {
    let mut checksum = Sha256::new();
    for line in iter::once(VERSION).chain(merges) {
        checksum.update(line);
        checksum.update("\n");
    }
    checksum.finish() == MERGES
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::END_OF_TEXT;

    fn write(folder: &Path, files: &[(&str, String)]) {
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn written_tokenizer_files_are_recognized() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        Tokenizer::check_model(folder.path()).unwrap();
        Tokenizer::gpt2().save(folder.path(), 1024, END_OF_TEXT).unwrap();
        Tokenizer::check_model(folder.path()).unwrap();
        // Versions of tokenizers write a merge as a text or as a pair.
        fs::remove_file(path("merges.txt")).unwrap();
        Tokenizer::check_model(folder.path()).unwrap();
        let mut pipeline: Value =
            serde_json::from_slice(&fs::read(path("tokenizer.json")).unwrap()).unwrap();
        for merge in pipeline["model"]["merges"].as_array_mut().unwrap() {
            *merge = merge.as_str().unwrap().split(' ').collect();
        }
        write(folder.path(), &[("tokenizer.json", pipeline.to_string())]);
        Tokenizer::check_model(folder.path()).unwrap();
    }

    #[test]
    fn other_tokenizers_are_refused() {
        let unigram = json!({"model": {"type": "Unigram", "vocab": [["a", -1.0]]}}).to_string();
        let bpe = json!({"model": {"type": "BPE", "merges": ["a b"]}}).to_string();
        for (name, text) in [
            ("merges.txt", format!("{VERSION}\nĠ t\nĠ a\n")),
            ("tokenizer.json", unigram),
            ("tokenizer.json", bpe),
            ("tokenizer.json", "{".to_owned()),
            ("vocab.txt", "[PAD]\n[UNK]\n".to_owned()),
            ("spiece.model", String::new()),
        ] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &[(name, text)]);
            let error = Tokenizer::check_model(folder.path()).unwrap_err();
            assert!(
                matches!(&error, Error::OtherTokenizer { path } if path.ends_with(name)),
                "{name}: {error}"
            );
        }
    }
}

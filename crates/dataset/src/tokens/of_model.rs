//! Tokenizer of a model directory.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::ErrorKind,
    iter,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use storage::{Sha256, read_limited_text};

use super::{
    hugging_face::printable,
    special_ids::SpecialIds,
    tokenizer::{END_OF_TEXT, Tokenizer},
};
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

/// Byte-pair encoding.
#[derive(Deserialize)]
struct Model {
    vocab: Vocabulary,
    merges: Vec<Merge>,
}

/// Token ids by token.
type Vocabulary = HashMap<String, u32>;

/// A pair of tokens, as older and newer versions of `tokenizers` write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

impl Tokenizer {
    /// Returns the tokenizer of a model directory: GPT-2's if it has no tokenizer files.
    ///
    /// # Errors
    /// [`Error::OtherTokenizer`] names the file of the other tokenizer; [`Error::Storage`] a file
    /// that cannot be read.
    pub fn of_model(folder: &Path) -> Result<Self> {
        let existing = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let [merges, vocabulary, pipeline] =
            ["merges.txt", "vocab.json", "tokenizer.json"].map(existing);
        let expect = |path: PathBuf, is_gpt2: bool| match is_gpt2 {
            true => Ok(()),
            false => Err(Error::OtherTokenizer { path }),
        };
        let mut is_known = merges.is_some();
        if let Some(path) = merges {
            let is_gpt2 = read(&path)?.is_some_and(|text| has_merges(lines(&text)));
            expect(path, is_gpt2)?;
        }
        // RoBERTa and OPT have GPT-2's merges and other ids.
        if let Some(path) = vocabulary {
            let vocabulary = read_json::<Vocabulary>(&path)?;
            expect(path, vocabulary.is_some_and(|it| has_tokens(&it)))?;
        }
        if let Some(path) = pipeline {
            is_known = true;
            let is_gpt2 = read_json::<Pipeline>(&path)?.is_some_and(|pipeline| {
                has_tokens(&pipeline.model.vocab)
                    && has_merges(pipeline.model.merges.iter().map(Merge::text))
            });
            expect(path, is_gpt2)?;
        }
        match OTHERS.into_iter().find_map(existing) {
            Some(path) if !is_known => Err(Error::OtherTokenizer { path }),
            _ => {
                let gpt2 = Self::gpt2();
                let SpecialIds { end_of_text, padding } =
                    SpecialIds::read(folder, gpt2.vocabulary_size())?;
                Ok(Self {
                    end_of_text: end_of_text.unwrap_or(gpt2.end_of_text),
                    padding: padding.unwrap_or(gpt2.padding),
                    ..gpt2
                })
            }
        }
    }
}

impl Merge {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Pair(first, second) => format!("{first} {second}").into(),
        }
    }
}

/// Reads a file. Returns `None` if it is not UTF-8 or longer than any file of GPT-2.
fn read(path: &Path) -> Result<Option<String>> {
    match read_limited_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) => match error.kind() {
            ErrorKind::FileTooLarge | ErrorKind::InvalidData => Ok(None),
            _ => Err(error.into()),
        },
    }
}

/// Reads a file. Returns `None` if it is not of this kind.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    Ok(read(path)?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Merges in `merges.txt`.
fn lines(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_end);
    lines.filter(|line| !line.is_empty() && !line.starts_with("#version")).map(Cow::from)
}

/// Returns true if these are GPT-2's merges.
fn has_merges<'a>(merges: impl Iterator<Item = Cow<'a, str>>) -> bool {
    let mut checksum = Sha256::new();
    for line in iter::once(VERSION.into()).chain(merges) {
        checksum.update(&*line);
        checksum.update("\n");
    }
    checksum.finish() == MERGES
}

/// Returns true if all tokens of GPT-2 have their ids. The end of a text is often an added token.
fn has_tokens(vocabulary: &Vocabulary) -> bool {
    let gpt2 = Tokenizer::gpt2();
    (0..END_OF_TEXT).all(|id| vocabulary.get(&printable(&gpt2.bytes(id))) == Some(&id))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn write(folder: &Path, files: &[(&str, String)]) {
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn written_tokenizer_files_are_recognized() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        Tokenizer::of_model(folder.path()).unwrap();
        Tokenizer::gpt2().save(folder.path(), 1024).unwrap();
        Tokenizer::of_model(folder.path()).unwrap();
        // Versions of tokenizers write a merge as a text or as a pair.
        fs::remove_file(path("merges.txt")).unwrap();
        Tokenizer::of_model(folder.path()).unwrap();
        let mut pipeline: Value =
            serde_json::from_slice(&fs::read(path("tokenizer.json")).unwrap()).unwrap();
        for merge in pipeline["model"]["merges"].as_array_mut().unwrap() {
            *merge = merge.as_str().unwrap().split(' ').collect();
        }
        write(folder.path(), &[("tokenizer.json", pipeline.to_string())]);
        Tokenizer::of_model(folder.path()).unwrap();
    }

    #[test]
    fn other_tokenizers_are_refused() {
        let unigram = json!({"model": {"type": "Unigram", "vocab": [["a", -1.0]]}}).to_string();
        let bpe = json!({"model": {"type": "BPE", "vocab": {}, "merges": ["a b"]}}).to_string();
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
            let error = Tokenizer::of_model(folder.path()).unwrap_err();
            assert!(
                matches!(&error, Error::OtherTokenizer { path } if path.ends_with(name)),
                "{name}: {error}"
            );
        }
    }
    /// Removes all but one file of GPT-2's, changes it and returns the error.
    fn changed(name: &str, change: impl Fn(Value) -> Value) -> Result<Tokenizer> {
        let folder = tempfile::tempdir().unwrap();
        Tokenizer::gpt2().save(folder.path(), 1024).unwrap();
        for other in ["tokenizer.json", "vocab.json"] {
            let path = folder.path().join(other);
            let text = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            if other == name {
                let value = change(serde_json::from_slice(&text).unwrap());
                fs::write(&path, value.to_string()).unwrap();
            }
        }
        Tokenizer::of_model(folder.path())
    }

    /// As in RoBERTa, with GPT-2's merges.
    #[test]
    fn other_ids_are_refused_and_added_tokens_accepted() {
        let shift = |vocabulary: &mut Value| {
            for id in vocabulary.as_object_mut().unwrap().values_mut() {
                *id = json!(id.as_u64().unwrap() + 4);
            }
        };
        let error = changed("vocab.json", |mut all| {
            shift(&mut all);
            all
        });
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::OtherTokenizer { path } if path.ends_with("vocab.json")));
        let error = changed("tokenizer.json", |mut all| {
            shift(&mut all["model"]["vocab"]);
            all
        });
        assert!(matches!(error, Err(Error::OtherTokenizer { .. })));
        changed("vocab.json", |mut all| {
            all["<pad>"] = json!(50_257);
            all
        })
        .unwrap();
    }
}

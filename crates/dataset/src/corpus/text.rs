//! Plain text as streams of tokens for training and validation.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::CorpusError;
use crate::{
    error::{Error, Result},
    random::randperm,
    tokens::Tokenizer,
};

/// A longer document is divided before documents are held out, so that a book is neither
/// held out nor trained on as a whole.
const LONGEST_DOCUMENT: usize = 4096;

/// Lines by which JSON Lines are recognized.
const JSON_LINES: usize = 16;

/// Separator of the documents of a text file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Documents {
    /// Empty line: each block of lines is a document.
    #[default]
    BlankLines,
    /// None: each file is a document.
    Files,
}

/// Settings of [`Corpus::read`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorpusConfig {
    /// Separator of documents.
    pub documents: Documents,
    /// Fraction of the documents held out for validation, above 0 and below 1; at least one
    /// document is held out.
    pub held_out: f64,
    /// Seed of the order of the documents; the first ones are held out.
    pub seed: u32,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        Self { documents: Documents::default(), held_out: 0.01, seed: 123 }
    }
}

/// Plain text as two streams of tokens. Both begin with the tokenizer's end-of-text token, and
/// every document ends with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// Training set: documents in a shuffled order.
    pub train: Vec<u32>,
    /// Validation set.
    pub held_out: Vec<u32>,
    /// Number of documents in each stream.
    pub documents: [usize; 2],
    /// Files whose lines look like objects of JSON Lines. They are read as text all the same, as every
    /// text.
    pub json_files: Vec<PathBuf>,
}

fn check_fraction(config: &CorpusConfig) -> Result<()> {
    if config.held_out > 0.0 && config.held_out < 1.0 {
        return Ok(());
    }
    Err(CorpusError::HeldOut(config.held_out).into())
}

impl Corpus {
    /// Reads text files, separates their documents, and shuffles these into the two
    /// streams. Blanks at the end of lines are dropped; a document of more than 4,096 tokens
    /// becomes several.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Line`] name a file that cannot be read or is not
    /// UTF-8; [`Error::Corpus`] if `held_out` is out of range, there are fewer than two
    /// documents, or a file is compressed or Parquet.
    pub fn read(files: &[PathBuf], config: &CorpusConfig, tokenizer: &Tokenizer) -> Result<Self> {
        let mut texts = Vec::new();
        for path in files {
            let bytes = fs::read(path).map_err(storage::Error::read(path))?;
            if let Some(kind) = binary_kind(&bytes) {
                let problem = CorpusError::NotText { kind };
                return Err(Error::Corpus { files: vec![path.clone()], problem });
            }
            texts.push(String::from_utf8(bytes).map_err(|error| {
                let valid = error.utf8_error().valid_up_to();
                let line = 1 + error.as_bytes()[..valid].iter().filter(|&&b| b == b'\n').count();
                Error::Line {
                    path: path.clone(),
                    line,
                    reason: "not UTF-8 text; convert the file to UTF-8".to_owned(),
                }
            })?);
        }
        check_fraction(config)?;
        let json_files = files.iter().zip(&texts).filter(|(_, text)| is_json_lines(text));
        let json_files = json_files.map(|(path, _)| path.clone()).collect();
        let corpus = Self::of(&texts, config, tokenizer).map_err(|error| match error {
            Error::Corpus { problem, .. } => Error::Corpus { files: files.to_vec(), problem },
            other => other,
        })?;
        Ok(Self { json_files, ..corpus })
    }

    /// Takes texts instead of files; see [`Corpus::read`].
    ///
    /// # Errors
    /// [`Error::Corpus`] if `held_out` is out of range, or there are fewer than two
    /// documents.
    pub fn new<T: AsRef<str>>(
        texts: &[T],
        config: &CorpusConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        check_fraction(config)?;
        Self::of(texts, config, tokenizer)
    }

    fn of<T: AsRef<str>>(
        texts: &[T],
        config: &CorpusConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let mut documents: Vec<Vec<u32>> = Vec::new();
        for text in texts {
            for document in separate(text.as_ref(), config.documents) {
                let tokens = tokenizer.encode(&document);
                documents.extend(tokens.chunks(LONGEST_DOCUMENT).map(<[u32]>::to_vec));
            }
        }
        let count = documents.len();
        if count < 2 {
            return Err(CorpusError::TooFewDocuments { documents: count }.into());
        }
        let held = ((count as f64 * config.held_out).round() as usize).clamp(1, count - 1);
        let order = randperm(count, config.seed.into());
        let stream = |numbers: &[usize]| {
            let mut tokens = vec![tokenizer.end_of_text()];
            for &number in numbers {
                tokens.extend(&documents[number]);
                tokens.push(tokenizer.end_of_text());
            }
            tokens
        };
        Ok(Self {
            train: stream(&order[held..]),
            held_out: stream(&order[..held]),
            documents: [count - held, held],
            json_files: Vec::new(),
        })
    }
}

/// Returns the kind of a file that is not text, by its first bytes.
fn binary_kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        // These letters may begin a text too; files of Parquet also end with them.
        [b'P', b'A', b'R', b'1', ..] if bytes.ends_with(b"PAR1") => Some("Parquet"),
        [0x1f, 0x8b, ..] => Some("compressed with gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("compressed with zstd"),
        _ => None,
    }
}

/// Returns whether the first lines that are not empty are JSON objects.
fn is_json_lines(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(JSON_LINES);
    let lines: Vec<&str> = lines.collect();
    let is_object = |line: &&str| serde_json::from_str::<Map<String, Value>>(line).is_ok();
    !lines.is_empty() && lines.iter().all(is_object)
}

/// Returns the documents of a text, none of them empty.
fn separate(text: &str, documents: Documents) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() && documents == Documents::BlankLines {
            all.push(String::new());
        } else if let Some(document) = all.last_mut() {
            if !document.is_empty() {
                document.push('\n');
            }
            document.push_str(line);
        }
    }
    all.retain(|document| !document.trim().is_empty());
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokens::END_OF_TEXT;

    fn config(held_out: f64, documents: Documents) -> CorpusConfig {
        CorpusConfig { documents, held_out, seed: 1 }
    }

    /// The documents of a stream, as text.
    fn texts(stream: &[u32]) -> Vec<String> {
        assert_eq!(stream.first(), Some(&END_OF_TEXT));
        assert_eq!(stream.last(), Some(&END_OF_TEXT));
        let inner = &stream[1..stream.len() - 1];
        inner
            .split(|&token| token == END_OF_TEXT)
            .map(|ids| Tokenizer::gpt2().decode(ids))
            .collect()
    }

    #[test]
    fn empty_lines_or_files_separate_documents() {
        let text = "a\nb \r\n\n  \n\nc\n";
        assert_eq!(separate(text, Documents::BlankLines), ["a\nb", "c"]);
        assert_eq!(separate(text, Documents::Files), ["a\nb\n\n\n\nc"]);
        assert!(separate("\n \n", Documents::Files).is_empty());
    }

    #[test]
    fn a_long_document_counts_as_several() {
        let long = "word ".repeat(3 * LONGEST_DOCUMENT);
        let corpus =
            Corpus::new(&[long], &config(0.3, Documents::Files), &Tokenizer::gpt2()).unwrap();
        assert!(corpus.documents[0] >= 2 && corpus.documents[1] == 1);
    }

    #[test]
    fn fraction_out_of_range_is_rejected() {
        for held_out in [0.0, 1.0, f64::NAN] {
            let corpus = Corpus::new(
                &["a\n\nb"],
                &config(held_out, Documents::BlankLines),
                &Tokenizer::gpt2(),
            );
            let error = corpus.unwrap_err();
            let is_held_out =
                matches!(error, Error::Corpus { problem: CorpusError::HeldOut(_), .. });
            assert!(is_held_out, "{error}");
        }
    }

    #[test]
    fn single_document_is_rejected() {
        let error = Corpus::new(&["one"], &config(0.5, Documents::BlankLines), &Tokenizer::gpt2())
            .unwrap_err();
        let Error::Corpus { problem, .. } = error else { panic!("{error:?}") };
        assert_eq!(problem, CorpusError::TooFewDocuments { documents: 1 });
    }

    #[test]
    fn a_file_that_is_not_utf8_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin.txt");
        fs::write(&path, b"good\n\ncaf\xe9\n").unwrap();
        let error = Corpus::read(&[path], &CorpusConfig::default(), &Tokenizer::gpt2())
            .unwrap_err()
            .to_string();
        assert!(error.contains("latin.txt, line 3"), "{error}");
    }

    #[test]
    fn files_of_json_objects_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let object = r#"{"text": "a"}"#;
        let files = [
            ("objects.dat", format!("\u{feff}{object}\n\n{object}\r\n"), true),
            ("text.txt", "a\n\nb".to_owned(), false),
            ("late.txt", format!("{object}\n\nb"), false),
            ("list.txt", "[1]\n\n[2]".to_owned(), false),
            ("braces.txt", "{a}\n\n{b}".to_owned(), false),
            ("empty.txt", String::new(), false),
            ("PAR1.txt", "PAR1 is a name".to_owned(), false),
        ];
        for (name, text, _) in &files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let [paths, expected] = [false, true].map(|only_json| {
            let files = files.iter().filter(|(.., is_json)| *is_json || !only_json);
            files.map(|(name, ..)| folder.path().join(name)).collect::<Vec<_>>()
        });
        let corpus = Corpus::read(&paths, &CorpusConfig::default(), &Tokenizer::gpt2()).unwrap();
        assert_eq!(corpus.json_files, expected);
        assert_eq!(corpus.documents, [10, 1], "they are text all the same");
    }

    #[test]
    fn files_that_are_not_text_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("examples.dat");
        for (bytes, kind) in [
            (&b"PAR1\0\0PAR1"[..], "Parquet"),
            (&[0x1f, 0x8b, 8, 0], "compressed with gzip"),
            (&[0x28, 0xb5, 0x2f, 0xfd, 0], "compressed with zstd"),
        ] {
            fs::write(&path, bytes).unwrap();
            let config = CorpusConfig::default();
            let error =
                Corpus::read(std::slice::from_ref(&path), &config, &Tokenizer::gpt2()).unwrap_err();
            let expected =
                format!("{}: expected plain text, got a file that is {kind}", path.display());
            assert_eq!(error.to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn every_document_is_in_one_stream(
            lines in prop::collection::btree_set("[a-z]{1,8}( [a-z]{1,8}){0,3}", 2..40),
            held_out in 0.01f64..0.99,
            seed: u32,
        ) {
            let text: Vec<String> = lines.iter().cloned().collect();
            let config = CorpusConfig { documents: Documents::BlankLines, held_out, seed };
            let corpus = Corpus::new(&[text.join("\n\n")], &config, &Tokenizer::gpt2()).unwrap();
            let (train, held) = (texts(&corpus.train), texts(&corpus.held_out));
            prop_assert_eq!([train.len(), held.len()], corpus.documents);
            prop_assert!(!held.is_empty() && !train.is_empty());
            let mut all: Vec<String> = train.into_iter().chain(held).collect();
            all.sort();
            prop_assert_eq!(all, text.clone());
            let again = Corpus::new(&[text.join("\n\n")], &config, &Tokenizer::gpt2()).unwrap();
            prop_assert_eq!(corpus, again);
        }
    }
}

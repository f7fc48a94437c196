//! Tokenizer of a model directory.

use std::{iter, path::Path, sync::Arc};

use serde_json::{Map, Value};
use storage::Sha256;
use tiktoken_rs::{CoreBPE, r50k_base_singleton};

use super::{
    files::TokenizerFiles,
    hugging_face::{END_OF_TEXT_NAME, printable},
    own::OwnTokenizer,
    pipeline::Pipeline,
    special_ids::SpecialIds,
    tokenizer::{END_OF_TEXT, Encoding, Tokenizer, bytes_of},
};
use crate::error::{Error, Result};

/// First line of GPT-2's `merges.txt`.
const VERSION: &str = "#version: 0.2";
/// SHA-256 of GPT-2's `merges.txt`, as published.
const MERGES: &str = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5";

/// Names of the end-of-text token where no file names it: GPT-2's, then BERT's end of a sequence.
const END_OF_TEXT_NAMES: [&str; 2] = [END_OF_TEXT_NAME, "[SEP]"];
/// Name of BERT's padding.
const PADDING_NAMES: [&str; 1] = ["[PAD]"];

impl Tokenizer {
    /// Reads the tokenizer of a model directory: from `tokenizer.json`, else from `vocab.json` and
    /// `merges.txt` (byte-level BPE), else from `vocab.txt` (BERT's WordPiece). A directory without
    /// these files, or that does not exist, has GPT-2's.
    ///
    /// The end-of-text token is the `eos_token_id` of `generation_config.json` or `config.json` if
    /// the vocabulary has it ([`Tokenizer::notes`] names the ids that it lacks), else the `eos_token` of `tokenizer_config.json` or
    /// `special_tokens_map.json`, else `<|endoftext|>` or `[SEP]`. Of a list of ids, it is the
    /// `eos_token` or else the first one, and the others end generated texts too. Padding is named by
    /// `pad_token_id` or `pad_token` there, else it is `[PAD]` or the end-of-text token.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] names a damaged file and the reason, [`Error::SpecialToken`] the id of a
    /// special token that is not a number, [`Error::SentencePiece`] a file that has to be converted; [`Error::EndOfText`] if no token ends a text; [`Error::Storage`]
    /// if a file cannot be read or is longer than 64 MiB.
    pub fn of_model(folder: &Path) -> Result<Self> {
        let files = TokenizerFiles::read(folder)?;
        let chat_template = files.chat_template()?.map(Arc::new);
        let pipeline = Pipeline::of(&files)?.filter(|pipeline| !is_gpt2(pipeline));
        let (encoding, ids) = match pipeline {
            None => {
                let bpe = r50k_base_singleton();
                let ids = SpecialIds::of_model(folder, END_OF_TEXT + 1)?;
                let usual: [&[&str]; 2] = [&[END_OF_TEXT_NAME]; 2];
                let ids = ids.or_by_name(&files, usual, |name| gpt2_id(bpe, name))?;
                (Encoding::Gpt2(bpe), ids)
            }
            Some(pipeline) => {
                let own = OwnTokenizer::new(files, pipeline)?;
                let usual: [&[&str]; 2] = [&END_OF_TEXT_NAMES, &PADDING_NAMES];
                let ids = SpecialIds::of_model(folder, own.vocabulary_size)?;
                let ids = ids.or_by_name(&own.files, usual, |name| own.id(name))?;
                (Encoding::Own(Arc::new(own)), ids)
            }
        };
        let Some(&end_of_text) = ids.ends_of_text.first() else {
            return Err(Error::EndOfText { folder: folder.to_owned() });
        };
        let padding = ids.padding.unwrap_or(end_of_text);
        let mut tokenizer = Self::new(encoding, &ids.ends_of_text, padding);
        tokenizer.chat_template = chat_template;
        let size = tokenizer.vocabulary_size();
        let notes = ids.unknown.iter().map(|unknown| unknown.note(size, end_of_text, padding));
        tokenizer.notes = notes.collect();
        Ok(tokenizer)
    }
}

/// Returns the id of a token of GPT-2.
fn gpt2_id(bpe: &CoreBPE, name: &str) -> Option<u32> {
    // The end-of-text token, which most files name, is the last one.
    (0..=END_OF_TEXT).rev().find(|&id| printable(&bytes_of(bpe, id)) == name)
}

/// Returns true for GPT-2's encoding, which tiktoken computes: its merges and ids, and nothing that
/// changes a text before they are applied. RoBERTa and OPT have GPT-2's merges and other ids.
fn is_gpt2(pipeline: &Pipeline) -> bool {
    let json = &pipeline.json;
    let is_plain = |token: &Value| token["content"] == END_OF_TEXT_NAME;
    let mut added = json["added_tokens"].as_array().into_iter().flatten();
    let words = &json["pre_tokenizer"];
    let model = &json["model"];
    model["type"] == "BPE"
        && json["normalizer"].is_null()
        && words["type"] == "ByteLevel"
        && words["add_prefix_space"] == false
        && words["use_regex"] != false
        && added.all(is_plain)
        && model["vocab"].as_object().is_some_and(has_tokens)
        && has_merges(pipeline)
}

/// Returns true if these are GPT-2's merges.
fn has_merges(pipeline: &Pipeline) -> bool {
    let mut checksum = Sha256::new();
    for line in iter::once(VERSION.to_owned()).chain(pipeline.merges()) {
        checksum.update(line);
        checksum.update("\n");
    }
    checksum.finish() == MERGES
}

/// Returns true if the tokens of GPT-2 have their ids, and there are no others. The end of a text
/// is often an added token.
fn has_tokens(vocabulary: &Map<String, Value>) -> bool {
    let bpe = r50k_base_singleton();
    let has_id =
        |id: u32| vocabulary.get(&printable(&bytes_of(bpe, id))).is_some_and(|it| *it == id);
    let others = vocabulary.len() - usize::from(vocabulary.contains_key(END_OF_TEXT_NAME));
    others == END_OF_TEXT as usize && (0..END_OF_TEXT).all(has_id)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn written_tokenizer_files_are_recognized() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let is_gpt2 = || Tokenizer::of_model(folder.path()).unwrap().fingerprint().is_none();
        assert!(is_gpt2());
        Tokenizer::gpt2().save(folder.path(), 1024).unwrap();
        assert!(is_gpt2());
        let pipeline = fs::read(path("tokenizer.json")).unwrap();
        fs::remove_file(path("tokenizer.json")).unwrap();
        assert!(is_gpt2());
        fs::remove_file(path("merges.txt")).unwrap();
        let mut pipeline: Value = serde_json::from_slice(&pipeline).unwrap();
        // Versions of tokenizers write a merge as a text or as a pair.
        for merge in pipeline["model"]["merges"].as_array_mut().unwrap() {
            *merge = merge.as_str().unwrap().split(' ').collect();
        }
        fs::write(path("tokenizer.json"), pipeline.to_string()).unwrap();
        assert!(is_gpt2());
    }

    /// Leaves one file of GPT-2's, changes it and returns whether it is GPT-2's.
    fn is_gpt2_after(change: impl Fn(&mut Value)) -> bool {
        let folder = tempfile::tempdir().unwrap();
        Tokenizer::gpt2().save(folder.path(), 1024).unwrap();
        fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
        let path = folder.path().join("tokenizer.json");
        let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut json);
        fs::write(&path, json.to_string()).unwrap();
        Tokenizer::of_model(folder.path()).unwrap().fingerprint().is_none()
    }

    #[test]
    fn other_encodings_with_the_merges_of_gpt2_are_recognized() {
        assert!(is_gpt2_after(|_| ()));
        // RoBERTa and OPT.
        assert!(!is_gpt2_after(|json| {
            for id in json["model"]["vocab"].as_object_mut().unwrap().values_mut() {
                *id = json!(id.as_u64().unwrap() + 4);
            }
            json["added_tokens"][0]["id"] = json!(50_260);
        }));
        assert!(!is_gpt2_after(|json| json["normalizer"] = json!({"type": "NFKC"})));
        assert!(!is_gpt2_after(|json| json["pre_tokenizer"]["add_prefix_space"] = json!(true)));
        assert!(!is_gpt2_after(|json| {
            let mut added = json["added_tokens"][0].clone();
            added["content"] = json!("<pad>");
            added["id"] = json!(50_257);
            json["added_tokens"].as_array_mut().unwrap().push(added);
        }));
    }
}

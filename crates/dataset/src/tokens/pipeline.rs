//! `tokenizer.json` of a tokenizer that has other files.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::files::{
    ADDED_TOKENS, MERGES, PIPELINE, SETTINGS, SPECIAL_TOKENS, TokenizerFiles, VOCABULARY,
    WORD_PIECES,
};
use crate::error::{Error, Result};

/// The contents of `tokenizer.json`, and the name of the file that they are from.
pub(super) struct Pipeline {
    pub name: &'static str,
    pub json: Value,
}

impl Pipeline {
    /// Reads `tokenizer.json`, else builds it from `vocab.json` and `merges.txt` (byte-level BPE),
    /// else from `vocab.txt` (WordPiece of BERT). Settings of `tokenizer_config.json` override it,
    /// as in `transformers`. Returns `None` for a directory without these files.
    pub fn of(files: &TokenizerFiles) -> Result<Option<Self>> {
        let settings = files.json(SETTINGS)?.unwrap_or_default();
        let has_pipeline = files.json(PIPELINE)?;
        let (name, mut json) = match (has_pipeline, files.text(MERGES)?, files.text(WORD_PIECES)?) {
            (Some(json), ..) => (PIPELINE, json),
            (None, Some(text), _) => {
                let Some(Value::Object(vocabulary)) = files.json(VOCABULARY)? else {
                    let reason = "vocab.json, which has the ids of its tokens, is missing or not an \
                                  object; fetch both files";
                    return Err(files.damaged(MERGES, reason.to_owned()));
                };
                let merges = merges(text).map(str::to_owned).collect();
                (VOCABULARY, byte_level(vocabulary, merges, added_tokens(files, &settings)?))
            }
            (None, None, Some(text)) => {
                (WORD_PIECES, word_piece(text, &settings, added_tokens(files, &settings)?))
            }
            (None, None, None) => match files.sentence_piece() {
                Some(path) => return Err(Error::SentencePiece { path }),
                None => return Ok(None),
            },
        };
        override_with(&mut json, &settings);
        Ok(Some(Self { name, json }))
    }

    /// Merges of a byte-pair encoding, each as two tokens with a space between.
    pub fn merges(&self) -> Vec<String> {
        // Older versions of tokenizers write a text, newer ones a pair.
        let text = |merge: &Value| match merge {
            Value::Array(pair) => {
                pair.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
            }
            merge => merge.as_str().unwrap_or_default().to_owned(),
        };
        self.json["model"]["merges"].as_array().into_iter().flatten().map(text).collect()
    }
}

/// Merges in `merges.txt`.
fn merges(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_end);
    lines.filter(|line| !line.is_empty() && !line.starts_with("#version"))
}

/// `tokenizer.json` of GPT-2's kind: bytes as characters, which are merged.
pub(super) fn byte_level(
    vocabulary: Map<String, Value>,
    merges: Vec<String>,
    added: Vec<Value>,
) -> Value {
    let byte_level = |prefix: bool, trim: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim,
            "use_regex": true,
        })
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level(false, true),
        "post_processor": byte_level(true, false),
        "decoder": byte_level(true, true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false,
            "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges,
        },
    })
}

/// `tokenizer.json` of BERT's kind, with the defaults of `BertTokenizer`.
fn word_piece(text: &str, settings: &Value, added: Vec<Value>) -> Value {
    let ids = (0u32..).map(Value::from);
    let tokens = text.trim_start_matches('\u{feff}').lines().map(|line| line.trim_end().to_owned());
    let vocabulary: Map<String, Value> = tokens.zip(ids).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": token(&settings["unk_token"]).unwrap_or("[UNK]"),
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    })
}

/// A special token, as text or as an object with more settings.
pub(super) fn token(value: &Value) -> Option<&str> {
    value.get("content").unwrap_or(value).as_str()
}

/// Tokens outside the vocabulary: `added_tokens_decoder` of `tokenizer_config.json`, else
/// `added_tokens.json`, in the order of their ids.
fn added_tokens(files: &TokenizerFiles, settings: &Value) -> Result<Vec<Value>> {
    let special_tokens = files.json(SPECIAL_TOKENS)?.unwrap_or_default();
    let named = |settings: &Value| -> Vec<String> {
        let values = settings.as_object().into_iter().flat_map(Map::values);
        let values =
            values.flat_map(|value| value.as_array().map_or(vec![value], |it| it.iter().collect()));
        values.filter_map(token).map(str::to_owned).collect()
    };
    let special: BTreeSet<String> =
        [named(&special_tokens), named(settings)].concat().into_iter().collect();
    let mut added: Vec<(u64, Value)> = match &settings["added_tokens_decoder"] {
        Value::Object(by_id) => {
            by_id.iter().filter_map(|(id, token)| Some((id.parse().ok()?, token.clone()))).collect()
        }
        _ => {
            let file = files.json(ADDED_TOKENS)?;
            let by_content = file.as_ref().and_then(Value::as_object).into_iter().flatten();
            let token = |content: &String| json!({ "content": content, "special": special.contains(content) });
            by_content.filter_map(|(content, id)| Some((id.as_u64()?, token(content)))).collect()
        }
    };
    added.sort_by_key(|(id, _)| *id);
    let complete = |(id, token): (u64, Value)| {
        let flag = |name: &str| token[name].as_bool().unwrap_or(false);
        json!({
            "id": id, "content": token["content"], "single_word": flag("single_word"),
            "lstrip": flag("lstrip"), "rstrip": flag("rstrip"), "normalized": flag("normalized"),
            "special": flag("special"),
        })
    };
    Ok(added.into_iter().map(complete).collect())
}

/// Applies `tokenizer_config.json`, and removes what would change the tokens of a text from call to
/// call, or would make all texts equally long.
fn override_with(json: &mut Value, settings: &Value) {
    let mut set = |place: &str, entry: &str, name: &str| {
        if let (Some(value), Some(target)) =
            (settings.get(name), json.pointer_mut(place).and_then(|it| it.get_mut(entry)))
        {
            *target = value.clone();
        }
    };
    let class = settings["tokenizer_class"].as_str().unwrap_or_default();
    if class.trim_end_matches("Fast") == "BertTokenizer" {
        set("/normalizer", "lowercase", "do_lower_case");
        set("/normalizer", "strip_accents", "strip_accents");
        set("/normalizer", "handle_chinese_chars", "tokenize_chinese_chars");
    }
    if json["pre_tokenizer"]["type"] == "ByteLevel" {
        let mut set = |value: &Value| json["pre_tokenizer"]["add_prefix_space"] = value.clone();
        settings.get("add_prefix_space").filter(|it| it.is_boolean()).map(&mut set);
    }
    if let Some(json) = json.as_object_mut() {
        json.insert("padding".to_owned(), Value::Null);
        json.insert("truncation".to_owned(), Value::Null);
        if let Some(Value::Object(model)) = json.get_mut("model")
            && model.contains_key("dropout")
        {
            model.insert("dropout".to_owned(), Value::Null);
        }
    }
}

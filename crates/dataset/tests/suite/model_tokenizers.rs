//! Tokenizers of models: comparison with `transformers` (`tests/fixtures/make_tokenizers.py`), and
//! damaged files.

use std::{
    collections::HashMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use dataset::{END_OF_TEXT, Error, Example, TokenizedSet, Tokenizer, TokenizerDifference};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizers")
}

/// A copy of a tokenizer directory.
pub(crate) fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures().join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn read(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

fn write(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), value.to_string()).unwrap();
}

/// Changes a JSON file.
pub(crate) fn change(folder: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let mut value = read(folder, name);
    change(&mut value);
    write(folder, name, &value);
}

pub(crate) fn of(folder: &TempDir) -> Tokenizer {
    Tokenizer::of_model(folder.path()).unwrap()
}

fn refused(folder: &TempDir) -> String {
    Tokenizer::of_model(folder.path()).unwrap_err().to_string()
}

/// Compares the tokens of 1,000 lines with the tokens of `transformers`.
fn check(tokenizer: &Tokenizer, kind: &str) {
    let mut texts = String::new();
    let file = fs::File::open(fixtures().join("texts.json.gz")).unwrap();
    GzDecoder::new(file).read_to_string(&mut texts).unwrap();
    let texts: Vec<String> = serde_json::from_str(&texts).unwrap();
    let golden: HashMap<String, Vec<String>> =
        serde_json::from_value(read(&fixtures(), "ids.json")).unwrap();
    assert_eq!((texts.len(), golden[kind].len()), (1000, 1000));
    for (text, expected) in texts.iter().zip(&golden[kind]) {
        let ids = tokenizer.encode(text);
        let listed: Vec<String> = ids.iter().map(u32::to_string).collect();
        let sum = storage::sha256(listed.join(",").as_bytes());
        assert_eq!(sum[..8], *expected, "{kind}: {text:?} became {ids:?}");
        assert!(ids.iter().all(|&id| id < tokenizer.vocabulary_size()), "{kind}: {text:?}");
    }
    tokenizer.check().unwrap();
}

#[test]
fn tokens_of_gpt2_equal_transformers() {
    check(&Tokenizer::gpt2(), "gpt2");
}

#[test]
fn tokens_of_other_tokenizers_equal_transformers() {
    for (kind, [end_of_text, padding], size) in [
        ("byte_level", [2, 0], 701),
        ("word_piece", [3, 0], 900),
        ("unigram", [1, 0], 657),
        ("byte_fallback", [2, 2], 1000),
    ] {
        let tokenizer = of(&copy(kind));
        check(&tokenizer, kind);
        assert_eq!(
            [tokenizer.end_of_text(), tokenizer.padding()],
            [end_of_text, padding],
            "{kind}"
        );
        assert_eq!(tokenizer.vocabulary_size(), size, "{kind}");
        let fingerprint = tokenizer.fingerprint().unwrap();
        assert_eq!(fingerprint.split(' ').next().map(str::len), Some(16), "{kind}");
    }
}

#[test]
fn settings_of_the_directory_override_the_pipeline() {
    for (folder, kind, settings) in [
        (
            "word_piece",
            "word_piece_cased",
            json!({"do_lower_case": false, "tokenize_chinese_chars": false}),
        ),
        ("word_piece", "word_piece_accents", json!({"strip_accents": false})),
        ("byte_level", "byte_level_prefix", json!({"add_prefix_space": true})),
    ] {
        let folder = copy(folder);
        change(folder.path(), "tokenizer_config.json", |config| {
            config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        });
        check(&of(&folder), kind);
    }
}

/// The files of `transformers` before it had `tokenizer.json`.
#[test]
fn vocabulary_and_merges_make_a_tokenizer() {
    let folder = copy("byte_level");
    let Value::Object(mut model) = read(folder.path(), "tokenizer.json")["model"].take() else {
        panic!("no model")
    };
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    write(folder.path(), "vocab.json", &model["vocab"]);
    let merge =
        |pair: &Value| format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    let merges: String = model["merges"].as_array_mut().unwrap().iter().map(merge).collect();
    fs::write(folder.path().join("merges.txt"), format!("#version: 0.2\n{merges}")).unwrap();
    write(folder.path(), "added_tokens.json", &json!({"Москва": 700}));
    check(&of(&folder), "byte_level");
    assert_eq!(of(&folder).fingerprint(), of(&copy("byte_level")).fingerprint());

    fs::remove_file(folder.path().join("vocab.json")).unwrap();
    let error = refused(&folder);
    assert!(error.contains("merges.txt") && error.contains("vocab.json"), "{error}");
}

#[test]
fn word_pieces_make_a_tokenizer() {
    let folder = copy("word_piece");
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    check(&of(&folder), "word_piece");
    assert_eq!(of(&folder).fingerprint(), of(&copy("word_piece")).fingerprint());
    // Without settings, BertTokenizer's defaults.
    fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    check(&of(&folder), "word_piece");
    assert_eq!([of(&folder).end_of_text(), of(&folder).padding()], [3, 0]);
}

#[test]
fn text_that_looks_like_a_special_token_is_text() {
    for (kind, text) in [("byte_level", "</s>"), ("word_piece", "[SEP]"), ("byte_fallback", "</s>")]
    {
        let tokenizer = of(&copy(kind));
        let ids = tokenizer.encode(&format!("a {text} b"));
        assert!(!ids.contains(&tokenizer.end_of_text()) && ids.len() > 3, "{kind}: {ids:?}");
        assert!(tokenizer.decode(&[tokenizer.end_of_text()]).contains(text), "{kind}");
    }
    // Where it is a piece of the vocabulary, transformers finds it, too.
    assert_eq!(of(&copy("unigram")).encode("a</s>").last(), Some(&1));
}

#[test]
fn decoding_undoes_encoding_of_ordinary_text() {
    for (kind, text) in [
        ("byte_level", "Мы шли через лес. 🙂"),
        ("word_piece", "不 知 道"),
        ("unigram", "駅で待ちましょう"),
        ("byte_fallback", "駅で待ちましょう 🙂"),
    ] {
        let tokenizer = of(&copy(kind));
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)).trim(), text, "{kind}");
        // A number that is not a token, half a character.
        tokenizer.decode(&[u32::MAX, 700_000]);
        tokenizer.decode(&tokenizer.encode("🙂")[..1]);
    }
}

#[test]
fn saved_files_equal_the_read_ones() {
    for kind in ["byte_level", "word_piece", "unigram"] {
        let (from, to) = (copy(kind), tempfile::tempdir().unwrap());
        fs::write(from.path().join("chat_template.jinja"), "{{ messages }}").unwrap();
        let tokenizer = of(&from);
        let files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(from.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().into(), fs::read(path).unwrap()))
            .collect();
        // The base model may be gone when the merged model is written.
        drop(from);
        tokenizer.save(&to.path().join("model"), 12).unwrap();
        assert!(files.len() >= 3);
        for (name, bytes) in files {
            assert!(fs::read(to.path().join("model").join(&name)).unwrap() == bytes, "{name:?}");
        }
        let again = Tokenizer::of_model(&to.path().join("model")).unwrap();
        assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    }
}

#[test]
fn fingerprint_tells_tokenizers_apart() {
    let folder = copy("byte_level");
    let fingerprint = || of(&folder).fingerprint().unwrap().to_owned();
    let before = fingerprint();
    // Another layout of the same tokenizer.
    change(folder.path(), "tokenizer.json", |json| {
        for merge in json["model"]["merges"].as_array_mut().unwrap() {
            *merge =
                json!(format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()));
        }
    });
    assert_eq!(fingerprint(), before);
    change(folder.path(), "tokenizer_config.json", |json| json["add_prefix_space"] = json!(true));
    let with_prefix = fingerprint();
    assert_ne!(with_prefix, before);
    change(folder.path(), "tokenizer.json", |json| {
        let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
        let (one, other) = (vocabulary["a"].clone(), vocabulary["b"].clone());
        vocabulary.insert("a".to_owned(), other);
        vocabulary.insert("b".to_owned(), one);
    });
    assert_ne!(fingerprint(), with_prefix);
}

#[test]
fn special_tokens_are_found_in_every_file() {
    let folder = copy("byte_level");
    let ids = || [of(&folder).end_of_text(), of(&folder).padding()];
    assert_eq!(ids(), [2, 0]);
    // Ids of GPT-2, which are not of this vocabulary, are ignored.
    write(folder.path(), "config.json", &json!({"eos_token_id": 50256, "pad_token_id": 50256}));
    assert_eq!(ids(), [2, 0]);
    write(folder.path(), "config.json", &json!({"eos_token_id": [5, 6], "pad_token_id": 7}));
    assert_eq!(ids(), [5, 7]);
    write(folder.path(), "generation_config.json", &json!({"eos_token_id": 8}));
    assert_eq!(ids(), [8, 7]);
    fs::write(folder.path().join("generation_config.json"), "{").unwrap();
    assert!(refused(&folder).contains("generation_config.json"));
    for name in ["generation_config.json", "config.json"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    // As an object in another file.
    write(folder.path(), "tokenizer_config.json", &json!({}));
    write(folder.path(), "special_tokens_map.json", &json!({"eos_token": {"content": "<s>"}}));
    assert_eq!(ids(), [1, 1]);
    fs::remove_file(folder.path().join("special_tokens_map.json")).unwrap();
    let error = Tokenizer::of_model(folder.path()).unwrap_err();
    assert!(matches!(&error, Error::EndOfText { .. }), "{error}");
    assert!(error.to_string().contains("eos_token_id"), "{error}");
}

#[test]
fn empty_texts_and_padding_have_the_tokens_of_the_tokenizer() {
    let tokenizer = of(&copy("word_piece"));
    let example = |(row, text): (usize, &&str)| Example { label: 0, text: (*text).into(), row };
    let examples: Vec<Example> = ["", "不知道"].iter().enumerate().map(example).collect();
    let set = TokenizedSet::new(&examples, &tokenizer, None);
    assert_eq!(set.ids()[0], [3]);
    let batch = dataset::Batch::of(&set, &[0, 1], dataset::Padding::Longest).unwrap();
    assert_eq!(batch.ids[..3], [3, 0, 0]);
}

#[test]
fn model_of_sentencepiece_names_the_conversion() {
    for name in ["spiece.model", "tokenizer.model", "sentencepiece.bpe.model"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), [10, 20]).unwrap();
        let error = refused(&folder);
        assert!(error.contains(name) && error.contains("save_pretrained"), "{error}");
        // Beside tokenizer.json it is not needed.
        fs::copy(fixtures().join("unigram/tokenizer.json"), folder.path().join("tokenizer.json"))
            .unwrap();
        write(folder.path(), "config.json", &json!({"eos_token_id": 1}));
        check(&of(&folder), "unigram");
    }
}

/// Settings that would pad, truncate or vary all texts.
#[test]
fn texts_are_neither_padded_nor_truncated_nor_varied() {
    let folder = copy("byte_level");
    change(folder.path(), "tokenizer.json", |json| {
        json["padding"] = json!({
            "strategy": {"Fixed": 1_000_000_000_000u64}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>",
        });
        json["truncation"] = json!({
            "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0,
        });
        json["model"]["dropout"] = json!(0.5);
    });
    check(&of(&folder), "byte_level");
}

#[test]
fn damaged_files_are_refused_with_a_reason() {
    let unigram = |unk: Value| json!({"version": "1.0", "model": {"type": "Unigram", "unk_id": unk, "vocab": [["a", -1.0]]}});
    let nested = "[".repeat(100_000);
    for (name, text, words) in [
        ("tokenizer.json", "{".to_owned(), "EOF"),
        ("tokenizer.json", "{}".to_owned(), "Model"),
        ("tokenizer.json", "[]".to_owned(), "expected"),
        ("tokenizer.json", "\"x\"".to_owned(), "expected"),
        ("tokenizer.json", nested.clone(), "recursion"),
        ("tokenizer.json", json!({"model": {"type": "BPE", "vocab": 7}}).to_string(), ""),
        (
            "tokenizer.json",
            json!({"model": {"type": "BPE", "vocab": {}, "merges": ["a b"]}}).to_string(),
            "",
        ),
        (
            "tokenizer.json",
            json!({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}).to_string(),
            "",
        ),
        (
            "tokenizer.json",
            json!({"model": {"type": "BPE", "vocab": {}, "merges": []}}).to_string(),
            "0 tokens",
        ),
        (
            "tokenizer.json",
            json!({"model": {"type": "BPE", "vocab": {"a": u32::MAX}, "merges": []}}).to_string(),
            "4294967295",
        ),
        (
            "tokenizer.json",
            json!({"model": {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "[UNK]",
                   "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}})
            .to_string(),
            "unknown characters",
        ),
        ("tokenizer.json", unigram(json!(null)).to_string(), "unknown characters"),
        ("tokenizer.json", unigram(json!(9)).to_string(), ""),
        ("tokenizer_config.json", "{".to_owned(), "EOF"),
        ("vocab.txt", "a\nb".to_owned(), "unknown characters"),
        ("merges.txt", "a b".to_owned(), "vocab.json"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), &text).unwrap();
        let error = Tokenizer::of_model(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Tokenizer { path, .. } if path.ends_with(name)), "{error}");
        let shown = error.to_string();
        assert!(shown.contains(words) && shown.lines().count() == 1, "{shown}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), b"\xff").unwrap();
    assert!(refused(&folder).contains("UTF-8"));
    // The library would give the token another id.
    let folder = copy("byte_level");
    change(folder.path(), "tokenizer.json", |json| json["added_tokens"][3]["id"] = json!(900));
    assert!(refused(&folder).contains("900"));
    let file = fs::File::create(folder.path().join("tokenizer.json")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    assert!(refused(&folder).contains("64 MiB"));
}

#[test]
fn directory_without_tokenizer_has_the_one_of_gpt2() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), &folder.path().join("missing")] {
        let tokenizer = Tokenizer::of_model(path).unwrap();
        assert_eq!((tokenizer.fingerprint(), tokenizer.end_of_text()), (None, END_OF_TEXT));
    }
    write(folder.path(), "config.json", &json!({"eos_token_id": 7, "pad_token_id": 50257}));
    assert_eq!([of(&folder).end_of_text(), of(&folder).padding()], [7, END_OF_TEXT]);
    assert!(of(&folder).is_gpt2());
}

/// `stefan-it/german-gpt2` has 52,000 tokens and the `eos_token_id` 52000, models with a Chinese
/// vocabulary GPT-2's 50256, and others -1. `transformers` loads all of them.
#[test]
fn ids_that_the_vocabulary_lacks_are_noted() {
    let folder = copy("byte_level");
    assert!(of(&folder).notes().is_empty());
    let size = of(&folder).vocabulary_size();
    let ids = json!({"eos_token_id": [50256, 5], "pad_token_id": -1, "bos_token_id": size});
    write(folder.path(), "config.json", &ids);
    write(folder.path(), "generation_config.json", &json!({"eos_token_id": 50256}));
    let tokenizer = of(&folder);
    assert_eq!([tokenizer.end_of_text(), tokenizer.padding()], [5, 0]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let range = format!("because the tokenizer has the tokens 0 to {}", size - 1);
    let expected = [
        format!(
            "{}: ignored eos_token_id 50256, {range}; texts end with 5",
            path("generation_config.json")
        ),
        format!(
            "{}: ignored eos_token_id 50256, pad_token_id -1, bos_token_id {size}, {range}; texts end \
             with 5; batches are filled with 0",
            path("config.json")
        ),
    ];
    assert_eq!(tokenizer.notes(), expected);
}

#[test]
fn special_tokens_that_are_not_numbers_are_refused() {
    for folder in [copy("byte_level"), tempfile::tempdir().unwrap()] {
        for file in ["config.json", "generation_config.json"] {
            for name in ["bos_token_id", "eos_token_id", "pad_token_id"] {
                let lists = [json!([1]), json!([1, 2])];
                let lists = lists.into_iter().filter(|_| name != "eos_token_id");
                let wrong = [json!([]), json!("</s>"), json!(1.5), json!({}), json!([1, null])];
                for value in wrong.into_iter().chain(lists) {
                    write(folder.path(), file, &json!({name: value}));
                    let error = refused(&folder);
                    let path = folder.path().join(file).display().to_string();
                    let expected = format!("{path}: {name}: expected the id of a token");
                    assert!(error.starts_with(&expected), "{error}");
                    assert!(error.contains(&format!("got {value}; correct")), "{error}");
                }
                write(folder.path(), file, &json!({name: null}));
                assert!(of(&folder).notes().is_empty());
            }
        }
    }
}

#[test]
fn several_tokens_end_a_text_and_one_is_learned() {
    let gpt2 = tempfile::tempdir().unwrap();
    let byte_level = copy("byte_level");
    for (folder, named, name) in [(&gpt2, 13, "."), (&byte_level, 2, "</s>")] {
        let ends = |ids: Value, name: &str| {
            write(folder.path(), "config.json", &json!({"eos_token_id": ids}));
            write(folder.path(), "tokenizer_config.json", &json!({"eos_token": name}));
            let tokenizer = of(folder);
            assert_eq!(tokenizer.end_of_text(), tokenizer.ends_of_text()[0]);
            tokenizer.ends_of_text().to_vec()
        };
        assert_eq!(ends(json!([7, named, 8, 7]), "no token"), [7, named, 8]);
        // The one that the tokenizer names.
        assert_eq!(ends(json!([7, 9, named, 8]), name), [named, 7, 9, 8]);
        assert_eq!(ends(json!([7, 9]), name), [7, 9]);
        assert_eq!(ends(json!([60_000, 9, -1]), name), [9]);
        assert_eq!(ends(json!([60_000]), name), [named]);
    }
}

#[test]
fn fingerprint_tells_special_tokens_apart() {
    let special = |given: &str, expected: &str| {
        let [given, expected] = [given, expected].map(str::to_owned);
        TokenizerDifference::SpecialTokens { given, expected }
    };
    let gpt2 = tempfile::tempdir().unwrap();
    write(gpt2.path(), "config.json", &json!({"eos_token_id": END_OF_TEXT}));
    assert_eq!(of(&gpt2).fingerprint(), None);
    assert_eq!(of(&gpt2).compare(None), TokenizerDifference::None);
    write(gpt2.path(), "generation_config.json", &json!({"eos_token_id": [7, 8]}));
    let other = of(&gpt2);
    assert_eq!(other.compare(None), special("eos=7,8 pad=50256", "eos=50256 pad=50256"));
    assert_eq!(other.compare(other.fingerprint()), TokenizerDifference::None);
    let difference = Tokenizer::gpt2().compare(other.fingerprint());
    assert_eq!(difference, special("eos=50256 pad=50256", "eos=7,8 pad=50256"));

    let folder = copy("byte_level");
    let before = of(&folder);
    write(folder.path(), "config.json", &json!({"eos_token_id": 5, "pad_token_id": 6}));
    let after = of(&folder);
    assert_eq!(after.compare(before.fingerprint()), special("eos=5 pad=6", "eos=2 pad=0"));
    // Earlier versions stored the encoding alone.
    let encoding = after.fingerprint().unwrap().split(' ').next();
    assert_eq!(after.compare(encoding), TokenizerDifference::None);
    for others in [None, other.fingerprint(), Some("0123456789abcdef")] {
        assert_eq!(after.compare(others), TokenizerDifference::Encoding);
    }
}

/// GPT-2's tokenizer with a token more, which tiktoken does not compute.
fn gpt2_with_added_token() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    Tokenizer::gpt2().save(folder.path(), 1024).unwrap();
    change(folder.path(), "tokenizer.json", |json| {
        let mut token = json["added_tokens"][0].clone();
        (token["content"], token["id"]) = (json!("<pad>"), json!(50_257));
        json["added_tokens"].as_array_mut().unwrap().push(token);
    });
    folder
}

/// The regular expression of byte-level BPE backtracks over white space, up to a limit.
#[test]
fn long_white_space_is_tokenized_like_by_tiktoken() {
    let (own, gpt2) = (of(&gpt2_with_added_token()), Tokenizer::gpt2());
    assert_eq!((own.vocabulary_size(), own.end_of_text()), (50_258, END_OF_TEXT));
    check(&own, "gpt2");
    for spaces in [10, 999, 50_000, 1_000_100] {
        let text = format!("hi{} you{}\nand", " ".repeat(spaces), "\t".repeat(spaces));
        assert!(own.encode(&text) == gpt2.encode(&text), "{spaces}");
    }
}

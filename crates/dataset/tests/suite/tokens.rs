//! Tokens against tiktoken, and rows of tokens.

use dataset::{END_OF_TEXT, Example, TokenizedSet, Tokenizer};
use proptest::prelude::*;
use serde::Deserialize;

use crate::fixture;

fn tokenized(texts: &[&str], max_length: Option<usize>) -> TokenizedSet {
    let example = |(row, text): (usize, &&str)| Example { label: row, text: (*text).into(), row };
    let examples: Vec<Example> = texts.iter().enumerate().map(example).collect();
    TokenizedSet::new(&examples, &Tokenizer::gpt2(), max_length)
}

#[test]
fn tokens_are_tiktokens() {
    #[derive(Deserialize)]
    struct Texts {
        texts: Vec<(String, Vec<u32>)>,
    }
    let tokenizer = Tokenizer::gpt2();
    for (text, ids) in fixture::<Texts>("tokens.json").texts {
        assert_eq!(tokenizer.encode(&text), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn decoding_never_fails() {
    let tokenizer = Tokenizer::gpt2();
    assert_eq!(tokenizer.decode(&[END_OF_TEXT]), "<|endoftext|>");
    assert_eq!(tokenizer.decode(&[345, 50257, u32::MAX]), " you\u{fffd}\u{fffd}");
    let emoji = tokenizer.encode("🙂");
    assert_eq!(tokenizer.decode(&emoji[..1]), "\u{fffd}");
    assert_eq!(tokenizer.decode(&emoji), "🙂");
}

#[test]
fn a_long_run_of_one_character_is_tokenized() {
    let tokenizer = Tokenizer::gpt2();
    for character in [" ", "a", "\n", "!", "é"] {
        let text = character.repeat(100_000);
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
        let text = format!("{text}x");
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }
}

#[test]
fn rows_are_cut_and_counted() {
    let texts = ["Every effort moves you", "", "you"];
    let whole = tokenized(&texts, None);
    assert_eq!(whole.ids(), [vec![6109, 3626, 6100, 345], vec![END_OF_TEXT], vec![5832]]);
    assert_eq!(whole.labels(), [0, 1, 2]);
    assert_eq!((whole.len(), whole.longest(), whole.truncated()), (3, 4, 0));

    let truncated = tokenized(&texts, Some(3));
    assert_eq!(truncated.ids()[0], [6109, 3626, 6100]);
    assert_eq!((truncated.len(), truncated.longest(), truncated.truncated()), (3, 3, 1));
    assert_eq!(tokenized(&texts, Some(4)), whole);
    assert_eq!(tokenized(&texts, Some(0)), tokenized(&texts, Some(1)));

    let none = tokenized(&[], None);
    assert!(none.is_empty() && none.longest() == 0);
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(text: String) {
        let tokenizer = Tokenizer::gpt2();
        let ids = tokenizer.encode(&text);
        prop_assert!(ids.iter().all(|&id| id < END_OF_TEXT));
        prop_assert_eq!(tokenizer.decode(&ids), text);
    }
}

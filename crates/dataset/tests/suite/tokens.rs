//! Tokens: comparison with tiktoken, and tokenized sets.

use std::collections::HashMap;

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
fn tokens_match_tiktoken() {
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
fn long_examples_are_truncated_and_counted() {
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

/// Texts with runs of white space of `length` characters or pairs.
fn white_space_runs(length: usize) -> Vec<String> {
    let mixed = |length: usize| " \n\t\u{a0}\r\n\u{3000}".chars().cycle().take(length).collect();
    let mut runs = vec![mixed(length)];
    runs.extend([" ", "\n", "\t", "\u{a0}", "\r\n", "\u{2028}"].map(|space| space.repeat(length)));
    let mut texts = Vec::new();
    for run in runs {
        texts.extend([
            format!("hi{run}you"),
            format!("{run}you"),
            format!("hi{run}"),
            format!("a{run}'s{run}42!{run}\u{a0}é{run}"),
        ]);
    }
    texts
}

#[test]
fn long_white_space_matches_tiktoken() {
    let (tokenizer, tiktoken) = (Tokenizer::gpt2(), tiktoken_rs::r50k_base_singleton());
    // The run is divided from 1000 bytes on.
    for length in [1, 2, 3, 332, 333, 334, 335, 499, 500, 501, 502, 999, 1000, 1001, 1002, 5000] {
        for text in white_space_runs(length) {
            assert_eq!(tokenizer.encode(&text), tiktoken.encode_ordinary(&text), "{length}");
        }
    }
    let text = format!("hi{}you", " ".repeat(900_000));
    assert_eq!(tokenizer.encode(&text), tiktoken.encode_ordinary(&text));
}

/// Tokens of a text without letters next to each other, straight from the definition of
/// byte-pair encoding.
fn reference(text: &str) -> Vec<u32> {
    let tokenizer = Tokenizer::gpt2();
    let tiktoken = tiktoken_rs::r50k_base_singleton();
    let ranks: HashMap<Vec<u8>, u32> =
        (0..END_OF_TEXT).map(|id| (tiktoken.decode_bytes(&[id]).unwrap(), id)).collect();
    let end = text.trim_end().len();
    let start = text[..end]
        .rfind(char::is_whitespace)
        .map_or(0, |space| space + text[space..].chars().next().unwrap().len_utf8());
    // A word, white space without its last character, and a word with that character.
    let first = text.find(char::is_whitespace).unwrap();
    assert!(first > 0 && start > first && end == text.len());
    let last = text[..start].char_indices().next_back().unwrap().0;
    let mut pieces: Vec<Vec<u8>> = text.as_bytes()[first..last].iter().map(|&b| vec![b]).collect();
    loop {
        let rank = |pair: &[Vec<u8>]| ranks.get(&pair.concat()).copied();
        let best =
            (0..pieces.len() - 1).filter_map(|at| Some((rank(&pieces[at..at + 2])?, at))).min();
        let Some((_, at)) = best else { break };
        let joined = pieces[at..at + 2].concat();
        pieces.splice(at..at + 2, [joined]);
    }
    let white_space = pieces.iter().map(|piece| ranks[piece]);
    let mut ids = tokenizer.encode(&text[..first]);
    ids.extend(white_space);
    ids.extend(tokenizer.encode(&text[last..]));
    ids
}

#[test]
fn long_white_space_matches_the_definition() {
    for length in [400, 999, 1000, 1001, 1500] {
        for space in [" ", "\n", "\t\n", "\u{a0}", " \r\n"] {
            let text = format!("hi{}you", space.repeat(length / space.len() + 1));
            assert_eq!(Tokenizer::gpt2().encode(&text), reference(&text), "{space:?} {length}");
        }
    }
}

/// tiktoken panics at a million characters of white space between words.
#[test]
fn no_text_is_too_long_to_tokenize() {
    let tokenizer = Tokenizer::gpt2();
    for text in [
        format!("hi{}you", " ".repeat(1_000_100)),
        format!("hi{}you", "\n".repeat(1_000_100)),
        format!("hi{}you", "\t".repeat(1_000_100)),
        format!("hi{}you", "\u{a0}".repeat(1_000_100)),
        " ".repeat(1_000_100),
        "a".repeat(1_000_100),
        "é".repeat(1_000_100),
        "1!".repeat(1_000_100),
        "=".repeat(1_000_100),
        " a".repeat(500_000) + &" \n".repeat(500_000) + "b",
    ] {
        let begin = std::time::Instant::now();
        let ids = tokenizer.encode(&text);
        assert!(tokenizer.decode(&ids) == text, "{}", &text[..4]);
        // Quadratic time would take hours.
        assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
    }
    let long = tokenizer.encode(&format!("hi{}you", " ".repeat(1_000_100)));
    let short = tokenizer.encode(&format!("hi{}you", " ".repeat(900_100)));
    assert_eq!(long.len() - short.len(), 100_000, "a space of such a run is a token");
    assert_eq!((&long[..10], &long[long.len() - 10..]), (&short[..10], &short[short.len() - 10..]));
}

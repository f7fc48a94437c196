//! GPT-2's tokenizer as the files that `transformers` reads.

use std::{collections::HashMap, path::Path, sync::LazyLock};

use serde_json::{Map, Value, json};
use storage::{create_directory, write_atomic, write_json};

use super::{
    pipeline::byte_level,
    tokenizer::{END_OF_TEXT, Encoding, Tokenizer, bytes_of},
};
use crate::error::Result;

pub(super) const END_OF_TEXT_NAME: &str = "<|endoftext|>";

impl Tokenizer {
    /// Writes the tokenizer into `folder`, which is created if missing. A tokenizer that was read
    /// from files becomes copies of them, unchanged. GPT-2's becomes `tokenizer.json`,
    /// `tokenizer_config.json`, `vocab.json` and `merges.txt` for texts of at most `max_length`
    /// tokens. A text that spells `<|endoftext|>` gives that token in `transformers`, and plain
    /// text here; all other texts have the same tokens.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) names the file that could not be written.
    pub fn save(&self, folder: &Path, max_length: usize) -> Result<()> {
        let bpe = match &self.encoding {
            Encoding::Gpt2(bpe) => bpe,
            Encoding::Own(own) => return own.files.copy(folder),
        };
        let tokens: Vec<Vec<u8>> = (0..END_OF_TEXT).map(|id| bytes_of(bpe, id)).collect();
        let names: Vec<String> = tokens.iter().map(|token| printable(token)).collect();
        let name =
            |id: u32| names.get(id as usize).map_or(END_OF_TEXT_NAME, |name| name).to_owned();
        let (end_of_text, padding) = (name(self.end_of_text()), name(self.padding()));
        let merges = merges(&tokens);
        let ids = (0..=END_OF_TEXT).map(Value::from);
        let all_names = names.into_iter().chain([END_OF_TEXT_NAME.to_owned()]);
        let vocabulary: Map<String, Value> = all_names.zip(ids).collect();
        create_directory(folder)?;
        write_json(&folder.join("vocab.json"), &vocabulary)?;
        let text = format!("#version: 0.2\n{}\n", merges.join("\n"));
        write_atomic(&folder.join("merges.txt"), text.as_bytes())?;
        write_json(
            &folder.join("tokenizer.json"),
            &byte_level(vocabulary, merges, vec![end_of_text_token()]),
        )?;
        let mut configuration = json!({
            "add_prefix_space": false,
            "bos_token": end_of_text,
            "eos_token": end_of_text,
            "unk_token": END_OF_TEXT_NAME,
            "pad_token": padding,
            "model_max_length": max_length,
            "tokenizer_class": "GPT2Tokenizer",
        });
        if let Some((_, source)) = self.chat_template() {
            configuration["chat_template"] = json!(source);
        }
        Ok(write_json(&folder.join("tokenizer_config.json"), &configuration)?)
    }
}

/// The entry of GPT-2's special token in `tokenizer.json`.
fn end_of_text_token() -> Value {
    json!({
        "id": END_OF_TEXT, "content": END_OF_TEXT_NAME, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true,
    })
}

/// Character of each byte.
static CHARACTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = (0x100..).filter_map(char::from_u32);
    std::array::from_fn(|byte| match u8::try_from(byte) {
        Ok(byte) if is_printable(byte) => char::from(byte),
        _ => others.next().unwrap_or_default(),
    })
});

/// Bytes as text: printable ASCII and Latin-1 as they are, the others as characters from
/// U+0100 on (`bytes_to_unicode` of GPT-2's own code).
pub(super) fn printable(token: &[u8]) -> String {
    token.iter().map(|&byte| CHARACTERS[usize::from(byte)]).collect()
}

/// The pair of tokens that each longer token is made of, in the order of the tokens, which is
/// the order in which pairs are merged.
fn merges(tokens: &[Vec<u8>]) -> Vec<String> {
    let ranks: HashMap<&[u8], usize> =
        tokens.iter().enumerate().map(|(rank, token)| (token.as_slice(), rank)).collect();
    let longer = tokens.iter().enumerate().filter(|(_, token)| token.len() > 1);
    let pair = |(rank, token): (usize, &Vec<u8>)| {
        let parts = parts(token, &ranks, rank);
        parts.iter().map(|part| printable(part)).collect::<Vec<_>>().join(" ")
    };
    longer.map(pair).collect()
}

/// Merges the bytes of a token with the pairs before `limit`, lowest rank first.
fn parts<'a>(token: &'a [u8], ranks: &HashMap<&[u8], usize>, limit: usize) -> Vec<&'a [u8]> {
    // Ends of the parts, with 0 in front.
    let mut ends: Vec<usize> = (0..=token.len()).collect();
    loop {
        let pairs = ends.windows(3).enumerate();
        let ranked = pairs.filter_map(|(index, ends)| {
            let rank = *ranks.get(token.get(ends[0]..ends[2])?)?;
            (rank < limit).then_some((rank, index))
        });
        match ranked.min() {
            Some((_, index)) => drop(ends.remove(index + 1)),
            None => {
                return ends.windows(2).filter_map(|ends| token.get(ends[0]..ends[1])).collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_longer_token_is_a_pair_of_earlier_ones() {
        let bpe = tiktoken_rs::r50k_base_singleton();
        let tokens: Vec<Vec<u8>> = (0..END_OF_TEXT).map(|id| bytes_of(bpe, id)).collect();
        let merges = merges(&tokens);
        assert_eq!(merges.len(), 50_000);
        // The first lines of the published merges.txt.
        assert_eq!(merges[..5], ["Ġ t", "Ġ a", "h e", "i n", "r e"]);
        assert_eq!(merges.last().map(String::as_str), Some("Ġg azed"));
        assert!(merges.iter().all(|pair| pair.split(' ').count() == 2));
    }

    #[test]
    fn bytes_are_printed_like_gpt2() {
        assert_eq!(printable(b"a \n\xc3\xa9\x7f\xad"), "aĠĊÃ©ġŃ");
        let all: std::collections::BTreeSet<String> =
            (0..=255u8).map(|byte| printable(&[byte])).collect();
        assert_eq!(all.len(), 256);
    }

    #[test]
    fn saved_files_have_the_whole_vocabulary() {
        let folder = tempfile::tempdir().unwrap();
        Tokenizer::gpt2().save(folder.path(), 1024).unwrap();
        let read = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(folder.path().join(name)).unwrap()).unwrap()
        };
        let vocabulary = read("vocab.json");
        assert_eq!(vocabulary.as_object().unwrap().len(), 50_257);
        assert_eq!((&vocabulary["Ġthe"], &vocabulary["!"]), (&json!(262), &json!(0)));
        assert_eq!(vocabulary, read("tokenizer.json")["model"]["vocab"]);
        assert_eq!(read("tokenizer_config.json")["pad_token"], "<|endoftext|>");
    }
}

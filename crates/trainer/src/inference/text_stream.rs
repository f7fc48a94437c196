//! Text of tokens that arrive one by one.

use dataset::Tokenizer;

/// Text of the tokens so far. A token may end within a character, and a stop string within a token:
/// what may still change is held back.
pub(super) struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    stop: Vec<&'a str>,
    /// Tokens of the text before, in whose context the text is decoded, and their text.
    before: (&'a [u32], String),
    /// Tokens, behind the tokens before.
    ids: Vec<u32>,
    /// Bytes of the text that were given out.
    given: usize,
    /// Length of the text before a stop string and the index of that, once there is one.
    end: Option<(usize, usize)>,
}

impl<'a> TextStream<'a> {
    /// Creates a stream that ends before the first of some `stop` strings. It continues the text of the
    /// tokens `before`: many tokenizers decode the space before a word only if a text precedes it.
    pub fn new(
        tokenizer: &'a Tokenizer,
        stop: impl IntoIterator<Item = &'a String>,
        before: &'a [u32],
    ) -> Self {
        let stop = stop.into_iter().map(String::as_str).collect();
        // The text of GPT-2's tokens does not depend on what precedes them.
        let before = if tokenizer.is_gpt2() { &[] } else { before };
        let text = tokenizer.decode(before);
        Self { tokenizer, stop, before: (before, text), ids: before.to_vec(), given: 0, end: None }
    }

    /// Returns the text so far. It is decoded alone if the text before is another one with these tokens,
    /// as of the bytes of half a character.
    fn text(&self) -> String {
        let text = self.tokenizer.decode(&self.ids);
        let alone = || self.tokenizer.decode(&self.ids[self.before.0.len()..]);
        text.strip_prefix(&self.before.1).map_or_else(alone, str::to_owned)
    }

    /// Adds a token and returns the text that is certain now and was not before.
    pub fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        let text = self.text();
        let stop = self.stop.iter().zip(0..);
        self.end = stop.filter_map(|(stop, index)| Some((text.find(stop)?, index))).min();
        let certain = match self.end {
            Some((end, _)) => end,
            None => {
                // Half a character is decoded as a replacement character.
                let whole = text.trim_end_matches('\u{fffd}');
                whole.len() - self.longest_stop_prefix(whole)
            }
        };
        self.give(&text, certain)
    }

    /// Returns the index of the stop string that has ended the text.
    pub fn stopped_by(&self) -> Option<usize> {
        self.end.map(|(_, index)| index)
    }

    /// Returns the whole text, and what of it was not given out.
    pub fn finish(mut self) -> (String, String) {
        let mut text = self.text();
        if let Some((end, _)) = self.end {
            text.truncate(end);
        }
        let rest = self.give(&text, text.len());
        (text, rest)
    }

    fn give(&mut self, text: &str, to: usize) -> String {
        let new = text.get(self.given..to).unwrap_or_default().to_owned();
        self.given = self.given.max(to);
        new
    }

    /// Length of the longest end of `text` that begins a stop string.
    fn longest_stop_prefix(&self, text: &str) -> usize {
        let of_stop = |stop: &&str| {
            let ends = stop.char_indices().map(|(end, _)| end).rev();
            ends.into_iter().find(|&end| text.ends_with(&stop[..end])).unwrap_or(0)
        };
        self.stop.iter().map(of_stop).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn fixture(kind: &str) -> Tokenizer {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        Tokenizer::of_model(&fixtures.join("tokenizers").join(kind)).unwrap()
    }

    /// Pieces that are given out for each token, the rest, and the whole text.
    fn stream(text: &str, stop: &[&str]) -> (Vec<String>, String, String) {
        let tokenizer = Tokenizer::gpt2();
        let stop: Vec<String> = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stream = TextStream::new(&tokenizer, &stop, &[]);
        let mut pieces = Vec::new();
        for id in tokenizer.encode(text) {
            pieces.push(stream.push(id));
            if stream.stopped_by().is_some() {
                break;
            }
        }
        let (whole, rest) = stream.finish();
        (pieces, rest, whole)
    }

    #[test]
    fn characters_are_given_out_whole() {
        let text = "naïve 😀 日本語";
        let (pieces, rest, whole) = stream(text, &[]);
        assert_eq!(whole, text);
        assert_eq!(pieces.concat() + &rest, text);
        assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
        assert!(pieces.iter().any(String::is_empty), "no token is a fraction of a character");
    }

    #[test]
    fn streamed_text_continues_the_text_before() {
        for (kind, text) in [
            ("gpt2", "The café is near the sea. 😀 Don't go!"),
            ("byte_level", "Мы долго шли через лес и вышли к озеру."),
            ("word_piece", "早上河边有很大的雾 reading books"),
            ("unigram", "電車が いつ来るのか reading books 分かりません"),
            ("byte_fallback", "Reading 日本語 and 😀 books"),
        ] {
            let tokenizer = fixture(kind);
            let ids = tokenizer.encode(text);
            let whole = tokenizer.decode(&ids);
            for at in 0..ids.len() {
                let before = tokenizer.decode(&ids[..at]);
                // The bytes of half a character are not the text before.
                if !whole.starts_with(&before) {
                    continue;
                }
                let mut stream = TextStream::new(&tokenizer, &[], &ids[..at]);
                let pieces: String = ids[at..].iter().map(|&id| stream.push(id)).collect();
                let (finished, rest) = stream.finish();
                assert_eq!(before.clone() + &finished, whole, "{kind} after {before:?}");
                assert_eq!(pieces + &rest, finished, "{kind} after {before:?}");
            }
        }
    }

    #[test]
    fn text_after_half_a_character_ends_at_a_stop_string() {
        let tokenizer = fixture("byte_fallback");
        let ids = tokenizer.encode("Reading 😀 and books");
        let half = (1..ids.len())
            .find(|&at| tokenizer.decode(&ids[..at]).ends_with('\u{fffd}'))
            .expect("no token is a fraction of a character");
        let stop = ["books".to_owned()];
        let mut stream = TextStream::new(&tokenizer, &stop, &ids[..half]);
        let pieces: String = ids[half..].iter().map(|&id| stream.push(id)).collect();
        assert_eq!(stream.stopped_by(), Some(0));
        let (text, rest) = stream.finish();
        assert!(text.ends_with(" and ") && pieces + &rest == text, "{text:?}");
    }

    #[test]
    fn half_a_character_at_the_end_is_replaced() {
        let tokenizer = Tokenizer::gpt2();
        let mut stream = TextStream::new(&tokenizer, &[], &[]);
        assert_eq!(stream.push(tokenizer.encode("😀")[0]), "");
        assert_eq!(stream.finish(), ("\u{fffd}".to_owned(), "\u{fffd}".to_owned()));
    }

    #[test]
    fn stop_strings_end_the_text_and_are_never_given_out() {
        for (text, stop, expected) in [
            ("one two\n\nthree", &["\n\n"][..], "one two"),
            ("one two three", &["o t", "wo"], "one t"),
            ("one two three", &["two", "e t"], "on"),
            ("one", &["one"], ""),
            ("one on", &["one "], ""),
        ] {
            let (pieces, rest, whole) = stream(text, stop);
            assert_eq!(whole, expected, "{text:?} {stop:?}");
            assert_eq!(pieces.concat() + &rest, expected, "{text:?} {stop:?}");
        }
        let (pieces, rest, whole) = stream("a stop that is n", &["is not"]);
        assert_eq!((pieces.concat().as_str(), rest.as_str()), ("a stop that ", "is n"));
        assert_eq!(whole, "a stop that is n");
    }
}

//! Text of tokens that arrive one by one.

use dataset::Tokenizer;

/// Text of the tokens so far. A token may end within a character, and a stop string within a token:
/// what may still change is held back.
pub(super) struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    stop: &'a [String],
    ids: Vec<u32>,
    /// Bytes of the text that were given out.
    given: usize,
    /// Length of the text before a stop string and the index of that, once there is one.
    end: Option<(usize, usize)>,
}

impl<'a> TextStream<'a> {
    /// Creates a stream that ends before the first of some `stop` strings.
    pub fn new(tokenizer: &'a Tokenizer, stop: &'a [String]) -> Self {
        Self { tokenizer, stop, ids: Vec::new(), given: 0, end: None }
    }

    /// Adds a token and returns the text that is certain now and was not before.
    pub fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids);
        let found = self
            .stop
            .iter()
            .zip(0..)
            .filter_map(|(stop, index)| Some((text.find(stop.as_str())?, index)));
        let certain = match found.min() {
            Some(end) => {
                self.end = Some(end);
                end.0
            }
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
        let mut text = self.tokenizer.decode(&self.ids);
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
        let of_stop = |stop: &String| {
            let ends = stop.char_indices().map(|(end, _)| end).rev();
            ends.into_iter().find(|&end| text.ends_with(&stop[..end])).unwrap_or(0)
        };
        self.stop.iter().map(of_stop).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces that are given out for each token, the rest, and the whole text.
    fn stream(text: &str, stop: &[&str]) -> (Vec<String>, String, String) {
        let tokenizer = Tokenizer::gpt2();
        let stop: Vec<String> = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stream = TextStream::new(&tokenizer, &stop);
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
    fn half_a_character_at_the_end_is_replaced() {
        let tokenizer = Tokenizer::gpt2();
        let mut stream = TextStream::new(&tokenizer, &[]);
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

//! Tokens of a text that continues another one.

use tokenizers::{
    Encoding, Model, NormalizedString, OffsetType, PreTokenizer, Tokenizer,
    tokenizer::normalizer::Range,
};

/// Markers of a word's start in the vocabularies of SentencePiece and of byte-level BPE.
const MARKERS: [char; 2] = ['\u{2581}', '\u{120}'];

/// Encodes a text as the library does, but without the marker that some tokenizers put before a text
/// that does not begin with a space. The text would begin a new word otherwise.
pub(super) fn encode_continuation(
    tokenizer: &Tokenizer,
    text: &str,
) -> tokenizers::Result<Encoding> {
    let added = tokenizer.get_added_vocabulary();
    let mut pieces = added.extract_and_normalize(tokenizer.get_normalizer(), text);
    if let Some(words) = tokenizer.get_pre_tokenizer() {
        words.pre_tokenize(&mut pieces)?;
    }
    pieces.split(|index, piece| Ok([if index == 0 { without_marker(piece) } else { piece }]))?;
    tokenizer.get_model().tokenize_in_pretokenized(&mut pieces, None)?;
    pieces.into_encoding(None, 0, OffsetType::None)
}

/// Removes an added marker from the first piece of a text. It has the place of the character behind
/// it, the first one of the text; the marker of a space has the place of the space.
fn without_marker(piece: NormalizedString) -> NormalizedString {
    let marker = piece.get().chars().next().filter(|first| MARKERS.contains(first));
    let Some(length) = marker.map(char::len_utf8) else { return piece };
    let place = |byte: usize| {
        let place = piece.convert_offsets(Range::Normalized(byte..byte + 1))?;
        Some(piece.offsets_original().0 + place.start)
    };
    let is_added = place(0) == Some(0) && place(length) == Some(0);
    let rest = piece.slice(Range::Normalized(length..)).filter(|_| is_added);
    rest.unwrap_or(piece)
}

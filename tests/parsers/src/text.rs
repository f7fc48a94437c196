//! Plain text.

use std::io::Cursor;

use dataset::{Corpus, CorpusConfig, Documents, Encoding, Lines, Tokenizer};

use crate::{Outcome, refused, temporary_folder::TemporaryFolder};

/// Text for pretraining with both document separators, and a tokenizer round trip.
pub fn corpus(bytes: &[u8]) -> Outcome {
    let tokenizer = Tokenizer::gpt2();
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
    }
    let folder = TemporaryFolder::with(&[("text.txt", bytes)]);
    let mut outcome = Outcome::Refused;
    for documents in [Documents::BlankLines, Documents::Files] {
        let config = CorpusConfig { documents, held_out: 0.3, seed: 1 };
        match Corpus::read(&[folder.path().join("text.txt")], &config, &tokenizer) {
            Ok(corpus) => {
                assert!(corpus.documents[0] > 0 && corpus.documents[1] > 0);
                outcome = Outcome::Accepted;
            }
            // Too few documents are a problem of all files together.
            Err(error) => drop(refused(&error, &["text.txt", "documents"])),
        }
    }
    outcome
}

/// `tokenizer.json` of a model.
pub fn tokenizer(bytes: &[u8]) -> Outcome {
    let config = br#"{"eos_token_id": 0}"#;
    let folder = TemporaryFolder::with(&[("tokenizer.json", bytes), ("config.json", config)]);
    let tokenizer = match Tokenizer::of_model(folder.path()) {
        Err(error) => return refused(&error, &["tokenizer.json"]),
        Ok(tokenizer) => tokenizer,
    };
    for text in ["", "a b  c\n", "Мы шли через лес, 12 км.", "不知道 パン屋 🙂", "</s> [SEP] ##a ▁"]
    {
        let ids = tokenizer.encode(text);
        assert!(ids.iter().all(|&id| id < tokenizer.vocabulary_size()), "{text}: {ids:?}");
        tokenizer.decode(&ids);
    }
    match tokenizer.check() {
        Err(error) => refused(&error, &["tokenizer.json"]),
        Ok(()) => Outcome::Accepted,
    }
}

/// Lines of a stream. The first byte chooses the encoding.
pub fn lines(bytes: &[u8]) -> Outcome {
    let Some((&choice, bytes)) = bytes.split_first() else { return Outcome::Refused };
    let encodings = [Encoding::Utf8, Encoding::Utf8Lossy, Encoding::Latin1, Encoding::Utf16];
    let encoding = (choice & 4 == 0).then(|| encodings[usize::from(choice) % 4]);
    let read = || {
        let stream = Cursor::new(bytes.to_vec());
        let mut lines = Lines::decoded(stream, "standard input".into(), encoding)?;
        let (mut line, mut all) = (String::new(), Vec::new());
        while lines.next_text(&mut line)? {
            assert!(!line.contains(['\0', '\n']));
            all.push(line.clone());
        }
        Ok::<_, dataset::Error>((all, lines.notes()))
    };
    match read() {
        Err(error) => refused(&error, &["standard input"]),
        Ok((all, notes)) => {
            // Without decoding, the text equals the stream.
            let text = std::str::from_utf8(bytes).unwrap_or_default();
            if notes.is_empty() && !text.starts_with('\u{feff}') {
                let lines = text.split_terminator('\n');
                let lines = lines.map(|line| line.strip_suffix('\r').unwrap_or(line));
                assert!(all.iter().map(String::as_str).eq(lines));
            }
            Outcome::Accepted
        }
    }
}

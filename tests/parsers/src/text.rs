//! Plain text.

use dataset::{Corpus, CorpusConfig, Documents, Tokenizer};

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
        match Corpus::read(&[folder.path().join("text.txt")], &config) {
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

//! Snapshot of every error message of this crate, `src/snapshots/error_messages.snap`. To update
//! it: `INSTA_UPDATE=always cargo test -p tensor-files --lib error`, then review the difference.

use test_support::{assert_messages, messages};

use super::*;

fn errors() -> String {
    use Error as E;
    messages! {
        elsewhere {
            E::Storage(_),
        }
        E::Format { .. } => E::format(
            Path::new("gpt2/pytorch_model.bin"), PickleProblem::NotADictionary
        ),
    }
}

fn formats() -> String {
    use FormatProblem as E;
    let tensor = || "h.0.attn.c_attn.weight".to_owned();
    let storage = || "7".to_owned();
    messages! {
        E::LfsPointer => E::LfsPointer,
        E::Safetensors { .. } => E::Safetensors { reason: "InvalidHeaderLength".to_owned() },
        E::LegacyPickle => E::LegacyPickle,
        E::Archive { .. } => E::Archive { reason: "invalid Zip archive".to_owned() },
        E::NoPickle => E::NoPickle,
        E::IncompleteStorage { .. } => E::IncompleteStorage { storage: storage() },
        E::CompressedStorage { .. } => E::CompressedStorage { storage: storage() },
        E::ByteOrder { .. } => E::ByteOrder { order: "big".to_owned() },
        E::LongPickle { .. } => E::LongPickle { most: 16 << 20 },
        E::Pickle(_) => PickleProblem::Instruction(0x81).into(),
        E::NoStorage { .. } => E::NoStorage { tensor: tensor(), storage: storage() },
        E::OutsideStorage { .. } => E::OutsideStorage { tensor: tensor(), shape: vec![768, 2304] },
        E::Strides { .. } => E::Strides { tensor: tensor(), dimensions: 2, strides: 1 },
        E::Index { .. } => E::Index { reason: "missing field `weight_map`".to_owned() },
        E::ShardPath { .. } => E::ShardPath { shard: "../model.safetensors".to_owned() },
        E::MissingShards { .. } => E::MissingShards {
            missing: 2, shards: 3, first: "model-00002-of-00003.safetensors".to_owned()
        },
        E::MissingInShards { .. } => E::MissingInShards { tensor: tensor() },
        E::InTwoShards { .. } => E::InTwoShards { tensor: tensor() },
    }
}

fn pickles() -> String {
    use PickleProblem as E;
    messages! {
        E::NotADictionary => E::NotADictionary,
        E::ForeignName { .. } => E::ForeignName {
            module: "posix".to_owned(), name: "system".to_owned()
        },
        E::Instruction(_) => E::Instruction(0x81),
        E::TooMany { .. } => E::TooMany { count: 65, unit: "dimensions", most: 64 },
        E::Damaged(_) => E::Damaged("it ends too early"),
    }
}

#[test]
fn messages_match_the_snapshot() {
    assert_messages! {
        "Error" => errors(),
        "FormatProblem" => formats(),
        "PickleProblem" => pickles(),
    }
}

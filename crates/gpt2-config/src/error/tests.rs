//! Snapshot of every error message of this crate, `src/snapshots/error_messages.snap`. To update
//! it: `INSTA_UPDATE=always cargo test -p gpt2-config --lib error`, then review the difference.

use test_support::{assert_messages, messages};

use super::*;

fn errors() -> String {
    use Error as E;
    messages! {
        elsewhere {
            E::Storage(_),
            E::Files(_),
        }
        E::Config { .. } => E::Config {
            origin: "weights/gpt2/config.json".to_owned(), problem: ConfigProblem::Epsilon(0.0)
        },
    }
}

fn configs() -> String {
    use ConfigProblem as E;
    messages! {
        E::TooLarge { .. } => E::TooLarge { reason: "it is longer than 16 MiB".to_owned() },
        E::Json { .. } => E::Json { reason: "missing field `n_head`".to_owned() },
        E::Settings { .. } => E::Settings { reason: "EOF while parsing an object".to_owned() },
        E::TokenId { .. } => E::TokenId {
            name: "eos_token_id", may_be_list: true, value: "\"<|endoftext|>\"".to_owned()
        },
        E::ModelType { .. } => E::ModelType { model_type: "llama".to_owned() },
        E::Size { .. } => E::Size { name: "n_layer", value: 0, most: 4096 },
        E::Parameters { .. } => E::Parameters { parameters: 1 << 41, most: 1 << 40 },
        E::Heads { .. } => E::Heads { n_embd: 7, n_head: 2 },
        E::Epsilon(_) => E::Epsilon(-1.0),
        E::ProblemType { .. } => E::ProblemType { problem_type: "regression".to_owned() },
        E::Labels { .. } => E::Labels { name: "label2id" },
        E::MissingClasses { .. } => E::MissingClasses { name: "id2label" },
    }
}

fn tensors() -> String {
    use TensorProblem as E;
    let name = || "h.0.attn.c_attn.weight".to_owned();
    messages! {
        E::Missing { .. } => E::Missing { name: name() },
        E::Unknown { .. } => E::Unknown { name: name() },
        E::Twice { .. } => E::Twice { name: name() },
        E::Shape { .. } => E::Shape {
            name: name(), expected: vec![768, 2304], shape: vec![2304, 768]
        },
        E::Vocabulary { .. } => E::Vocabulary {
            name: "wte.weight".to_owned(), rows: 50_258, vocab_size: 50_257
        },
        E::DType { .. } => E::DType { name: name(), dtype: safetensors::Dtype::I64 },
        E::UntiedHead => E::UntiedHead,
    }
}

#[test]
fn messages_match_the_snapshot() {
    assert_messages! {
        "Error" => errors(),
        "ConfigProblem" => configs(),
        "TensorProblem" => tensors(),
    }
}

//! Snapshot of every error message of this crate, `src/snapshots/error_messages.snap`. To update
//! it: `INSTA_UPDATE=always cargo test -p lora --lib error`, then review the difference.

use test_support::{assert_messages, messages};

use super::*;

fn errors() -> String {
    use Error as E;
    let path = || PathBuf::from("adapter/adapter_model.safetensors");
    let missing =
        |layer| TensorProblem::Missing { name: format!("h.{layer}.attn.c_attn.lora_A.weight") };
    messages! {
        elsewhere {
            E::Storage(_),
        }
        E::Setting { .. } => E::Setting {
            setting: "rank_pattern \"c_attn\"".to_owned(), problem: SettingProblem::Unused
        },
        E::DifferentScaling => E::DifferentScaling,
        E::UnknownTarget { .. } => E::UnknownTarget {
            targets: vec!["cookie".to_owned()],
            layers: (0..13).map(|layer| format!("h.{layer}.attn.c_attn")).collect(),
        },
        E::Layer { .. } => E::Layer {
            layer: "h.0.attn.c_attn".to_owned(), problem: LayerProblem::NotAMatrix { shape: vec![7] }
        },
        E::Format { .. } => E::Format {
            path: path(), problem: tensor_files::FormatProblem::LfsPointer.into()
        },
        E::Mismatch { .. } => E::Mismatch {
            path: path(), problems: (0..100).map(missing).collect()
        },
        E::Torch(_) => TchError::Torch("shapes differ\nframe #0: c10::Error".to_owned()).into(),
    }
}

fn settings() -> String {
    use SettingProblem as E;
    messages! {
        E::Rank { .. } => E::Rank { rank: 0, most: 1024 },
        E::Alpha(_) => E::Alpha(f64::NAN),
        E::PissaAlpha(_) => E::PissaAlpha(-1.0),
        E::Dropout(_) => E::Dropout(1.0),
        E::NoTarget => E::NoTarget,
        E::Pattern { .. } => E::Pattern {
            pattern: "h.(".to_owned(), reason: "unclosed group".to_owned()
        },
        E::Unused => E::Unused,
    }
}

fn layers() -> String {
    use LayerProblem as E;
    messages! {
        E::NotAMatrix { .. } => E::NotAMatrix { shape: vec![7] },
        E::Indivisible { .. } => E::Indivisible { outputs: 7, slices: 3 },
    }
}

fn formats() -> String {
    use FormatProblem as E;
    let module = || "h.0.attn.c_attn".to_owned();
    let tensor = || "h.0.attn.c_attn.lora_A.weight".to_owned();
    messages! {
        elsewhere {
            E::File(_),
            E::Settings(_),
        }
        E::Setting { .. } => E::Setting {
            setting: "dropout".to_owned(), problem: SettingProblem::Dropout(1.0)
        },
        E::NotFinite { .. } => E::NotFinite { tensor: tensor() },
        E::DType { .. } => E::DType { tensor: tensor(), dtype: safetensors::Dtype::F64 },
        E::Missing { .. } => E::Missing { tensor: tensor() },
        E::ShapeOfA { .. } => E::ShapeOfA { module: module(), shape: vec![3, 16], rank: 4 },
        E::ShapeOfB { .. } => E::ShapeOfB { module: module(), shape: vec![48, 3], rank: 4 },
        E::ShapeOfMagnitude { .. } => E::ShapeOfMagnitude {
            module: module(), shape: vec![1, 48], out: 48
        },
        E::UnusedMagnitude { .. } => E::UnusedMagnitude { module: module() },
        E::ForeignTensor { .. } => E::ForeignTensor { tensor: "wte.lora_embedding_A".to_owned() },
        E::Twice { .. } => E::Twice { tensor: tensor() },
        E::TwoModules { .. } => E::TwoModules { module: module() },
        E::AdapterAndWeight { .. } => E::AdapterAndWeight { module: module() },
        E::SeveralAdapters { .. } => E::SeveralAdapters {
            names: (0..13).map(|number| format!("adapter_{number}")).collect()
        },
        E::NoAdapter => E::NoAdapter,
        E::Serialize { .. } => E::Serialize { reason: "TensorInvalidInfo".to_owned() },
    }
}

fn peft_settings() -> String {
    use PeftSettingsProblem as E;
    messages! {
        E::Json { .. } => E::Json { reason: "missing field `r`".to_owned() },
        E::NoPeftType => E::NoPeftType,
        E::PeftType { .. } => E::PeftType { peft_type: "\"ADALORA\"".to_owned() },
        E::Unsupported { .. } => E::Unsupported {
            setting: "lora_bias".to_owned(), value: "true".to_owned()
        },
        E::Bias { .. } => E::Bias { bias: "all".to_owned() },
        E::Initialization { .. } => E::Initialization { init: "\"pissa\"".to_owned() },
        E::Rank { .. } => E::Rank { setting: "rank_pattern \"c_attn\"".to_owned(), rank: 0 },
        E::Dropout(_) => E::Dropout(1.5),
        E::Pattern { .. } => E::Pattern {
            setting: "alpha_pattern",
            problem: SettingProblem::Pattern {
                pattern: "h.(".to_owned(), reason: "unclosed group".to_owned()
            },
        },
    }
}

fn tensors() -> String {
    use TensorProblem as E;
    let name = || "h.0.attn.c_attn.lora_A.weight".to_owned();
    messages! {
        E::Missing { .. } => E::Missing { name: name() },
        E::Shape { .. } => E::Shape { name: name(), expected: vec![4, 16], shape: vec![4, 17] },
        E::Unused { .. } => E::Unused { name: name() },
        E::AdapterAndWeight { .. } => E::AdapterAndWeight { module: "h.0.attn.c_attn".to_owned() },
        E::NoAdapter => E::NoAdapter,
    }
}

#[test]
fn messages_match_the_snapshot() {
    assert_messages! {
        "Error" => errors(),
        "SettingProblem" => settings(),
        "LayerProblem" => layers(),
        "FormatProblem" => formats(),
        "PeftSettingsProblem" => peft_settings(),
        "TensorProblem" => tensors(),
    }
}

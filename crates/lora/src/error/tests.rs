//! Snapshot of every error message of this crate, `src/snapshots/error_messages.snap`. To update
//! it: `INSTA_UPDATE=always cargo test -p lora --lib error`, then review the difference.

use test_support::messages;

use super::*;

fn errors() -> String {
    use Error as E;
    let path = || PathBuf::from("adapter/adapter_model.safetensors");
    let missing = |layer: i64| format!("h.{layer}.attn.c_attn.lora_A is missing");
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
            layer: "h.0.attn.c_attn".to_owned(), reason: "expected a matrix".to_owned()
        },
        E::Format { .. } => E::Format { path: path(), reason: "the header is damaged".to_owned() },
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

#[test]
fn messages_match_the_snapshot() {
    let sections = [("Error", errors()), ("SettingProblem", settings())];
    insta::with_settings!({snapshot_path => "../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("error_messages", messages::join(&sections));
    });
}

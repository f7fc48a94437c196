//! The published models, pinned.

use super::source::Source;

/// A model on the hub.
#[derive(Debug)]
pub struct Model {
    pub name: &'static str,
    /// Name of its repository on the hub.
    pub repository: &'static str,
    pub revision: &'static str,
    /// Bytes and SHA-256 of `model.safetensors`, where they are pinned. For the
    /// others the hub says them, for the pinned revision.
    pub weights: Option<(u64, &'static str)>,
    /// `n_embd`, `n_layer`, `n_head` (Radford et al. 2019, table 2).
    sizes: [u64; 3],
}

impl Model {
    /// Its repository at the pinned revision.
    pub fn source(&self) -> Source {
        Source {
            repository: self.repository.to_owned(),
            revision: self.revision.to_owned(),
            directory: self.name.to_owned(),
        }
    }

    /// Values that its `config.json` must have.
    pub fn shape(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ["n_embd", "n_layer", "n_head"].into_iter().zip(self.sizes)
    }
}

/// GPT-2 in its four sizes.
pub const MODELS: [Model; 4] = [
    Model {
        name: "gpt2",
        repository: "openai-community/gpt2",
        revision: "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        weights: Some((
            548_105_171,
            "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
        )),
        sizes: [768, 12, 12],
    },
    Model {
        name: "gpt2-medium",
        repository: "openai-community/gpt2-medium",
        revision: "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
        weights: None,
        sizes: [1024, 24, 16],
    },
    Model {
        name: "gpt2-large",
        repository: "openai-community/gpt2-large",
        revision: "32b71b12589c2f8d625668d2335a01cac3249519",
        weights: None,
        sizes: [1280, 36, 20],
    },
    Model {
        name: "gpt2-xl",
        repository: "openai-community/gpt2-xl",
        revision: "15ea56dee5df4983c59b2538573817e1667135e2",
        weights: None,
        sizes: [1600, 48, 25],
    },
];

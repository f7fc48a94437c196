//! The files of a repository that make a checkpoint.

use anyhow::{Result, bail};
use storage::terminal_safe;

use super::hub::{File, Snapshot};

/// Settings besides `config.json`, and files of tokenizers, each taken if it is there.
const OPTIONAL: [&str; 12] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
];

/// Weights in the order in which they are preferred, as `tensor_files::find` looks for them.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Extensions of files with weights.
const WEIGHT_EXTENSIONS: [&str; 11] =
    ["safetensors", "bin", "h5", "msgpack", "gguf", "ggml", "onnx", "ot", "tflite", "pt", "pth"];

/// Files that are named in a message.
const MOST_NAMED: usize = 3;

/// Files of a checkpoint.
#[derive(Debug)]
pub struct Choice {
    pub config: File,
    pub optional: Vec<File>,
    /// The weights, or the index of their shards.
    pub weights: File,
}

impl Choice {
    /// Chooses the files of a repository.
    pub fn of(repository: &str, snapshot: &Snapshot) -> Result<Self> {
        let find = |name: &str| snapshot.file(name).cloned();
        let Some(config) = find("config.json") else {
            if find("adapter_config.json").is_some() {
                bail!("{repository} is an adapter, not a model: fetch its base model");
            }
            bail!(
                "{repository} has no config.json: choose a checkpoint in the layout of \
                 transformers"
            );
        };
        let Some(weights) = WEIGHTS.iter().find_map(|name| find(name)) else {
            let is_weights = |file: &&File| {
                let extension = file.name.rsplit_once('.').map(|(_, extension)| extension);
                extension.is_some_and(|extension| WEIGHT_EXTENSIONS.contains(&extension))
            };
            let others = snapshot.files.iter().filter(is_weights);
            let others: Vec<&str> = others.map(|file| file.name.as_str()).collect();
            if others.is_empty() {
                bail!(
                    "{repository} has no weights: expected model.safetensors or pytorch_model.bin; \
                     choose another repository"
                );
            }
            bail!(
                "{repository} has its weights in another format: expected model.safetensors or \
                 pytorch_model.bin, got {}; load them in Python and save them with save_pretrained",
                first_of(&others)
            );
        };
        let optional = OPTIONAL.iter().filter_map(|name| find(name)).collect();
        Ok(Self { config, optional, weights })
    }

    /// Returns whether the weights are an index of shards.
    pub fn is_sharded(&self) -> bool {
        self.weights.name.ends_with(".index.json")
    }
}

impl Snapshot {
    pub fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Returns the optional files that the repository may have and the cache lacks.
    pub fn unknown(&self) -> Vec<&'static str> {
        let Some(absent) = &self.absent else { return Vec::new() };
        let is_unknown = |name: &&str| self.file(name).is_none() && !absent.join(name).exists();
        OPTIONAL.into_iter().filter(is_unknown).collect()
    }

    /// Finds the shards of an index.
    pub fn shards(&self, repository: &str, index: &str, names: &[String]) -> Result<Vec<File>> {
        let is_missing = |name: &&String| self.file(name).is_none();
        let missing: Vec<&str> = names.iter().filter(is_missing).map(String::as_str).collect();
        if !missing.is_empty() {
            bail!(
                "{repository} lacks {} of the {} shards of {index} ({}): choose another revision with \
                 {repository}@REVISION",
                missing.len(),
                names.len(),
                first_of(&missing)
            );
        }
        Ok(names.iter().filter_map(|name| self.file(name).cloned()).collect())
    }
}

/// Joins the first names and counts the rest.
fn first_of(names: &[&str]) -> String {
    let shown = names.iter().take(MOST_NAMED).map(|name| terminal_safe(name).to_string());
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Expected;

    fn snapshot(names: &[&str]) -> Snapshot {
        let file = |name: &&str| File { name: (*name).to_owned(), expected: Expected::default() };
        let files = names.iter().map(file).collect();
        Snapshot { commit: "0".repeat(40), files, absent: None }
    }

    #[test]
    fn safetensors_go_before_pickles() {
        for (names, expected) in [
            (&["pytorch_model.bin", "model.safetensors"][..], "model.safetensors"),
            (
                &["pytorch_model.bin", "model.safetensors.index.json"],
                "model.safetensors.index.json",
            ),
            (&["tf_model.h5", "pytorch_model.bin"], "pytorch_model.bin"),
            (&["pytorch_model.bin.index.json"], "pytorch_model.bin.index.json"),
        ] {
            let names = [names, &["config.json", "merges.txt", "README.md"]].concat();
            let choice = Choice::of("me/small", &snapshot(&names)).unwrap();
            assert_eq!(choice.weights.name, expected);
            assert_eq!(choice.optional.len(), 1);
            assert_eq!(choice.is_sharded(), expected.ends_with("json"));
        }
    }

    #[test]
    fn unusable_repositories_are_named_with_the_reason() {
        for (names, words) in [
            (&[][..], "no config.json"),
            (&["adapter_config.json", "adapter_model.safetensors"], "is an adapter"),
            (&["config.json", "README.md"], "has no weights"),
            (
                &["config.json", "tf_model.h5", "flax_model.msgpack"],
                "got tf_model.h5, flax_model.msgpack;",
            ),
            (&["config.json", "a.gguf", "b.gguf", "c.gguf", "d.onnx"], "c.gguf and 1 more;"),
        ] {
            let error = Choice::of("me/small", &snapshot(names)).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("me/small"), "{error}");
        }
    }
}

//! Names of the tensors in PEFT's files.

use crate::error::FormatProblem;

/// Prefix of every name: the wrapper, then the model in it.
pub(super) const ROOT: &str = "base_model.model.";

/// Segments that `torch.compile`, `DistributedDataParallel` and the like put into names.
const WRAPPERS: [&str; 2] = ["_orig_mod", "module"];

/// Owner of a tensor.
#[derive(Debug, PartialEq)]
pub(super) enum Key {
    /// `A` of a module.
    A(String),
    /// `B` of a module.
    B(String),
    /// DoRA's magnitudes of a module.
    Magnitude(String),
    /// A parameter of the model that was trained as a whole, by the name that the
    /// model has for it.
    Whole(String),
    /// A copy of the base model's own parameter.
    Base,
}

/// A tensor's owner, and the name of the adapter if its name has one.
#[derive(Debug, PartialEq)]
pub(super) struct ParsedKey {
    pub key: Key,
    pub adapter: Option<String>,
}

/// Parts of a LoRA layer that a name can have after its module.
const PARTS: [&str; 3] = ["lora_A", "lora_B", "lora_magnitude_vector"];

impl ParsedKey {
    /// Parses a name as `save_pretrained` or `state_dict` writes it, in any version.
    ///
    /// # Errors
    /// [`FormatProblem::ForeignTensor`] for a name that PEFT uses for another method.
    pub fn parse(name: &str) -> Result<Self, FormatProblem> {
        let segments: Vec<&str> =
            name.split('.').filter(|segment| !WRAPPERS.contains(segment)).collect();
        let path = segments.join(".");
        let path = path.strip_prefix(ROOT).unwrap_or(&path);
        let segments: Vec<&str> = path.split('.').collect();
        if segments.iter().any(|segment| matches!(*segment, "original_module" | "base_layer")) {
            return Ok(Self { key: Key::Base, adapter: None });
        }
        let position = |wanted: &[&str]| segments.iter().position(|it| wanted.contains(it));
        if let Some(part) = position(&PARTS) {
            let module = segments[..part].join(".");
            let adapter = match (segments[part], &segments[part + 1..]) {
                ("lora_magnitude_vector", []) | (_, ["weight"]) => None,
                ("lora_magnitude_vector", [adapter]) | (_, [adapter, "weight"]) => {
                    Some((*adapter).to_owned())
                }
                _ => return Err(FormatProblem::ForeignTensor { tensor: name.to_owned() }),
            };
            let key = match segments[part] {
                "lora_A" => Key::A(module),
                "lora_B" => Key::B(module),
                _ => Key::Magnitude(module),
            };
            return Ok(Self { key, adapter });
        }
        if segments.iter().any(|segment| segment.contains("lora_")) {
            return Err(FormatProblem::ForeignTensor { tensor: name.to_owned() });
        }
        // Some versions mark the trained copy of a module, with or without the adapter's name.
        let Some(marker) = position(&["modules_to_save"]) else {
            return Ok(Self { key: Key::Whole(path.to_owned()), adapter: None });
        };
        let (module, rest) = (&segments[..marker], &segments[marker + 1..]);
        let (adapter, rest) = match rest {
            [adapter, rest @ ..] if !rest.is_empty() => (Some((*adapter).to_owned()), rest),
            rest => (None, rest),
        };
        Ok(Self { key: Key::Whole([module, rest].concat().join(".")), adapter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_names_the_same_tensor() {
        let module = "transformer.h.0.attn.c_attn";
        let key = |kind: &str| match kind {
            "lora_A" => Key::A(module.to_owned()),
            "lora_B" => Key::B(module.to_owned()),
            "lora_magnitude_vector" => Key::Magnitude(module.to_owned()),
            _ => Key::Whole("score.weight".to_owned()),
        };
        for prefix in [
            "base_model.model.",
            "",
            "module.base_model.model.",
            "_orig_mod.base_model.model.",
            "base_model.model._orig_mod.",
            "module._orig_mod.base_model.model.",
        ] {
            for (name, kind, adapter) in [
                (format!("{module}.lora_A.weight"), "lora_A", None),
                (format!("{module}.lora_A.default.weight"), "lora_A", Some("default")),
                (format!("{module}.lora_B.weight"), "lora_B", None),
                (format!("{module}.lora_B.spam.weight"), "lora_B", Some("spam")),
                (format!("{module}.lora_magnitude_vector"), "lora_magnitude_vector", None),
                (format!("{module}.lora_magnitude_vector.weight"), "lora_magnitude_vector", None),
                (
                    format!("{module}.lora_magnitude_vector.default.weight"),
                    "lora_magnitude_vector",
                    Some("default"),
                ),
                ("score.weight".to_owned(), "score", None),
                ("score.modules_to_save.weight".to_owned(), "score", None),
                ("score.modules_to_save.default.weight".to_owned(), "score", Some("default")),
            ] {
                let name = format!("{prefix}{name}");
                let expected = ParsedKey { key: key(kind), adapter: adapter.map(str::to_owned) };
                assert_eq!(ParsedKey::parse(&name), Ok(expected), "{name}");
            }
            for copy in ["score.original_module.weight", "transformer.wte.base_layer.weight"] {
                let parsed = ParsedKey::parse(&format!("{prefix}{copy}"));
                assert_eq!(parsed.map(|parsed| parsed.key), Ok(Key::Base), "{prefix}{copy}");
            }
        }
    }

    #[test]
    fn other_methods_are_refused_by_name() {
        for name in ["wte.lora_embedding_A", "h.0.fc.lora_B.bias", "h.0.fc.lora_A.a.b.weight"] {
            let tensor = format!("{ROOT}{name}");
            let problem = ParsedKey::parse(&tensor).unwrap_err();
            assert_eq!(problem, FormatProblem::ForeignTensor { tensor });
        }
    }
}

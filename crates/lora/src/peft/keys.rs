//! Names of the tensors in PEFT's files.

/// Prefix of every name: the wrapper, then the model in it.
pub(super) const ROOT: &str = "base_model.model.";

/// Owner of a tensor.
#[derive(Debug, PartialEq)]
pub(super) enum Key<'a> {
    /// `A` of a module.
    A(&'a str),
    /// `B` of a module.
    B(&'a str),
    /// DoRA's magnitudes of a module.
    Magnitude(&'a str),
    /// A parameter of the model that was trained as a whole, by the name that the
    /// model has for it.
    Whole(String),
}

impl<'a> Key<'a> {
    /// # Errors
    /// One sentence for a name that PEFT does not use, or uses for another method.
    pub fn parse(name: &'a str) -> Result<Self, String> {
        let Some(path) = name.strip_prefix(ROOT) else {
            return Err(format!("{name} does not begin with {ROOT}"));
        };
        if let Some(module) = path.strip_suffix(".lora_A.weight") {
            return Ok(Self::A(module));
        }
        if let Some(module) = path.strip_suffix(".lora_B.weight") {
            return Ok(Self::B(module));
        }
        let path_of_magnitude = path.strip_suffix(".weight").unwrap_or(path);
        if let Some(module) = path_of_magnitude.strip_suffix(".lora_magnitude_vector") {
            return Ok(Self::Magnitude(module));
        }
        if path.contains("lora_") {
            return Err(format!("{name} does not belong to an adapter on a linear layer"));
        }
        // Some versions say that a module is the trained copy of another.
        let whole = path.replace(".modules_to_save.default.", ".");
        Ok(Key::Whole(whole.replace(".modules_to_save.", ".")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_a_tensor_belongs() {
        let parse = |name: &str| {
            let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
            Key::parse(name)
        };
        let module = "transformer.h.0.attn.c_attn";
        for (suffix, expected) in [
            ("lora_A.weight", Key::A(module)),
            ("lora_B.weight", Key::B(module)),
            ("lora_magnitude_vector", Key::Magnitude(module)),
            ("lora_magnitude_vector.weight", Key::Magnitude(module)),
        ] {
            assert_eq!(parse(&format!("{ROOT}{module}.{suffix}")).as_ref(), Ok(&expected));
        }
        for name in ["score.weight", "score.modules_to_save.weight"] {
            let key = parse(&format!("{ROOT}{name}")).map(|key| format!("{key:?}"));
            assert_eq!(key, Ok("Whole(\"score.weight\")".to_owned()));
        }
        assert!(parse("transformer.h.0.lora_A.weight").unwrap_err().contains(ROOT));
        for name in ["wte.lora_embedding_A", "h.0.fc.lora_B.bias"] {
            assert!(parse(&format!("{ROOT}{name}")).unwrap_err().contains(name));
        }
    }
}

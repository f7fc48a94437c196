//! Conversion of PEFT's tensors to an adapter.

use std::collections::BTreeMap;

use tch::Tensor;

use super::{PeftAdapter, keys::Key};
use crate::{
    adapter::state::AdapterState,
    adapter::tensor_names::{a_name, b_name, magnitude_name},
    config::{LoraConfig, Patterns, Scaling, Targets},
    error::{Error, Result},
};

/// Tensors of one module.
#[derive(Default)]
struct Module {
    a: Option<Tensor>,
    b: Option<Tensor>,
    magnitude: Option<Tensor>,
}

impl PeftAdapter {
    /// Converts to an adapter for an [`Injector`](crate::Injector). Modules below `prefix`
    /// (`transformer.` for the models of `transformers` that have GPT-2 below a
    /// head) become layers without it; other modules keep their names, and so do
    /// whole tensors: `score.weight`, `transformer.ln_f.weight`.
    ///
    /// The tensors decide which layers are adapted, whatever `target_modules` and
    /// its like say. `lora_dropout` is taken over.
    ///
    /// # Errors
    /// [`Error::Format`] names the tensors that are missing, too many, or of
    /// another shape than the configuration says.
    pub fn into_state(self, prefix: &str) -> Result<AdapterState> {
        let Self { config, tensors, origin } = self;
        let failed = |reason: String| Error::Format { path: origin.clone(), reason };
        let mut modules: BTreeMap<String, Module> = BTreeMap::new();
        let mut stored = BTreeMap::new();
        for (name, tensor) in tensors {
            let place = match Key::parse(&name).map_err(failed)? {
                Key::A(module) => &mut modules.entry(module.to_owned()).or_default().a,
                Key::B(module) => &mut modules.entry(module.to_owned()).or_default().b,
                Key::Magnitude(module) => {
                    &mut modules.entry(module.to_owned()).or_default().magnitude
                }
                Key::Whole(name) => {
                    stored.insert(name, tensor);
                    continue;
                }
            };
            if place.replace(tensor).is_some() {
                return Err(failed(format!("{name} is stored under two names")));
            }
        }
        if modules.is_empty() {
            return Err(failed("holds no adapter, no lora_A and no lora_B".to_owned()));
        }
        let mut settings = config.settings().map_err(failed)?;
        let (mut ranks, mut alphas) = (Vec::new(), Vec::new());
        for (module, tensors) in modules {
            if stored.contains_key(&format!("{module}.weight")) {
                return Err(failed(format!("{module} has an adapter and a whole weight")));
            }
            let name = module.strip_prefix(prefix).unwrap_or(&module).to_owned();
            let (rank, alpha) = settings.of(&module);
            ranks.push((name.clone(), rank));
            alphas.push((name.clone(), alpha));
            let tensors = tensors.checked(&module, rank, config.use_dora).map_err(failed)?;
            for (tensor_name, tensor) in tensors {
                if stored.insert(tensor_name(&name), tensor).is_some() {
                    return Err(failed(format!("{name} is the name of two modules")));
                }
            }
        }
        let scaling = if config.use_rslora { Scaling::RsLora } else { Scaling::AlphaOverRank };
        let lora = LoraConfig {
            rank: config.r,
            alpha: config.lora_alpha,
            scaling,
            targets: Targets::Names(ranks.iter().map(|(name, _)| name.clone()).collect()),
            rank_pattern: exact_patterns(config.r, &ranks)?,
            alpha_pattern: exact_patterns(config.lora_alpha, &alphas)?,
            dropout: config.lora_dropout,
            dora: config.use_dora,
            ..LoraConfig::default()
        };
        lora.check().map_err(|error| failed(error.to_string()))?;
        Ok(AdapterState::with(lora, stored, origin))
    }
}

/// Function from the name of a layer to the name of its tensor.
type TensorName = fn(&str) -> String;

impl Module {
    /// The tensors, which fit each other and the configuration.
    fn checked(
        self,
        module: &str,
        rank: i64,
        dora: bool,
    ) -> Result<Vec<(TensorName, Tensor)>, String> {
        let missing = |what: &str| format!("{module}.{what} is missing");
        let a = self.a.ok_or_else(|| missing("lora_A.weight"))?;
        let b = self.b.ok_or_else(|| missing("lora_B.weight"))?;
        let (a_size, b_size) = (a.size(), b.size());
        if !matches!(a_size.as_slice(), &[found, _] if found == rank) {
            return Err(format!(
                "{module}.lora_A.weight has shape {a_size:?}, expected [{rank}, in] for the rank \
                 that the configuration gives it"
            ));
        }
        let &[out, columns] = b_size.as_slice() else {
            return Err(format!(
                "{module}.lora_B.weight has shape {b_size:?}, expected [out, {rank}]"
            ));
        };
        if columns != rank {
            return Err(format!(
                "{module}.lora_B.weight has shape {b_size:?}, expected [out, {rank}]"
            ));
        }
        let mut tensors: Vec<(TensorName, Tensor)> = vec![(a_name, a), (b_name, b)];
        match (self.magnitude, dora) {
            (None, false) => {}
            (Some(magnitude), true) if magnitude.size() == [out] => {
                tensors.push((magnitude_name, magnitude));
            }
            (Some(magnitude), true) => {
                return Err(format!(
                    "{module}.lora_magnitude_vector has shape {:?}, expected [{out}]",
                    magnitude.size()
                ));
            }
            (None, true) => return Err(missing("lora_magnitude_vector")),
            (Some(_), false) => {
                return Err(format!(
                    "{module}.lora_magnitude_vector is for DoRA, which the configuration does not \
                     use (use_dora)"
                ));
            }
        }
        Ok(tensors)
    }
}

/// Patterns that give each layer its value: one for each that differs from
/// `default`, and for those that such a one would catch too.
fn exact_patterns<T: Copy + PartialEq>(
    default: T,
    layers: &[(String, T)],
) -> Result<BTreeMap<String, T>> {
    let key = |name: &str| regex::escape(name);
    let different = layers.iter().filter(|(_, value)| *value != default);
    let mut patterns: BTreeMap<String, T> =
        different.map(|(name, value)| (key(name), *value)).collect();
    if patterns.is_empty() {
        return Ok(patterns);
    }
    let mut found = Patterns::new("pattern", &patterns)?;
    for (name, value) in layers {
        if found.find(&[name]).unwrap_or(default) != *value {
            patterns.insert(key(name), *value);
        }
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_catch_no_other_layer() {
        let layers = [("fc", 2), ("h.0.fc", 4), ("h.1.fc", 3)].map(|(n, r)| (n.to_owned(), r));
        let patterns = exact_patterns(4, &layers).unwrap();
        let mut found = Patterns::new("rank_pattern", &patterns).unwrap();
        for (name, rank) in &layers {
            assert_eq!(found.find(&[name]).unwrap_or(4), *rank, "{name}");
        }
        assert_eq!(patterns.len(), 3);
        assert!(exact_patterns(4, &layers[1..2]).unwrap().is_empty());
    }
}

//! PEFT's `adapter_config.json`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{config::Patterns, error::PeftSettingsProblem};

/// Settings that determine the computation or inform a reader. PEFT 0.10 to 0.21 know all
/// of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PeftConfig {
    pub peft_type: String,
    #[serde(default)]
    pub task_type: Option<String>,
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    pub r: i64,
    pub lora_alpha: f64,
    #[serde(default)]
    pub lora_dropout: f64,
    #[serde(default)]
    pub target_modules: Value,
    /// Ranks by pattern; PEFT takes the first that matches.
    #[serde(default)]
    pub rank_pattern: Option<IndexMap<String, i64>>,
    #[serde(default)]
    pub alpha_pattern: Option<IndexMap<String, f64>>,
    #[serde(default)]
    pub use_rslora: bool,
    #[serde(default)]
    pub use_dora: bool,
    /// The base stores its weights as `[in, out]`. Adapters do not.
    #[serde(default)]
    pub fan_in_fan_out: bool,
    #[serde(default = "none")]
    pub bias: String,
    #[serde(default)]
    pub modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    pub init_lora_weights: Value,
    #[serde(default)]
    pub inference_mode: bool,
    /// Layers with an adapter; ignored, because the names of the tensors list them.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub layers_to_transform: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub layers_pattern: Value,
    /// Not to be written: versions before 0.14 do not know it and fail.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub exclude_modules: Value,
}

fn none() -> String {
    "none".to_owned()
}

/// Settings of the file without effect on a trained adapter.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

/// Initializations that leave the base model unchanged; the others change it.
const HARMLESS_STARTS: &[&str] = &["gaussian", "eva", "orthogonal"];

impl PeftConfig {
    /// Reads the file. Returns the unknown settings that were ignored, too: versions to come
    /// may add numbers and names that qualify a method, but what switches a method on is a
    /// `true`, a list or an object.
    ///
    /// # Errors
    /// [`PeftSettingsProblem`] names the setting that is missing, of a wrong type, or
    /// asks for something else than LoRA or DoRA on linear layers.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<String>), PeftSettingsProblem> {
        let invalid =
            |error: serde_json::Error| PeftSettingsProblem::Json { reason: error.to_string() };
        let all: Map<String, Value> = serde_json::from_slice(bytes).map_err(invalid)?;
        match all.get("peft_type") {
            Some(Value::String(kind)) if kind == "LORA" => {}
            Some(kind) => {
                return Err(PeftSettingsProblem::PeftType { peft_type: shortened(kind) });
            }
            None => return Err(PeftSettingsProblem::NoPeftType),
        }
        // Not from `all`, which may have lost the order of the patterns.
        let config: Self = serde_json::from_slice(bytes).map_err(invalid)?;
        let known = serde_json::to_value(&config).unwrap_or_default();
        let mut ignored = Vec::new();
        for (key, value) in &all {
            let known = known.get(key).is_some() || WITHOUT_EFFECT.contains(&key.as_str());
            match value {
                _ if known || is_empty(value) => {}
                Value::String(_) | Value::Number(_) => {
                    ignored.push(format!("{key} = {}", shortened(value)));
                }
                _ => {
                    let (setting, value) = (key.clone(), shortened(value));
                    return Err(PeftSettingsProblem::Unsupported { setting, value });
                }
            }
        }
        config.check()?;
        Ok((config, ignored))
    }

    fn check(&self) -> Result<(), PeftSettingsProblem> {
        if self.bias != "none" {
            return Err(PeftSettingsProblem::Bias { bias: self.bias.clone() });
        }
        match &self.init_lora_weights {
            Value::Null | Value::Bool(_) => {}
            Value::String(start) if HARMLESS_STARTS.contains(&start.to_lowercase().as_str()) => {}
            start => {
                return Err(PeftSettingsProblem::Initialization { init: shortened(start) });
            }
        }
        for (key, rank) in self.rank_pattern.iter().flatten() {
            if *rank < 1 {
                let setting = format!("rank_pattern \"{key}\"");
                return Err(PeftSettingsProblem::Rank { setting, rank: *rank });
            }
        }
        self.settings()?;
        if self.r < 1 {
            return Err(PeftSettingsProblem::Rank { setting: "r".to_owned(), rank: self.r });
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return Err(PeftSettingsProblem::Dropout(self.lora_dropout));
        }
        Ok(())
    }

    /// Rank and α of single modules.
    ///
    /// # Errors
    /// [`PeftSettingsProblem::Pattern`] for a key that is not a regular expression.
    pub fn settings(&self) -> Result<ModuleSettings, PeftSettingsProblem> {
        let ranks = in_order("rank_pattern", self.rank_pattern.as_ref())?;
        let alphas = in_order("alpha_pattern", self.alpha_pattern.as_ref())?;
        Ok(ModuleSettings { r: self.r, lora_alpha: self.lora_alpha, ranks, alphas })
    }
}

fn in_order<T: Copy>(
    setting: &'static str,
    patterns: Option<&IndexMap<String, T>>,
) -> Result<Patterns<T>, PeftSettingsProblem> {
    Patterns::in_order(setting, patterns.into_iter().flatten())
        .map_err(|problem| PeftSettingsProblem::Pattern { setting, problem })
}

/// Rank and α by the name of a module.
#[derive(Debug)]
pub(super) struct ModuleSettings {
    r: i64,
    lora_alpha: f64,
    ranks: Patterns<i64>,
    alphas: Patterns<f64>,
}

impl ModuleSettings {
    /// Returns rank and α of a module from the first key that matches its name, or the
    /// end of its name at a dot.
    pub fn of(&mut self, module: &str) -> (i64, f64) {
        let rank = self.ranks.find(&[module]).unwrap_or(self.r);
        (rank, self.alphas.find(&[module]).unwrap_or(self.lora_alpha))
    }
}

/// Returns whether a setting is equivalent to a missing one.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// A value as it stands in the file, or its beginning.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(more: Value) -> Result<PeftConfig, PeftSettingsProblem> {
        let mut config = json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["c_attn"],
            "bias": "none", "init_lora_weights": true, "auto_mapping": null,
            "peft_version": "0.21.0", "use_qalora": false, "qalora_group_size": 16,
            "trainable_token_indices": null, "rank_pattern": {}, "inference_mode": true,
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        PeftConfig::parse(config.to_string().as_bytes()).map(|(config, _)| config)
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        use PeftSettingsProblem as P;

        assert_eq!(parse(json!({})).unwrap().r, 4);
        let unsupported = |setting: &str, value: &str| P::Unsupported {
            setting: setting.to_owned(),
            value: value.to_owned(),
        };
        let initialization = |init: &str| P::Initialization { init: init.to_owned() };
        for (more, expected) in [
            (json!({"peft_type": "ADALORA"}), P::PeftType { peft_type: "\"ADALORA\"".to_owned() }),
            (json!({"bias": "all"}), P::Bias { bias: "all".to_owned() }),
            (json!({"lora_bias": true}), unsupported("lora_bias", "true")),
            (
                json!({"trainable_token_indices": [1, 2]}),
                unsupported("trainable_token_indices", "[1,2]"),
            ),
            (json!({"megatron_config": {"a": 1}}), unsupported("megatron_config", "{\"a\":1}")),
            (
                json!({"target_parameters": ["a.weight"]}),
                unsupported("target_parameters", "[\"a.weight\"]"),
            ),
            (
                json!({"alora_invocation_tokens": [3]}),
                unsupported("alora_invocation_tokens", "[3]"),
            ),
            (json!({"layer_replication": [[0, 1]]}), unsupported("layer_replication", "[[0,1]]")),
            (json!({"use_qalora": true}), unsupported("use_qalora", "true")),
            (json!({"use_something_new": true}), unsupported("use_something_new", "true")),
            (json!({"something_new": [3]}), unsupported("something_new", "[3]")),
            (json!({"kasa_config": {"beta": 1.0}}), unsupported("kasa_config", "{\"beta\":1.0}")),
            (json!({"init_lora_weights": "pissa"}), initialization("\"pissa\"")),
            (json!({"init_lora_weights": "loftq"}), initialization("\"loftq\"")),
            (json!({"r": 0}), P::Rank { setting: "r".to_owned(), rank: 0 }),
            (json!({"lora_dropout": 1.5}), P::Dropout(1.5)),
        ] {
            assert_eq!(parse(more).unwrap_err(), expected);
        }
        for (more, expected) in [
            (json!({"rank_pattern": {"(": 3}}), "rank_pattern"),
            (json!({"alpha_pattern": {"[": 3}}), "alpha_pattern"),
        ] {
            let problem = parse(more).unwrap_err();
            assert!(matches!(problem, P::Pattern { setting, .. } if setting == expected));
        }
        assert!(matches!(parse(json!({"lora_alpha": "x"})).unwrap_err(), P::Json { .. }));
        assert!(matches!(PeftConfig::parse(b"{").unwrap_err(), P::Json { .. }));
        assert_eq!(PeftConfig::parse(b"{}").unwrap_err(), P::NoPeftType);
    }

    #[test]
    fn unknown_numbers_and_names_are_ignored_and_listed() {
        let text = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "group_size": 16,
            "flavor": "plain", "use_other": false, "other_config": {}}"#;
        let (_, ignored) = PeftConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(ignored, ["flavor = \"plain\"", "group_size = 16"]);
    }

    #[test]
    fn settings_without_effect_are_accepted() {
        for more in [
            json!({"init_lora_weights": "gaussian"}),
            json!({"init_lora_weights": "eva", "eva_config": {"rho": 2.0}}),
            json!({"lora_bias": false, "something_new": null, "other": {}, "more": []}),
            json!({"layers_to_transform": [0, 1], "layers_pattern": "h"}),
            json!({"exclude_modules": ["c_fc"], "target_modules": "all-linear"}),
        ] {
            assert!(parse(more.clone()).is_ok(), "{more}");
        }
    }

    #[test]
    fn the_first_pattern_that_matches_decides() {
        let text = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8,
            "rank_pattern": {"z.fc": 1, "fc": 2, ".*": 3}, "alpha_pattern": {"^h.0.fc": 5}}"#;
        let mut settings = PeftConfig::parse(text.as_bytes()).unwrap().0.settings().unwrap();
        assert_eq!(settings.of("h.z.fc"), (1, 8.0));
        assert_eq!(settings.of("h.0.fc"), (2, 5.0));
        assert_eq!(settings.of("other"), (3, 8.0));
    }
}

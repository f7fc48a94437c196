//! What is adapted, and how strongly.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The factor `s` on the low-rank product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// `s = α`, as in appendix E of *Build a Large Language Model (From Scratch)*.
    Alpha,
    /// `s = α / rank` (Hu et al. 2021, section 4.1), as Hugging Face PEFT has it.
    #[default]
    AlphaOverRank,
    /// `s = α / √rank` (Kalajdzievski 2023, *A Rank Stabilization Scaling Factor
    /// for Fine-Tuning with LoRA*).
    #[serde(rename = "rslora")]
    RsLora,
}

impl Scaling {
    /// The factor for a rank and an α.
    pub fn factor(self, rank: i64, alpha: f64) -> f64 {
        match self {
            Self::Alpha => alpha,
            Self::AlphaOverRank => alpha / rank as f64,
            Self::RsLora => alpha / (rank as f64).sqrt(),
        }
    }
}

/// The linear layers that get an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "TargetNames", into = "TargetNames")]
pub enum Targets {
    /// Every linear layer. One that computes several projections at once gets
    /// an adapter for each, as if they were separate layers.
    #[default]
    AllLinear,
    /// Layers by name: a whole name (`h.0.attn.c_attn`) or the end of one at a
    /// dot (`c_attn`, `attn.c_proj`). The parts of a layer have names too
    /// (`c_attn.q`, or just `q`).
    Names(Vec<String>),
}

/// As targets stand in a file: `"all-linear"` or a list.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TargetNames {
    One(String),
    Many(Vec<String>),
}

const ALL_LINEAR: &str = "all-linear";

impl From<TargetNames> for Targets {
    fn from(names: TargetNames) -> Self {
        match names {
            TargetNames::One(name) => [name].into_iter().collect(),
            TargetNames::Many(names) => names.into_iter().collect(),
        }
    }
}

impl From<Targets> for TargetNames {
    fn from(targets: Targets) -> Self {
        match targets {
            Targets::AllLinear => Self::One(ALL_LINEAR.to_owned()),
            Targets::Names(names) => Self::Many(names),
        }
    }
}

/// `all-linear` among the names stands for every linear layer.
impl FromIterator<String> for Targets {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let names: Vec<String> = names.into_iter().collect();
        if names.iter().any(|name| name == ALL_LINEAR) {
            Self::AllLinear
        } else {
            Self::Names(names)
        }
    }
}

/// Whether a target is `name` or its end at a dot.
pub(crate) fn names(target: &str, name: &str) -> bool {
    name.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Ranks above this are refused before memory is asked for.
const MAX_RANK: i64 = 1 << 16;

/// What an adapter is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// Inner dimension of the low-rank product.
    pub rank: i64,
    /// α, the strength of the product.
    pub alpha: f64,
    /// How α becomes the factor on the product.
    pub scaling: Scaling,
    /// Which layers are adapted.
    #[serde(rename = "target_modules")]
    pub targets: Targets,
}

impl Default for LoraConfig {
    /// Rank 16, α 16, α / rank, every linear layer.
    fn default() -> Self {
        Self { rank: 16, alpha: 16.0, scaling: Scaling::default(), targets: Targets::AllLinear }
    }
}

impl LoraConfig {
    /// The factor on the low-rank product.
    pub fn factor(&self) -> f64 {
        self.scaling.factor(self.rank, self.alpha)
    }

    /// Refuses settings without meaning.
    ///
    /// # Errors
    /// [`Error::Config`] for a rank below 1 or out of all proportion, an α that
    /// is not a number, or no targets.
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_RANK).contains(&self.rank) {
            return Err(Error::Config(format!("rank is {}; expected 1 to {MAX_RANK}", self.rank)));
        }
        if !self.alpha.is_finite() {
            return Err(Error::Config(format!("alpha is {}; expected a number", self.alpha)));
        }
        if self.targets == Targets::Names(Vec::new()) {
            return Err(Error::Config("no target modules are given".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors() {
        assert_eq!(Scaling::Alpha.factor(4, 8.0), 8.0);
        assert_eq!(Scaling::AlphaOverRank.factor(4, 8.0), 2.0);
        assert_eq!(Scaling::RsLora.factor(4, 8.0), 4.0);
    }

    #[test]
    fn a_target_is_a_name_or_its_end_at_a_dot() {
        assert!(names("c_proj", "h.0.attn.c_proj"));
        assert!(names("attn.c_proj", "h.0.attn.c_proj"));
        assert!(names("score", "score"));
        assert!(!names("proj", "h.0.attn.c_proj"));
        assert!(!names("mlp.c_proj", "h.0.attn.c_proj"));
    }

    #[test]
    fn a_config_survives_json() {
        for targets in [Targets::AllLinear, Targets::Names(vec!["c_attn".to_owned()])] {
            let config = LoraConfig { targets, ..LoraConfig::default() };
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<LoraConfig>(&text).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        let ok = LoraConfig::default();
        assert!(ok.check().is_ok());
        assert!(LoraConfig { rank: 0, ..ok.clone() }.check().is_err());
        assert!(LoraConfig { rank: i64::MAX, ..ok.clone() }.check().is_err());
        assert!(LoraConfig { alpha: f64::NAN, ..ok.clone() }.check().is_err());
        assert!(LoraConfig { targets: Targets::Names(vec![]), ..ok }.check().is_err());
    }
}

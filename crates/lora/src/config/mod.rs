//! Settings of an adapter.

mod pattern;
mod scaling;
mod targets;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, SettingProblem};

pub(crate) use self::{
    pattern::{Patterns, whole},
    targets::names,
};
pub use self::{scaling::Scaling, targets::Targets};

/// Ranks above this are refused before memory is asked for.
const MAX_RANK: i64 = 1 << 16;

/// Initialization of new `A`s and `B`s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// `A` uniform as PyTorch's linear layers, `B` zero (Hu et al. 2021).
    #[default]
    Kaiming,
    /// The principal singular vectors of the weight, whose residual stays frozen
    /// (Meng et al. 2024, *PiSSA: Principal Singular Values and Singular Vectors
    /// Adaptation of Large Language Models*). It is saved as a plain adapter of twice
    /// the rank for the original weight.
    Pissa,
}

/// Settings of an adapter.
///
/// ```
/// use lora::LoraConfig;
///
/// let config = LoraConfig::new(8).alpha(16.0).targets(["fc1", "fc2"]).dropout(0.1);
/// assert_eq!(config.factor(), 2.0); // α / rank
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// Inner dimension of the low-rank product.
    pub rank: i64,
    /// α, the strength of the low-rank product.
    pub alpha: f64,
    /// Formula for the factor on the product.
    pub scaling: Scaling,
    /// Layers that get an adapter.
    #[serde(rename = "target_modules")]
    pub targets: Targets,
    /// Ranks of layers that differ from [`LoraConfig::rank`]. A key is a regular
    /// expression for a layer's name, or for the end of one at a dot (`(.*\.)?(key)`,
    /// as in Hugging Face PEFT); it also holds for the slices of the layer. Where
    /// several match, one that matches the slice goes before one that matches the
    /// layer, then the longest key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, i64>,
    /// The same for [`LoraConfig::alpha`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Dropout probability on the adapter input.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropout: f64,
    /// Trains the norm of each row of the weight apart from its direction (Liu
    /// et al. 2024, *DoRA: Weight-Decomposed Low-Rank Adaptation*).
    #[serde(default, skip_serializing_if = "is_false")]
    pub dora: bool,
    /// Initialization of new adapters.
    #[serde(default, skip_serializing_if = "is_default")]
    pub init: Init,
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_default(init: &Init) -> bool {
    *init == Init::default()
}

impl Default for LoraConfig {
    /// [`LoraConfig::new`] with rank 16.
    fn default() -> Self {
        Self::new(16)
    }
}

impl LoraConfig {
    /// Plain LoRA of a rank on every linear layer, with α equal to the rank and the
    /// factor α / rank.
    pub fn new(rank: i64) -> Self {
        Self {
            rank,
            alpha: rank as f64,
            scaling: Scaling::default(),
            targets: Targets::AllLinear,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            dropout: 0.0,
            dora: false,
            init: Init::default(),
        }
    }

    /// Sets α.
    #[must_use]
    pub fn alpha(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    /// Sets the names of the layers that get an adapter; `all-linear` stands for every
    /// linear layer.
    #[must_use]
    pub fn targets(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { targets: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets the dropout probability on the adapter input.
    #[must_use]
    pub fn dropout(self, dropout: f64) -> Self {
        Self { dropout, ..self }
    }

    /// Factor on the low-rank product of layers that no pattern matches.
    pub fn factor(&self) -> f64 {
        self.scaling.factor(self.rank, self.alpha)
    }

    /// Refuses invalid settings.
    ///
    /// # Errors
    /// [`Error::Setting`] for a rank below 1 or above 65,536, an α that is NaN or
    /// infinite, no targets, a pattern that is not a regular expression, a
    /// dropout that is not a probability below one, and PiSSA with a factor that
    /// is not above zero.
    pub fn check(&self) -> Result<()> {
        let invalid = |setting: String, problem| Err(Error::Setting { setting, problem });
        let entry = |setting: &str, key: &str| format!("{setting} \"{key}\"");
        let ranks = self.rank_pattern.iter().map(|(key, rank)| (entry("rank_pattern", key), rank));
        for (setting, &rank) in [("rank".to_owned(), &self.rank)].into_iter().chain(ranks) {
            if !(1..=MAX_RANK).contains(&rank) {
                return invalid(setting, SettingProblem::Rank { rank, most: MAX_RANK });
            }
        }
        let alphas = self.alpha_pattern.iter();
        let alphas = alphas.map(|(key, alpha)| (entry("alpha_pattern", key), alpha));
        for (setting, &alpha) in [("alpha".to_owned(), &self.alpha)].into_iter().chain(alphas) {
            if !(alpha as f32).is_finite() {
                return invalid(setting, SettingProblem::Alpha(alpha));
            }
            if self.init == Init::Pissa && alpha <= 0.0 {
                return invalid(setting, SettingProblem::PissaAlpha(alpha));
            }
        }
        Patterns::new("rank_pattern", &self.rank_pattern)?;
        Patterns::new("alpha_pattern", &self.alpha_pattern)?;
        if !(0.0..1.0).contains(&self.dropout) {
            return invalid("dropout".to_owned(), SettingProblem::Dropout(self.dropout));
        }
        let no_target = || invalid("target_modules".to_owned(), SettingProblem::NoTarget);
        match &self.targets {
            Targets::Names(names) if names.is_empty() => no_target(),
            Targets::Pattern(pattern) if pattern.is_empty() => no_target(),
            Targets::Pattern(pattern) => match whole(pattern) {
                Ok(_) => Ok(()),
                Err(problem) => invalid("target_modules".to_owned(), problem),
            },
            Targets::Names(_) | Targets::AllLinear => Ok(()),
        }
    }

    /// Settings that the adapter is saved with. One of [`Init::Pissa`] becomes a plain one of
    /// twice the rank with the same factor.
    pub fn plain(&self) -> Self {
        let mut plain = Self { init: Init::Kaiming, ..self.clone() };
        if self.init == Init::Pissa {
            let factor = self.scaling.alpha_for_twice_the_rank();
            plain.rank *= 2;
            plain.rank_pattern.values_mut().for_each(|rank| *rank *= 2);
            plain.alpha *= factor;
            plain.alpha_pattern.values_mut().for_each(|alpha| *alpha *= factor);
        }
        plain
    }
}

/// The settings of single layers.
#[derive(Debug)]
pub(crate) struct LayerSettings {
    rank: i64,
    alpha: f64,
    scaling: Scaling,
    ranks: Patterns<i64>,
    alphas: Patterns<f64>,
}

impl LayerSettings {
    pub fn new(config: &LoraConfig) -> Result<Self> {
        Ok(Self {
            rank: config.rank,
            alpha: config.alpha,
            scaling: config.scaling,
            ranks: Patterns::new("rank_pattern", &config.rank_pattern)?,
            alphas: Patterns::new("alpha_pattern", &config.alpha_pattern)?,
        })
    }

    /// Rank and factor for a slice or layer with these names, the slice's own name
    /// first.
    pub fn of(&mut self, names: &[&str]) -> (i64, f64) {
        let (rank, alpha) = self.rank_and_alpha(names);
        (rank, self.scaling.factor(rank, alpha))
    }

    /// Rank and α, as [`LayerSettings::of`].
    pub fn rank_and_alpha(&mut self, names: &[&str]) -> (i64, f64) {
        let rank = self.ranks.find(names).unwrap_or(self.rank);
        (rank, self.alphas.find(names).unwrap_or(self.alpha))
    }

    /// Refuses patterns that matched nothing: most likely a name is misspelled.
    pub fn all_used(&self) -> Result<()> {
        self.ranks.all_used()?;
        self.alphas.all_used()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_round_trips_through_json() {
        let plain = LoraConfig::default();
        let all = LoraConfig {
            rank_pattern: [("c_attn".to_owned(), 4)].into(),
            alpha_pattern: [(r"h\.0\..*".to_owned(), 3.5)].into(),
            dropout: 0.1,
            dora: true,
            init: Init::Pissa,
            ..plain.clone()
        };
        let names = Targets::Names(vec!["c_attn".to_owned()]);
        let pattern = Targets::Pattern(r"h\.\d+\.attn".to_owned());
        for config in [
            LoraConfig { targets: names, ..plain.clone() },
            LoraConfig { targets: pattern, ..all.clone() },
            plain,
            all,
        ] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<LoraConfig>(&text).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn defaults_are_not_serialized() {
        let text = serde_json::to_string(&LoraConfig::default()).unwrap();
        let expected = concat!(
            r#"{"rank":16,"alpha":16.0,"scaling":"alpha-over-rank","#,
            r#""target_modules":"all-linear"}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn invalid_settings_are_refused() {
        let ok = LoraConfig::default();
        assert!(ok.check().is_ok());
        let rank_pattern = |key: &str, rank| [(key.to_owned(), rank)].into();
        let alpha_pattern = |alpha| [("fc".to_owned(), alpha)].into();
        let no_names = Targets::Names(vec![]);
        let pattern = |pattern: &str| Targets::Pattern(pattern.to_owned());
        let refused = [
            (LoraConfig { rank: 0, ..ok.clone() }, "rank", "Rank"),
            (LoraConfig { rank: i64::MAX, ..ok.clone() }, "rank", "Rank"),
            (LoraConfig { alpha: f64::NAN, ..ok.clone() }, "alpha", "Alpha"),
            (LoraConfig { targets: no_names, ..ok.clone() }, "target_modules", "NoTarget"),
            (LoraConfig { targets: pattern(""), ..ok.clone() }, "target_modules", "NoTarget"),
            (LoraConfig { targets: pattern("("), ..ok.clone() }, "target_modules", "Pattern"),
            (
                LoraConfig { rank_pattern: rank_pattern("fc", 0), ..ok.clone() },
                "rank_pattern \"fc\"",
                "Rank",
            ),
            (
                LoraConfig { rank_pattern: rank_pattern("[", 1), ..ok.clone() },
                "rank_pattern",
                "Pattern",
            ),
            (
                LoraConfig { alpha_pattern: alpha_pattern(f64::INFINITY), ..ok.clone() },
                "alpha_pattern \"fc\"",
                "Alpha",
            ),
            (LoraConfig { dropout: 1.0, ..ok.clone() }, "dropout", "Dropout"),
            (LoraConfig { dropout: -0.1, ..ok.clone() }, "dropout", "Dropout"),
            (LoraConfig { dropout: f64::NAN, ..ok.clone() }, "dropout", "Dropout"),
            (LoraConfig { alpha: 0.0, init: Init::Pissa, ..ok.clone() }, "alpha", "PissaAlpha"),
        ];
        for (config, expected, variant) in refused {
            let Err(Error::Setting { setting, problem }) = config.check() else {
                panic!("{config:?} is accepted");
            };
            assert_eq!(setting, expected);
            assert!(format!("{problem:?}").starts_with(variant), "{problem:?}");
        }
        assert!(LoraConfig { alpha: 0.0, ..ok }.check().is_ok());
    }

    #[test]
    fn patterns_override_rank_and_alpha() {
        let config = LoraConfig {
            rank: 4,
            alpha: 8.0,
            scaling: Scaling::AlphaOverRank,
            rank_pattern: [("attn".to_owned(), 2), (r"attn\.k".to_owned(), 16)].into(),
            alpha_pattern: [(r"h\.1\..*".to_owned(), 32.0)].into(),
            ..LoraConfig::default()
        };
        let mut settings = LayerSettings::new(&config).unwrap();
        assert_eq!(settings.of(&["h.0.fc"]), (4, 2.0));
        assert_eq!(settings.of(&["h.0.attn.q", "h.0.attn"]), (2, 4.0));
        assert_eq!(settings.of(&["h.1.attn.k", "h.1.attn"]), (16, 2.0));
        assert!(settings.all_used().is_ok());
        let mut plain = LoraConfig { init: Init::Pissa, ..config }.plain();
        assert_eq!((plain.rank, plain.rank_pattern["attn"], plain.init), (8, 4, Init::Kaiming));
        let mut settings = LayerSettings::new(&plain).unwrap();
        assert_eq!(settings.of(&["h.1.attn.k", "h.1.attn"]), (32, 2.0));
        plain.init = Init::Kaiming;
        assert_eq!(plain.plain(), plain);
    }
}

//! Class weights of the training loss.

use std::{collections::BTreeMap, fmt, str::FromStr};

use dataset::LabelIndex;
use serde::{Deserialize, Serialize};

use crate::{config::error::SettingsError, error::Result};

/// Class weights of the training loss. Losses of evaluations are not weighted.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ClassWeights {
    /// Equal weights for all examples.
    #[default]
    None,
    /// Inverse frequency: with `N` examples and `K` classes, an example of a class of `n`
    /// examples has weight `N / (K n)` (King and Zeng 2001, *Logistic Regression in Rare
    /// Events Data*).
    Balanced,
    /// By label; other labels have weight 1.
    Given(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// Returns a weight per class, given the labels in class order and the training examples
    /// of each; `None` for equal weights.
    ///
    /// # Errors
    /// [`SettingsError::UnknownLabel`], [`SettingsError::RepeatedLabel`],
    /// [`SettingsError::ClassWeight`].
    pub fn resolve(&self, labels: &[String], examples: &[usize]) -> Result<Option<Vec<f64>>> {
        match self {
            Self::None => Ok(None),
            Self::Balanced => {
                let all = examples.iter().sum::<usize>() as f64;
                let classes = examples.len() as f64;
                // A class without training examples gets weight 0.
                let weight = |&count: &usize| {
                    if count == 0 { 0.0 } else { all / (classes * count as f64) }
                };
                Ok(Some(examples.iter().map(weight).collect()))
            }
            Self::Given(given) => {
                let classes = LabelIndex::new(labels);
                let mut weights = vec![None; labels.len()];
                for (label, weight) in given {
                    let (label, weight) = (label.clone(), *weight);
                    let Some(class) = classes.class(&label) else {
                        let labels = labels.to_vec();
                        return Err(SettingsError::UnknownLabel { label, labels }.into());
                    };
                    if weights[class].replace(weight).is_some() {
                        return Err(SettingsError::RepeatedLabel { label }.into());
                    }
                    if !weight.is_finite() || weight <= 0.0 {
                        return Err(SettingsError::ClassWeight { label, weight }.into());
                    }
                }
                Ok(Some(weights.into_iter().map(|weight| weight.unwrap_or(1.0)).collect()))
            }
        }
    }
}

/// `none`, `balanced`, or `LABEL=WEIGHT,…`.
impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "none" => return Ok(Self::None),
            "balanced" => return Ok(Self::Balanced),
            _ => {}
        }
        let pair = |pair: &str| -> std::result::Result<(String, f64), String> {
            let (label, weight) = pair
                .trim()
                .rsplit_once('=')
                .ok_or_else(|| format!("\"{pair}\" is not LABEL=WEIGHT, none or balanced"))?;
            let weight = weight
                .parse()
                .map_err(|_| format!("\"{weight}\" in \"{pair}\" is not a number"))?;
            Ok((label.to_owned(), weight))
        };
        let mut given = BTreeMap::new();
        for one in text.split(',') {
            let (label, weight) = pair(one)?;
            if given.insert(label, weight).is_some() {
                return Err(format!("the label of \"{one}\" is repeated"));
            }
        }
        Ok(Self::Given(given))
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Balanced => f.write_str("balanced"),
            Self::Given(given) => {
                let pairs: Vec<String> =
                    given.iter().map(|(label, weight)| format!("{label}={weight}")).collect();
                f.write_str(&pairs.join(","))
            }
        }
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn weights_are_read_and_resolved() {
        let labels = ["ham".to_owned(), "spam".to_owned()];
        let resolve = |text: &str| {
            let weights: ClassWeights = text.parse().unwrap();
            assert_eq!(weights.to_string(), text);
            weights.resolve(&labels, &[300, 100])
        };
        assert_eq!(resolve("none").unwrap(), None);
        // sklearn.utils.class_weight.compute_class_weight("balanced", …)
        assert_eq!(resolve("balanced").unwrap(), Some(vec![400.0 / 600.0, 2.0]));
        assert_eq!(resolve("spam=2.5").unwrap(), Some(vec![1.0, 2.5]));
        // Labels are normalized like the labels of the data.
        assert_eq!(resolve("spam =2.5").unwrap(), Some(vec![1.0, 2.5]));
        let refused = |text: &str| match resolve(text).unwrap_err() {
            Error::Settings(error) => error,
            other => panic!("{other}"),
        };
        let repeated = refused("spam=1,spam =2");
        assert!(matches!(repeated, SettingsError::RepeatedLabel { .. }), "{repeated}");
        let unknown = SettingsError::UnknownLabel { label: "eggs".into(), labels: labels.to_vec() };
        assert_eq!(refused("eggs=2"), unknown);
        let negative = SettingsError::ClassWeight { label: "spam".into(), weight: -1.0 };
        assert_eq!(refused("spam=-1"), negative);
        assert!("spam".parse::<ClassWeights>().unwrap_err().contains("LABEL=WEIGHT"));
        assert!("spam=x".parse::<ClassWeights>().is_err());
        assert!("spam=1, spam=2".parse::<ClassWeights>().unwrap_err().contains("repeated"));
    }
}

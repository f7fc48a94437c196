//! How much each class counts in the loss.

use std::{collections::BTreeMap, fmt, str::FromStr};

use dataset::LabelIndex;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    label_list::quoted,
};

/// Weights of the classes in the loss of training. Losses of evaluations are not
/// weighted.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ClassWeights {
    /// Every row counts the same.
    #[default]
    None,
    /// Every class counts the same: a row of a class of `n` of `N` rows and `K`
    /// classes counts `N / (K n)` (King and Zeng 2001, *Logistic Regression in Rare
    /// Events Data*).
    Balanced,
    /// By label; labels that are not named count 1.
    Given(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// A weight for each class, from the labels in their order and the rows that
    /// each has in the training part; `None` where every row counts the same.
    ///
    /// # Errors
    /// [`Error::Config`] for a label that there is not, or a weight that is not a
    /// positive number.
    pub fn resolve(&self, labels: &[String], rows: &[usize]) -> Result<Option<Vec<f64>>> {
        match self {
            Self::None => Ok(None),
            Self::Balanced => {
                let all = rows.iter().sum::<usize>() as f64;
                let classes = rows.len() as f64;
                // A class that training has no row of weighs nothing in it.
                let weight =
                    |&rows: &usize| if rows == 0 { 0.0 } else { all / (classes * rows as f64) };
                Ok(Some(rows.iter().map(weight).collect()))
            }
            Self::Given(given) => {
                let classes = LabelIndex::new(labels);
                let mut weights = vec![None; labels.len()];
                for (label, weight) in given {
                    let Some(class) = classes.class(label) else {
                        return Err(Error::Config(format!(
                            "class-weights names the label {label:?}, but the data has {}",
                            quoted(labels)
                        )));
                    };
                    if weights[class].replace(*weight).is_some() {
                        return Err(Error::Config(format!(
                            "class-weights names the label {label:?} twice"
                        )));
                    }
                    if !weight.is_finite() || *weight <= 0.0 {
                        return Err(Error::Config(format!(
                            "class-weights gives {label:?} the weight {weight}; expected a \
                             positive number"
                        )));
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
                return Err(format!("the label of \"{one}\" is there twice"));
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
        assert!(resolve("spam=1,spam =2").unwrap_err().to_string().contains("twice"));
        assert!(resolve("eggs=2").unwrap_err().to_string().contains("\"ham\", \"spam\""));
        assert!(resolve("spam=-1").unwrap_err().to_string().contains("positive"));
        assert!("spam".parse::<ClassWeights>().unwrap_err().contains("LABEL=WEIGHT"));
        assert!("spam=x".parse::<ClassWeights>().is_err());
        assert!("spam=1, spam=2".parse::<ClassWeights>().unwrap_err().contains("twice"));
    }
}

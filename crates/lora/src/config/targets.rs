//! Target layers of an adapter.

use serde::{Deserialize, Serialize};

/// The linear layers that get an adapter.
///
/// In a file: `"all-linear"`, a list of names, or `{"pattern": "…"}`. A lone
/// string that is not `all-linear` is a name, whatever signs it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "TargetNames", into = "TargetNames")]
pub enum Targets {
    /// Every linear layer. One that computes several projections at once gets
    /// an adapter for each, as if they were separate layers.
    #[default]
    AllLinear,
    /// Layers by name: a whole name (`h.0.attn.c_attn`) or the end of one at a
    /// dot (`c_attn`, `attn.c_proj`). The slices of a layer have names too
    /// (`c_attn.q`, or just `q`).
    Names(Vec<String>),
    /// Layers, or slices of them, whose whole name matches a regular expression:
    /// `h\.[01]\..*c_attn` for example. It has the syntax of the `regex` crate,
    /// Python's without look-around and back-references.
    Pattern(String),
}

/// Targets as written in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TargetNames {
    One(String),
    Many(Vec<String>),
    Pattern { pattern: String },
}

const ALL_LINEAR: &str = "all-linear";

impl From<TargetNames> for Targets {
    fn from(names: TargetNames) -> Self {
        match names {
            TargetNames::One(name) => [name].into_iter().collect(),
            TargetNames::Many(names) => names.into_iter().collect(),
            TargetNames::Pattern { pattern } => Self::Pattern(pattern),
        }
    }
}

impl From<Targets> for TargetNames {
    fn from(targets: Targets) -> Self {
        match targets {
            Targets::AllLinear => Self::One(ALL_LINEAR.to_owned()),
            Targets::Names(names) => Self::Many(names),
            Targets::Pattern(pattern) => Self::Pattern { pattern },
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

/// Returns whether a target is `name` or its end at a dot.
pub(crate) fn names(target: &str, name: &str) -> bool {
    name.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_or_its_end_at_a_dot() {
        assert!(names("c_proj", "h.0.attn.c_proj"));
        assert!(names("attn.c_proj", "h.0.attn.c_proj"));
        assert!(names("score", "score"));
        assert!(!names("proj", "h.0.attn.c_proj"));
        assert!(!names("mlp.c_proj", "h.0.attn.c_proj"));
    }

    #[test]
    fn targets_are_read_as_names_or_a_pattern() {
        let read = |text: &str| serde_json::from_str::<Targets>(text).unwrap();
        assert_eq!(read(r#""all-linear""#), Targets::AllLinear);
        assert_eq!(read(r#""c_attn""#), Targets::Names(vec!["c_attn".to_owned()]));
        assert_eq!(read(r#"["q", "v"]"#), Targets::Names(vec!["q".to_owned(), "v".to_owned()]));
        assert_eq!(read(r#"{"pattern": "h.*"}"#), Targets::Pattern("h.*".to_owned()));
        assert!(serde_json::from_str::<Targets>("3").is_err());
    }
}

//! Names, patterns and pairs as options spell them.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use lora::Targets;

use crate::error::{Error, Result};

/// What a name of a target begins with that is a pattern.
const PATTERN: &str = "re:";

/// Targets from names, or from one pattern.
pub(crate) fn targets(names: &[String]) -> Result<Targets> {
    match names {
        // A pattern may hold commas, which cut options.
        [first, ..] if first.trim().starts_with(PATTERN) => {
            let pattern = names.join(",");
            Ok(Targets::Pattern(pattern.trim()[PATTERN.len()..].to_owned()))
        }
        names if names.iter().any(|name| name.trim().starts_with(PATTERN)) => {
            Err(Error::Config("target-modules takes names or one pattern (re:…)".to_owned()))
        }
        names => Ok(names.iter().map(|name| name.trim().to_owned()).collect()),
    }
}

/// The names that [`targets`] makes the same of.
pub(crate) fn names_of(targets: &Targets) -> Vec<String> {
    match targets {
        Targets::AllLinear => vec!["all-linear".to_owned()],
        Targets::Names(names) => names.clone(),
        Targets::Pattern(pattern) => vec![format!("{PATTERN}{pattern}")],
    }
}

/// `NAME=VALUE` pairs.
pub(crate) fn pattern<T: FromStr>(option: &str, pairs: &[String]) -> Result<BTreeMap<String, T>> {
    let pair = |pair: &String| {
        let parts = pair.rsplit_once('=');
        let parsed =
            parts.and_then(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)));
        let (name, value) = parsed.ok_or_else(|| {
            Error::Config(format!(
                "{option} has {pair:?}; expected NAME=VALUE, c_attn=8 for example"
            ))
        })?;
        Ok((name.to_owned(), value))
    };
    // Commas cut options, and a pattern may hold some.
    let mut whole: Vec<String> = Vec::new();
    for piece in pairs {
        match whole.last_mut().filter(|last| !last.contains('=')) {
            Some(last) => *last = format!("{last},{piece}"),
            None => whole.push(piece.clone()),
        }
    }
    whole.iter().map(pair).collect()
}

pub(crate) fn pairs<T: Display>(pattern: &BTreeMap<String, T>) -> Vec<String> {
    pattern.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_hold_commas() {
        let pieces: Vec<String> = r"h\.\d{1,2}\..*=4,c_fc=2".split(',').map(String::from).collect();
        let read: BTreeMap<String, i64> = pattern("rank-pattern", &pieces).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[r"h\.\d{1,2}\..*"], 4);
        assert_eq!(pattern::<i64>("rank-pattern", &pairs(&read)).unwrap(), read);
        let error = pattern::<i64>("rank-pattern", &["c_fc".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("c_attn=8 for example"), "{error}");
    }
}

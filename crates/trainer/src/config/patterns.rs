//! Target modules and `NAME=VALUE` patterns, in the spelling of the options.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use lora::Targets;

use crate::{config::error::SettingsError, error::Result};

/// Prefix of a target module that is a pattern.
const PATTERN: &str = "re:";

/// Parses target modules: names, or one pattern.
pub(crate) fn targets(names: &[String]) -> Result<Targets> {
    match names {
        // A pattern may contain commas, at which options are split.
        [first, ..] if first.trim().starts_with(PATTERN) => {
            let pattern = names.join(",");
            Ok(Targets::Pattern(pattern.trim()[PATTERN.len()..].to_owned()))
        }
        names if names.iter().any(|name| name.trim().starts_with(PATTERN)) => {
            Err(SettingsError::MixedTargetModules.into())
        }
        names => Ok(names.iter().map(|name| name.trim().to_owned()).collect()),
    }
}

/// Formats target modules so that [`targets`] parses them.
pub(crate) fn names_of(targets: &Targets) -> Vec<String> {
    match targets {
        Targets::AllLinear => vec!["all-linear".to_owned()],
        Targets::Names(names) => names.clone(),
        Targets::Pattern(pattern) => vec![format!("{PATTERN}{pattern}")],
    }
}

/// Parses `NAME=VALUE` pairs.
pub(crate) fn pattern<T: FromStr>(
    option: &'static str,
    pairs: &[String],
) -> Result<BTreeMap<String, T>> {
    let pair = |pair: &String| {
        let parts = pair.rsplit_once('=');
        let parsed =
            parts.and_then(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)));
        let (name, value) =
            parsed.ok_or_else(|| SettingsError::Pair { option, pair: pair.clone() })?;
        Ok((name.to_owned(), value))
    };
    // Options are split at commas, and a pattern may contain some.
    let mut whole: Vec<String> = Vec::new();
    for pair in pairs {
        match whole.last_mut().filter(|last| !last.contains('=')) {
            Some(last) => *last = format!("{last},{pair}"),
            None => whole.push(pair.clone()),
        }
    }
    whole.iter().map(pair).collect()
}

/// Formats pairs so that [`pattern`] parses them.
pub(crate) fn pairs<T: Display>(pattern: &BTreeMap<String, T>) -> Vec<String> {
    pattern.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn patterns_may_contain_commas() {
        let pairs_of_option: Vec<String> =
            r"h\.\d{1,2}\..*=4,c_fc=2".split(',').map(String::from).collect();
        let read: BTreeMap<String, i64> = pattern("rank-pattern", &pairs_of_option).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[r"h\.\d{1,2}\..*"], 4);
        assert_eq!(pattern::<i64>("rank-pattern", &pairs(&read)).unwrap(), read);
        let error = pattern::<i64>("rank-pattern", &["c_fc".to_owned()]).unwrap_err();
        let expected = SettingsError::Pair { option: "rank-pattern", pair: "c_fc".to_owned() };
        assert!(matches!(error, Error::Settings(error) if error == expected));
    }
}

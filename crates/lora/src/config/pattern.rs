//! Regular expressions for the names of layers.

use std::collections::BTreeMap;

use regex::Regex;

use crate::error::{Error, Result, SettingProblem};

/// A regular expression that the whole of a name has to match.
pub(crate) fn whole(pattern: &str) -> Result<Regex, SettingProblem> {
    // Alone first: a parenthesis too many must not close the one around it.
    let compiled = Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$")));
    compiled.map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        SettingProblem::Pattern { pattern: pattern.to_owned(), reason: reason.to_owned() }
    })
}

/// Values for some layers: the keys of `rank_pattern` or `alpha_pattern`.
#[derive(Debug)]
pub(crate) struct Patterns<T> {
    setting: &'static str,
    /// The first that matches decides.
    entries: Vec<(String, Regex, T)>,
    used: Vec<bool>,
}

impl<T: Copy> Patterns<T> {
    /// A key matches a name, or the end of one at a dot, as in Hugging Face PEFT.
    /// The map has no order of its own, so the longer key wins.
    pub fn new(setting: &'static str, map: &BTreeMap<String, T>) -> Result<Self> {
        let mut keys: Vec<_> = map.iter().collect();
        keys.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
        Self::in_order(setting, keys)
            .map_err(|problem| Error::Setting { setting: setting.to_owned(), problem })
    }

    /// The same where the keys have an order: the first that matches wins.
    pub fn in_order<'k>(
        setting: &'static str,
        keys: impl IntoIterator<Item = (&'k String, &'k T)>,
    ) -> Result<Self, SettingProblem>
    where
        T: 'k,
    {
        let mut entries = Vec::new();
        for (key, &value) in keys {
            whole(key)?;
            entries.push((key.clone(), whole(&format!("(?:.*\\.)?(?:{key})"))?, value));
        }
        let used = vec![false; entries.len()];
        Ok(Self { setting, entries, used })
    }

    /// The value for the first of `names` that a key matches.
    pub fn find(&mut self, names: &[&str]) -> Option<T> {
        let found = names
            .iter()
            .find_map(|name| self.entries.iter().position(|(_, regex, _)| regex.is_match(name)))?;
        if let Some(used) = self.used.get_mut(found) {
            *used = true;
        }
        self.entries.get(found).map(|(.., value)| *value)
    }

    /// Refuses keys that matched no layer.
    pub fn all_used(&self) -> Result<()> {
        let unused = self.entries.iter().zip(&self.used).find(|(_, used)| !**used);
        match unused {
            None => Ok(()),
            Some(((key, ..), _)) => Err(Error::Setting {
                setting: format!("{} \"{key}\"", self.setting),
                problem: SettingProblem::Unused,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(keys: &[(&str, i64)]) -> Result<Patterns<i64>> {
        let map = keys.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        Patterns::new("rank_pattern", &map)
    }

    #[test]
    fn a_key_matches_a_name_or_its_end_at_a_dot() {
        let mut found = patterns(&[("c_attn", 1), (r"h\.[12]\.mlp", 2), ("a|b", 3)]).unwrap();
        assert_eq!(found.find(&["h.0.attn.c_attn"]), Some(1));
        assert_eq!(found.find(&["c_attn"]), Some(1));
        assert_eq!(found.find(&["xc_attn"]), None);
        assert_eq!(found.find(&["c_attn.x"]), None);
        assert_eq!(found.find(&["h.1.mlp"]), Some(2));
        assert_eq!(found.find(&["h.3.mlp"]), None);
        assert_eq!(found.find(&["x.b"]), Some(3));
        assert_eq!(found.find(&["x.ab"]), None);
        assert_eq!(found.find(&["attn.q", "c_attn"]), Some(1));
    }

    #[test]
    fn the_longer_key_wins() {
        let mut found = patterns(&[("q", 1), ("attn.q", 2), (".*", 3)]).unwrap();
        assert_eq!(found.find(&["h.0.attn.q"]), Some(2));
        assert_eq!(found.find(&["h.0.q"]), Some(3));
        let Err(Error::Setting { setting, problem }) = found.all_used() else { panic!() };
        assert_eq!((setting.as_str(), problem), ("rank_pattern \"q\"", SettingProblem::Unused));
    }

    #[test]
    fn invalid_regular_expressions_are_refused() {
        for wrong in ["(", "a)(b", "(?=x)"] {
            let Err(Error::Setting { setting, problem }) = patterns(&[(wrong, 1)]) else {
                panic!()
            };
            assert_eq!(setting, "rank_pattern");
            let SettingProblem::Pattern { pattern, reason } = problem else { panic!("{problem}") };
            assert!(pattern == wrong && !reason.contains('\n'), "{pattern}: {reason}");
        }
    }
}

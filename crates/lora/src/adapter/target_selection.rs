//! Selection of the layers, or slices of layers, that get an adapter.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::{
    config::{LayerSettings, LoraConfig, Targets, names, whole},
    error::{Error, Result},
};

/// Selects target layers one after the other.
#[derive(Debug)]
pub(crate) struct Selector {
    targets: Targets,
    /// Compiled [`Targets::Pattern`].
    pattern: Option<Regex>,
    seen: Vec<String>,
    /// Indices of the target names that matched a layer; 0 for the pattern.
    matched: BTreeSet<usize>,
}

/// Selected outputs of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// One adapter on all of them.
    Whole,
    /// One adapter on each of these equal slices: name and number.
    Slices(Vec<(String, usize)>),
}

impl Selector {
    pub fn new(targets: &Targets) -> Result<Self> {
        let pattern = match targets {
            Targets::Pattern(pattern) => Some(whole(pattern).map_err(|problem| {
                Error::Setting { setting: "target_modules".to_owned(), problem }
            })?),
            _ => None,
        };
        let (seen, matched) = (Vec::new(), BTreeSet::new());
        Ok(Self { targets: targets.clone(), pattern, seen, matched })
    }

    /// Selects outputs of the layer `name`; `outputs` names the slices of its output.
    pub fn select(&mut self, name: &str, outputs: &[&str]) -> Selected {
        self.seen.push(name.to_owned());
        let slices: Vec<String> = outputs.iter().map(|slice| format!("{name}.{slice}")).collect();
        self.seen.extend(slices.iter().cloned());
        let all = self.targets == Targets::AllLinear;
        if self.is_target(name) || (outputs.is_empty() && all) {
            return Selected::Whole;
        }
        let mut selected = Vec::new();
        for (number, slice) in slices.into_iter().enumerate() {
            if all || self.is_target(&slice) {
                selected.push((slice, number));
            }
        }
        Selected::Slices(selected)
    }

    /// Refuses targets that matched no layer.
    pub fn all_found(&self) -> Result<()> {
        let targets = match &self.targets {
            Targets::AllLinear => &[],
            Targets::Names(targets) => targets.as_slice(),
            Targets::Pattern(pattern) => std::slice::from_ref(pattern),
        };
        let unknown = |(index, name): (usize, &String)| {
            (!self.matched.contains(&index)).then(|| name.clone())
        };
        let targets: Vec<String> = targets.iter().enumerate().filter_map(unknown).collect();
        if targets.is_empty() {
            return Ok(());
        }
        Err(Error::UnknownTarget { targets, layers: self.seen.clone() })
    }

    fn is_target(&mut self, name: &str) -> bool {
        let found: Vec<usize> = match (&self.targets, &self.pattern) {
            (Targets::Names(targets), _) => {
                let found = targets.iter().enumerate().filter(|(_, target)| names(target, name));
                found.map(|(index, _)| index).collect()
            }
            (_, Some(pattern)) if pattern.is_match(name) => vec![0],
            _ => Vec::new(),
        };
        self.matched.extend(&found);
        !found.is_empty()
    }
}

impl LoraConfig {
    /// Settings for one layer, with its rank and α from the patterns; `None` if it is not
    /// a target.
    ///
    /// # Errors
    /// [`Error::Setting`] for a pattern that is not a regular expression.
    pub fn of_layer(&self, name: &str) -> Result<Option<Self>> {
        if Selector::new(&self.targets)?.select(name, &[]) != Selected::Whole {
            return Ok(None);
        }
        let (rank, alpha) = LayerSettings::new(self)?.rank_and_alpha(&[name]);
        Ok(Some(Self {
            rank,
            alpha,
            targets: Targets::Names(vec![name.to_owned()]),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            ..self.clone()
        }))
    }

    /// Checks the settings against the linear layers of a model, each with the names of
    /// its output slices. [`Injector`](crate::Injector) finds the same problems, but
    /// only when it is done.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`] if a target names no layer; [`Error::Setting`] for
    /// invalid settings, and for a key of a pattern that matches no adapted layer.
    pub fn check_layers<'l>(
        &self,
        layers: impl IntoIterator<Item = (&'l str, &'l [&'l str])>,
    ) -> Result<()> {
        self.check()?;
        let mut selector = Selector::new(&self.targets)?;
        let mut settings = LayerSettings::new(self)?;
        for (name, outputs) in layers {
            match selector.select(name, outputs) {
                Selected::Whole => drop(settings.of(&[name, name])),
                Selected::Slices(slices) => {
                    for (slice, _) in slices {
                        settings.of(&[&slice, name]);
                    }
                }
            }
        }
        selector.all_found()?;
        settings.all_used()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: [(&str, &[&str]); 2] = [("h.0.c_attn", &["q", "k", "v"]), ("h.0.fc", &[])];

    fn refused(config: LoraConfig) -> String {
        config.check_layers(LAYERS).unwrap_err().to_string()
    }

    #[test]
    fn targets_are_checked_without_tensors() {
        let names = |names: &[&str]| LoraConfig {
            targets: names.iter().map(|name| (*name).to_owned()).collect(),
            ..LoraConfig::default()
        };
        for good in [&["q", "fc"][..], &["c_attn"], &["h.0.c_attn.v"], &["all-linear"]] {
            assert!(names(good).check_layers(LAYERS).is_ok(), "{good:?}");
        }
        let error = refused(names(&["q", "nothing"]));
        assert!(error.contains("called \"nothing\"; the model has \"h.0.c_attn\""), "{error}");
        let pattern =
            LoraConfig { targets: Targets::Pattern("x.*".to_owned()), ..LoraConfig::default() };
        assert!(refused(pattern).contains("called \"x.*\""));
        let ranks = LoraConfig { rank_pattern: [("k".to_owned(), 2)].into(), ..names(&["q"]) };
        assert!(refused(ranks).contains("rank_pattern \"k\""));
    }
}

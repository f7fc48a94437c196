//! Which layers, and which parts of them, get an adapter.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{
    config::{LayerSettings, LoraConfig, Targets, names, whole},
    error::{Error, Result},
};

/// Chooses among the layers that it is shown one after the other.
#[derive(Debug)]
pub(crate) struct Selector {
    targets: Targets,
    /// Of [`Targets::Pattern`].
    pattern: Option<Regex>,
    seen: Vec<String>,
    /// Which of the target names, or the pattern as number 0, found a layer.
    matched: BTreeSet<usize>,
}

/// What of a layer gets an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// One adapter on all of it.
    Whole,
    /// One on each of these of its equal parts: name and number.
    Parts(Vec<(String, usize)>),
}

impl Selector {
    pub fn new(targets: &Targets) -> Result<Self> {
        let pattern = match targets {
            Targets::Pattern(pattern) => Some(whole(pattern, "target_modules")?),
            _ => None,
        };
        let (seen, matched) = (Vec::new(), BTreeSet::new());
        Ok(Self { targets: targets.clone(), pattern, seen, matched })
    }

    /// What of the layer `name` is a target; `outputs` names the parts that its output
    /// is made of.
    pub fn select(&mut self, name: &str, outputs: &[&str]) -> Selected {
        self.seen.push(name.to_owned());
        let parts: Vec<String> = outputs.iter().map(|part| format!("{name}.{part}")).collect();
        self.seen.extend(parts.iter().cloned());
        let all = self.targets == Targets::AllLinear;
        if self.is_target(name) || (outputs.is_empty() && all) {
            return Selected::Whole;
        }
        let mut selected = Vec::new();
        for (number, part) in parts.into_iter().enumerate() {
            if all || self.is_target(&part) {
                selected.push((part, number));
            }
        }
        Selected::Parts(selected)
    }

    /// Refuses targets that no layer was.
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
    /// Whether the settings go with a model of these linear layers, each with the names
    /// of the parts that its output is made of: what [`Injector`](crate::Injector) finds
    /// out when it is done, before there is a tensor.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`] if a target names no layer; [`Error::Config`] for
    /// settings without meaning, and for a key of a pattern that decides for no layer.
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
                Selected::Parts(parts) => {
                    for (part, _) in parts {
                        settings.of(&[&part, name]);
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
    fn what_names_no_layer_is_found_out_without_tensors() {
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
        assert!(refused(ranks).contains("rank_pattern \"k\" decides for no layer"));
    }
}

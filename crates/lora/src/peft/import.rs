//! Conversion of PEFT's tensors to an adapter.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use tch::Tensor;

use super::{
    PeftAdapter,
    keys::{Key, ParsedKey},
};
use crate::{
    adapter::{
        state::AdapterState,
        target_selection::{Selected, Selector},
        tensor_names::{a_name, b_name, magnitude_name},
    },
    config::{LayerSettings, LoraConfig, Patterns, Scaling, Targets},
    error::{Error, FormatProblem, Result},
    tensor_file::copy_of,
};

/// Information to divide the adapter of a whole layer into the adapters of its slices that
/// it was made of.
#[derive(Clone, Copy)]
pub struct Slicing<'a> {
    /// Settings that the adapter was trained with, where they are known.
    pub trained: Option<&'a LoraConfig>,
    /// Names of the slices of a layer's output, as given to
    /// [`Injector::adapt`](crate::Injector::adapt).
    pub outputs: fn(&str) -> &'static [&'static str],
}

impl Default for Slicing<'_> {
    /// Leaves every adapter whole.
    fn default() -> Self {
        Self { trained: None, outputs: |_| &[] }
    }
}

impl fmt::Debug for Slicing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slicing").field("trained", &self.trained).finish_non_exhaustive()
    }
}

/// Tensors of one module.
#[derive(Default)]
struct Module {
    a: Option<Tensor>,
    b: Option<Tensor>,
    magnitude: Option<Tensor>,
}

/// Adapter on a layer or a slice of one.
struct Layer {
    name: String,
    rank: i64,
    alpha: f64,
    a: Tensor,
    b: Tensor,
}

impl PeftAdapter {
    /// Converts to an adapter for an [`Injector`](crate::Injector). Modules below `prefix`
    /// (`transformer.` for the models of `transformers` that have GPT-2 below a
    /// head) become layers without it; other modules keep their names, and so do
    /// whole tensors: `score.weight`, `transformer.ln_f.weight`. Copies of the base model's
    /// own parameters are left out.
    ///
    /// The tensors decide which layers are adapted, whatever `target_modules` and
    /// its like say. `lora_dropout` is taken over. Where all of them are what
    /// [`AdapterState::to_peft`] makes of `slicing.trained`, adapters on slices come back,
    /// to the bit if the slices of a layer have one factor.
    ///
    /// # Errors
    /// [`Error::Format`] names the tensors that are missing, too many, or of
    /// another shape than the configuration says.
    pub fn into_state(self, prefix: &str, slicing: &Slicing<'_>) -> Result<AdapterState> {
        let Self { config, tensors, origin, .. } = self;
        let failed = |problem| Error::Format { path: origin.clone(), problem };
        let (modules, mut stored) = by_module(tensors).map_err(failed)?;
        let mut settings = config.settings().map_err(|problem| failed(problem.into()))?;
        let mut layers = Vec::new();
        for (module, tensors) in modules {
            if stored.contains_key(&format!("{module}.weight")) {
                return Err(failed(FormatProblem::AdapterAndWeight { module }));
            }
            let name = module.strip_prefix(prefix).unwrap_or(&module).to_owned();
            if layers.iter().any(|layer: &Layer| layer.name == name) {
                return Err(failed(FormatProblem::TwoModules { module: name }));
            }
            let (rank, alpha) = settings.of(&module);
            let (a, b, magnitude) =
                tensors.checked(&module, rank, config.use_dora).map_err(failed)?;
            if let Some(magnitude) = magnitude {
                stored.insert(magnitude_name(&name), magnitude);
            }
            layers.push(Layer { name, rank, alpha, a, b });
        }
        let scaling = if config.use_rslora { Scaling::RsLora } else { Scaling::AlphaOverRank };
        let (mut rank, mut alpha, mut lora_scaling) = (config.r, config.lora_alpha, scaling);
        if let Some((trained, divided)) = slicing.divide(&layers, scaling)? {
            layers = divided;
            (rank, alpha, lora_scaling) = (trained.rank, trained.alpha, trained.scaling);
        }
        let ranks: Vec<_> = layers.iter().map(|layer| (layer.name.clone(), layer.rank)).collect();
        let alphas: Vec<_> = layers.iter().map(|layer| (layer.name.clone(), layer.alpha)).collect();
        let lora = LoraConfig {
            rank,
            alpha,
            scaling: lora_scaling,
            targets: Targets::Names(ranks.iter().map(|(name, _)| name.clone()).collect()),
            rank_pattern: exact_patterns(rank, &ranks)?,
            alpha_pattern: exact_patterns(alpha, &alphas)?,
            dropout: config.lora_dropout,
            dora: config.use_dora,
            ..LoraConfig::default()
        };
        lora.check().map_err(|error| match error {
            Error::Setting { setting, problem } => {
                failed(FormatProblem::Setting { setting, problem })
            }
            error => error,
        })?;
        for Layer { name, a, b, .. } in layers {
            stored.insert(a_name(&name), a);
            stored.insert(b_name(&name), b);
        }
        Ok(AdapterState::with(lora, stored, origin))
    }

    /// Notes about what was ignored: unknown settings, and copies of the base model's own
    /// parameters.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.ignored_settings.is_empty() {
            let some: Vec<&str> =
                self.ignored_settings.iter().map(String::as_str).take(8).collect();
            let more = self.ignored_settings.len() - some.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.push(format!(
                "the adapter has settings that are unknown and were ignored: {}{more}",
                some.join(", ")
            ));
        }
        let is_copy =
            |name: &&String| ParsedKey::parse(name).is_ok_and(|parsed| parsed.key == Key::Base);
        match self.tensors.keys().filter(is_copy).count() {
            0 => {}
            count => notes.push(format!(
                "the adapter's file has {count} copies of parameters of its base model, which were \
                 ignored"
            )),
        }
        notes
    }
}

/// Modules by name, and whole tensors by theirs.
type Sorted = (BTreeMap<String, Module>, BTreeMap<String, Tensor>);

/// Sorts tensors by the modules that they belong to.
fn by_module(tensors: BTreeMap<String, Tensor>) -> Result<Sorted, FormatProblem> {
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    let (mut whole, mut adapters) = (BTreeMap::new(), BTreeSet::new());
    for (name, tensor) in tensors {
        let ParsedKey { key, adapter } = ParsedKey::parse(&name)?;
        adapters.extend(adapter);
        let twice = match key {
            Key::A(module) => modules.entry(module).or_default().a.replace(tensor).is_some(),
            Key::B(module) => modules.entry(module).or_default().b.replace(tensor).is_some(),
            Key::Magnitude(module) => {
                modules.entry(module).or_default().magnitude.replace(tensor).is_some()
            }
            Key::Whole(name) => whole.insert(name, tensor).is_some(),
            Key::Base => false,
        };
        if adapters.len() > 1 {
            return Err(FormatProblem::SeveralAdapters { names: adapters.into_iter().collect() });
        }
        if twice {
            return Err(FormatProblem::Twice { tensor: name });
        }
    }
    if modules.is_empty() {
        return Err(FormatProblem::NoAdapter);
    }
    Ok((modules, whole))
}

impl<'a> Slicing<'a> {
    /// Divides adapters into the adapters of their slices; `None` if they do not match the
    /// settings of the training.
    fn divide(
        &self,
        layers: &[Layer],
        scaling: Scaling,
    ) -> Result<Option<(&'a LoraConfig, Vec<Layer>)>> {
        let Some(trained) = self.trained else { return Ok(None) };
        let mut selector = Selector::new(&trained.targets)?;
        let mut settings = LayerSettings::new(trained)?;
        let mut divided = Vec::new();
        for layer in layers {
            let outputs = (self.outputs)(&layer.name);
            let (slices, count) = match selector.select(&layer.name, outputs) {
                Selected::Whole => (vec![(layer.name.clone(), 0)], 1),
                Selected::Slices(slices) => (slices, outputs.len() as i64),
            };
            let slices = slices.into_iter().map(|(name, number)| {
                let (rank, alpha) = settings.rank_and_alpha(&[&name, &layer.name]);
                (name, number as i64, rank, alpha)
            });
            let slices: Vec<_> = slices.collect();
            let factor = |rank, alpha| trained.scaling.factor(rank, alpha);
            let largest = slices.iter().map(|(.., rank, alpha)| factor(*rank, *alpha));
            let largest =
                largest.fold(0.0, |most: f64, s| if s.abs() > most.abs() { s } else { most });
            let found = scaling.factor(layer.rank, layer.alpha);
            let (out, rank) = layer.b.size2()?;
            let ranks: i64 = slices.iter().map(|(.., rank, _)| rank).sum();
            if ranks != rank || out % count != 0 || (found - largest).abs() > 1e-9 * largest.abs() {
                return Ok(None);
            }
            let (rows, rest, mut column) = (out / count, copy_of(&layer.b)?, 0);
            for (name, number, rank, alpha) in slices {
                let block =
                    |b: &Tensor| b.f_narrow(0, number * rows, rows)?.f_narrow(1, column, rank);
                let mut b = copy_of(&block(&layer.b)?)?;
                let ratio = factor(rank, alpha) / largest;
                if ratio != 1.0 && ratio != 0.0 && ratio.is_finite() {
                    b = b.f_div_scalar(ratio)?;
                }
                let a = copy_of(&layer.a.f_narrow(0, column, rank)?)?;
                let _ = block(&rest)?.f_zero_()?;
                divided.push(Layer { name, rank, alpha, a, b });
                column += rank;
            }
            if rest.f_any()?.f_is_nonzero()? {
                return Ok(None);
            }
        }
        Ok(Some((trained, divided)))
    }
}

impl Module {
    /// The tensors, which fit each other and the configuration.
    fn checked(
        self,
        module: &str,
        rank: i64,
        dora: bool,
    ) -> Result<(Tensor, Tensor, Option<Tensor>), FormatProblem> {
        let module = module.to_owned();
        let missing = |name: &str| FormatProblem::Missing { tensor: format!("{module}.{name}") };
        let a = self.a.ok_or_else(|| missing("lora_A.weight"))?;
        let b = self.b.ok_or_else(|| missing("lora_B.weight"))?;
        let (a_size, b_size) = (a.size(), b.size());
        if !matches!(*a_size, [found, _] if found == rank) {
            return Err(FormatProblem::ShapeOfA { module, shape: a_size, rank });
        }
        let out = match *b_size {
            [out, columns] if columns == rank => out,
            _ => return Err(FormatProblem::ShapeOfB { module, shape: b_size, rank }),
        };
        match (&self.magnitude, dora) {
            (Some(magnitude), true) if magnitude.size() != [out] => {
                Err(FormatProblem::ShapeOfMagnitude { module, shape: magnitude.size(), out })
            }
            (None, true) => Err(missing("lora_magnitude_vector")),
            (Some(_), false) => Err(FormatProblem::UnusedMagnitude { module }),
            _ => Ok((a, b, self.magnitude)),
        }
    }
}

/// Patterns that give each layer its value: one for each that differs from
/// `default`, and for those that such a one would catch too.
fn exact_patterns<T: Copy + PartialEq>(
    default: T,
    layers: &[(String, T)],
) -> Result<BTreeMap<String, T>> {
    let key = |name: &str| regex::escape(name);
    let different = layers.iter().filter(|(_, value)| *value != default);
    let mut patterns: BTreeMap<String, T> =
        different.map(|(name, value)| (key(name), *value)).collect();
    if patterns.is_empty() {
        return Ok(patterns);
    }
    let mut found = Patterns::new("pattern", &patterns)?;
    for (name, value) in layers {
        if found.find(&[name]).unwrap_or(default) != *value {
            patterns.insert(key(name), *value);
        }
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_catch_no_other_layer() {
        let layers = [("fc", 2), ("h.0.fc", 4), ("h.1.fc", 3)].map(|(n, r)| (n.to_owned(), r));
        let patterns = exact_patterns(4, &layers).unwrap();
        let mut found = Patterns::new("rank_pattern", &patterns).unwrap();
        for (name, rank) in &layers {
            assert_eq!(found.find(&[name]).unwrap_or(4), *rank, "{name}");
        }
        assert_eq!(patterns.len(), 3);
        assert!(exact_patterns(4, &layers[1..2]).unwrap().is_empty());
    }
}

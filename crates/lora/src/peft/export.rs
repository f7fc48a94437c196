//! Conversion of an adapter to PEFT's tensors.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use indexmap::IndexMap;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::{PeftAdapter, config::PeftConfig, keys::ROOT};
use crate::{
    adapter::state::AdapterState,
    adapter::tensor_names::{a_name, b_name, magnitude_name},
    config::{LayerSettings, names},
    error::{Error, LayerProblem, Result, TensorProblem},
    layer::slice::Slice,
    tensor_file::copy_of,
};

/// Linear layer of the model that an adapter belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeftLayer {
    /// Its name when the adapter was made, `h.0.attn.c_attn` for example.
    pub name: String,
    /// Its name in the model of the Python world, `transformer.h.0.attn.c_attn`.
    pub module: String,
    /// Names of the slices of its output, as given to
    /// [`Injector::adapt`](crate::Injector::adapt).
    pub outputs: Vec<String>,
    /// Outputs and inputs, `[out, in]`.
    pub size: [i64; 2],
}

/// Information for PEFT that an adapter does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeftOptions {
    /// The layers store their weights as `[in, out]`, like the `Conv1D` of GPT-2 in
    /// `transformers`.
    pub fan_in_fan_out: bool,
    /// Task of the model: `SEQ_CLS` for a classifier.
    pub task_type: Option<String>,
    /// Base model: a folder, or a name on the hub.
    pub base_model: Option<String>,
}

/// Adapter on one whole module.
struct Fused {
    a: Tensor,
    b: Tensor,
    rank: i64,
    alpha: f64,
}

impl AdapterState {
    /// Converts the adapter to PEFT's format. `layers` describes all linear layers that
    /// may be adapted.
    ///
    /// Adapters on slices of a layer become one on the whole: `A`s on top of each
    /// other `[Σ rank, in]`, `B`s along a diagonal `[out, Σ rank]`, zeros where a
    /// slice has none. Every factor is written as an α of `α / rank`, which all
    /// versions of PEFT compute alike. The state's whole tensors, by the names that
    /// the Python model has for them, become `modules_to_save`, which PEFT does not adapt.
    ///
    /// # Errors
    /// [`Error::Mismatch`] names tensors that are missing, of a wrong shape, or of
    /// no layer in `layers`; [`Error::Torch`] if memory runs out.
    pub fn to_peft(&self, layers: &[PeftLayer], options: &PeftOptions) -> Result<PeftAdapter> {
        let mut settings = LayerSettings::new(self.config())?;
        let mut left = self.shared();
        let (mut ranks, mut alphas) = (Vec::new(), Vec::new());
        let mut tensors = BTreeMap::new();
        for layer in layers {
            let Some(slices) = take_slices(&mut left, layer, &mut settings)? else { continue };
            let magnitude = match self.config().dora {
                true => Some(left.take_magnitude(&layer.name, layer.size[0])?),
                false => None,
            };
            if left.tensors().contains_key(&format!("{}.weight", layer.module)) {
                let module = layer.module.clone();
                return Err(self.mismatch(vec![TensorProblem::AdapterAndWeight { module }]));
            }
            let Fused { a, b, rank, alpha } = fused(&slices, layer.size[0])?;
            ranks.push((layer.module.clone(), rank));
            alphas.push((layer.module.clone(), alpha));
            let key = |name: String| format!("{ROOT}{name}");
            tensors.insert(key(a_name(&layer.module)), copy_of(&a)?);
            tensors.insert(key(b_name(&layer.module)), copy_of(&b)?);
            if let Some(magnitude) = magnitude {
                tensors.insert(key(magnitude_name(&layer.module)), magnitude);
            }
        }
        let mut modules = BTreeSet::new();
        let mut problems = Vec::new();
        for (name, tensor) in left.tensors() {
            if name.contains(".lora_") {
                problems.push(TensorProblem::Unused { name: name.clone() });
            }
            let module = name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module);
            modules.insert(module.to_owned());
            tensors.insert(format!("{ROOT}{name}"), copy_of(tensor)?);
        }
        if ranks.is_empty() && problems.is_empty() {
            problems.push(TensorProblem::NoAdapter);
        }
        if !problems.is_empty() {
            return Err(self.mismatch(problems));
        }
        let r = most_common(&ranks).unwrap_or(self.config().rank);
        let lora_alpha = most_common(&alphas).unwrap_or(self.config().alpha);
        let targets: Vec<&String> = ranks.iter().map(|(module, _)| module).collect();
        let config = PeftConfig {
            peft_type: "LORA".to_owned(),
            task_type: options.task_type.clone(),
            base_model_name_or_path: options.base_model.clone(),
            r,
            lora_alpha,
            lora_dropout: self.config().dropout,
            target_modules: json!(targets),
            rank_pattern: Some(patterns(r, &ranks)),
            alpha_pattern: Some(patterns(lora_alpha, &alphas)),
            use_rslora: false,
            use_dora: self.config().dora,
            fan_in_fan_out: options.fan_in_fan_out,
            bias: "none".to_owned(),
            modules_to_save: (!modules.is_empty()).then(|| modules.into_iter().collect()),
            init_lora_weights: Value::Bool(true),
            inference_mode: true,
            layers_to_transform: Value::Null,
            layers_pattern: Value::Null,
            exclude_modules: Value::Null,
        };
        Ok(PeftAdapter {
            config,
            tensors,
            origin: PathBuf::from("the adapter"),
            ignored_settings: Vec::new(),
        })
    }
}

/// Takes the adapters on a layer or its slices; `None` if it has none.
fn take_slices(
    state: &mut AdapterState,
    layer: &PeftLayer,
    settings: &mut LayerSettings,
) -> Result<Option<Vec<Slice>>> {
    let [out, width] = layer.size;
    let count = layer.outputs.len().max(1) as i64;
    if out % count != 0 {
        return Err(Error::Layer {
            layer: layer.name.clone(),
            problem: LayerProblem::Indivisible { outputs: out, slices: count },
        });
    }
    let rows = out / count;
    let slices = layer.outputs.iter().map(|slice| format!("{}.{slice}", layer.name));
    let slices =
        slices.zip((0..).map(|slice| slice * rows)).map(|(name, start)| (name, start, rows));
    let whole = (layer.name.clone(), 0, out);
    let mut found = Vec::new();
    for (name, start, rows) in [whole].into_iter().chain(slices) {
        let names = [a_name(&name), b_name(&name)];
        if !names.iter().any(|name| state.tensors().contains_key(name)) {
            continue;
        }
        let (rank, scale) = settings.of(&[&name, &layer.name]);
        let (a, b) = state.take_layer(&name, [rank, width], [rows, rank])?;
        found.push(Slice { a, b, start, scale });
    }
    Ok((!found.is_empty()).then_some(found))
}

/// Joins the slices of a layer of `out` outputs into one adapter.
fn fused(slices: &[Slice], out: i64) -> Result<Fused> {
    let _no_grad = tch::no_grad_guard();
    // The largest, so that no other is divided by zero.
    let scales = slices.iter().map(|slice| slice.scale);
    let scale = scales.fold(0.0, |most: f64, s| if s.abs() > most.abs() { s } else { most });
    let a = Tensor::f_cat(&slices.iter().map(|slice| &slice.a).collect::<Vec<_>>(), 0)?;
    let rank = a.size2()?.0;
    let b = Tensor::f_zeros([out, rank], (Kind::Float, a.device()))?;
    let mut column = 0;
    for slice in slices {
        let (rows, rank) = slice.b.size2()?;
        let mut block = b.f_narrow(0, slice.start, rows)?.f_narrow(1, column, rank)?;
        if slice.scale == scale {
            block.f_copy_(&slice.b)?;
        } else {
            block.f_copy_(&slice.b.f_mul_scalar(slice.scale / scale)?)?;
        }
        column += rank;
    }
    Ok(Fused { a, b, rank, alpha: scale * rank as f64 })
}

/// Returns the most common value; in case of a tie the first.
fn most_common<T: Copy + PartialEq>(values: &[(String, T)]) -> Option<T> {
    let count = |value: T| values.iter().filter(|(_, other)| *other == value).count();
    let most = values.iter().map(|(_, value)| count(*value)).max()?;
    values.iter().map(|(_, value)| *value).find(|value| count(*value) == most)
}

/// Patterns that give each module its value: for one that differs from `default`
/// the shortest end of its name at a dot that no module of another value shares.
fn patterns<T: Copy + PartialEq>(default: T, values: &[(String, T)]) -> IndexMap<String, T> {
    let mut found: Vec<(&str, T)> = Vec::new();
    loop {
        // PEFT takes the first that matches: the longest.
        found.sort_by_key(|(end, _)| std::cmp::Reverse(end.len()));
        let decided = |module: &str| {
            found.iter().find(|(end, _)| names(end, module)).map_or(default, |(_, value)| *value)
        };
        // Where a name has no such end, its whole may catch modules of the default.
        let Some((module, value)) = values.iter().find(|(module, value)| decided(module) != *value)
        else {
            break;
        };
        let dots = module.rmatch_indices('.').map(|(dot, _)| dot + 1);
        let mut ends = dots.chain([0]).filter_map(|start| module.get(start..));
        let alone =
            |end: &&str| values.iter().all(|(other, theirs)| theirs == value || !names(end, other));
        let end = ends.find(alone).unwrap_or(module);
        if found.iter().any(|(other, _)| *other == end) {
            break;
        }
        found.push((end, *value));
    }
    found.into_iter().map(|(end, value)| (regex::escape(end), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, i64)], default: i64) -> Vec<(String, i64)> {
        let values: Vec<_> =
            values.iter().map(|(name, rank)| ((*name).to_owned(), *rank)).collect();
        patterns(default, &values).into_iter().collect()
    }

    #[test]
    fn patterns_are_as_short_as_they_may_be() {
        let all = [("h.0.attn.c_attn", 6), ("h.0.attn.c_proj", 2), ("h.0.mlp.c_proj", 2)];
        assert_eq!(of(&all, 2), [("c_attn".to_owned(), 6)]);
        let all = [("h.0.attn.c_proj", 6), ("h.0.mlp.c_proj", 2), ("h.1.attn.c_proj", 6)];
        assert_eq!(of(&all, 2), [(r"attn\.c_proj".to_owned(), 6)]);
        let all = [("h.0.fc", 6), ("h.1.fc", 2), ("fc", 3)];
        let expected = [(r"0\.fc", 6), (r"1\.fc", 2), ("fc", 3)];
        assert_eq!(of(&all, 2), expected.map(|(key, rank)| (key.to_owned(), rank)));
        assert!(of(&all[1..2], 2).is_empty());
    }

    #[test]
    fn the_most_common_value_is_the_default() {
        let values = [1, 3, 3, 2].map(|rank| (String::new(), rank));
        assert_eq!(most_common(&values), Some(3));
        assert_eq!(most_common(&values[..2]), Some(1));
        assert_eq!(most_common::<i64>(&[]), None);
    }
}

//! Adapter as data, without a model.

use std::{collections::BTreeMap, path::PathBuf};

use tch::Tensor;

use crate::{
    adapter::tensor_names::{a_name, b_name, magnitude_name},
    config::{LoraConfig, Targets},
    error::{Error, Result, TensorProblem},
    tensor_file::copy_of,
};

/// Adapter as data: its settings and a copy of its tensors, on the CPU.
///
/// Beside `<layer>.lora_A.weight` `[rank, in]`, `<layer>.lora_B.weight`
/// `[out, rank]` and, for DoRA, `<layer>.lora_magnitude_vector` `[out]` it may
/// hold whole tensors that belong to the adapter, such as a new head.
#[derive(Debug)]
pub struct AdapterState {
    config: LoraConfig,
    tensors: BTreeMap<String, Tensor>,
    /// The file it was read from, for messages.
    origin: PathBuf,
}

impl AdapterState {
    /// An adapter without tensors.
    pub fn new(config: LoraConfig) -> Self {
        Self::with(config, BTreeMap::new(), PathBuf::from("the adapter"))
    }

    /// `origin` is the file that the tensors came from.
    pub(crate) fn with(
        config: LoraConfig,
        tensors: BTreeMap<String, Tensor>,
        origin: PathBuf,
    ) -> Self {
        Self { config, tensors, origin }
    }

    /// Settings of the adapter.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Adds a copy of a whole tensor that belongs to the adapter.
    pub fn add_tensor(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        self.tensors.insert(name.to_owned(), copy_of(tensor)?);
        Ok(())
    }

    /// Removes a whole tensor that belongs to the adapter.
    pub fn take_tensor(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// Adds the adapters of another state, on layers that this one does not adapt.
    ///
    /// # Errors
    /// [`Error::DifferentScaling`] if the two differ in scaling or DoRA.
    pub fn extend(&mut self, other: Self) -> Result<()> {
        let (ours, theirs) = (&mut self.config, other.config);
        if (ours.scaling, ours.dora) != (theirs.scaling, theirs.dora) {
            return Err(Error::DifferentScaling);
        }
        let mut names = Vec::new();
        for name in other.tensors.keys() {
            names.extend(name.strip_suffix(".lora_A.weight").map(str::to_owned));
        }
        for name in &names {
            ours.rank_pattern.insert(regex::escape(name), theirs.rank);
            ours.alpha_pattern.insert(regex::escape(name), theirs.alpha);
        }
        if let Targets::Names(targets) = &mut ours.targets {
            targets.extend(names);
        }
        self.tensors.extend(other.tensors);
        Ok(())
    }

    /// Takes `A` and `B` of a layer.
    pub(crate) fn take_layer(
        &mut self,
        layer: &str,
        a_shape: [i64; 2],
        b_shape: [i64; 2],
    ) -> Result<(Tensor, Tensor)> {
        let mut problems = Vec::new();
        let a = self.take_shaped(a_name(layer), &a_shape, &mut problems);
        let b = self.take_shaped(b_name(layer), &b_shape, &mut problems);
        match (a, b) {
            (Some(a), Some(b)) => Ok((a, b)),
            _ => Err(self.mismatch(problems)),
        }
    }

    /// Takes the magnitudes `[out]` of a layer.
    pub(crate) fn take_magnitude(&mut self, layer: &str, out: i64) -> Result<Tensor> {
        let mut problems = Vec::new();
        self.take_shaped(magnitude_name(layer), &[out], &mut problems)
            .ok_or_else(|| self.mismatch(problems))
    }

    fn take_shaped(
        &mut self,
        name: String,
        shape: &[i64],
        problems: &mut Vec<TensorProblem>,
    ) -> Option<Tensor> {
        match self.tensors.remove(&name) {
            None => {
                problems.push(TensorProblem::Missing { name });
                None
            }
            Some(tensor) if tensor.size() != shape => {
                let (expected, shape) = (shape.to_vec(), tensor.size());
                problems.push(TensorProblem::Shape { name, expected, shape });
                None
            }
            found => found,
        }
    }

    /// Refuses tensors that no layer took: they belong to another model.
    pub(crate) fn all_taken(&self) -> Result<()> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        let problems = self.tensors.keys().map(|name| TensorProblem::Unused { name: name.clone() });
        Err(self.mismatch(problems.collect()))
    }

    /// Returns a copy that shares the tensors, to take them one by one.
    pub(crate) fn shared(&self) -> Self {
        let tensors = self.tensors.iter();
        let tensors = tensors.map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
        Self::with(self.config.clone(), tensors.collect(), self.origin.clone())
    }

    pub(crate) fn mismatch(&self, problems: Vec<TensorProblem>) -> Error {
        Error::Mismatch { path: self.origin.clone(), problems }
    }
}

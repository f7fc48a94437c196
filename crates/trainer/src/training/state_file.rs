//! Files of checkpoints: float32 tensors with a state as JSON, in the safetensors format.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use gpt2_model::tensor;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use storage::Sha256;
use tch::{Kind, Tensor};

use crate::{
    error::{Error, Result},
    training::{adamw::AdamW, checkpoint_error::CheckpointError},
};

/// A loaded file.
#[derive(Debug)]
pub(crate) struct StateFile<T> {
    pub path: PathBuf,
    /// State in the metadata.
    pub state: T,
    tensors: BTreeMap<String, Tensor>,
}

/// Name of the metadata entry with a SHA-256 of state and tensors.
const CHECKSUM: &str = "sha256";

/// SHA-256 of the state and of the tensors, sorted by name.
fn checksum<'a>(
    state: &str,
    tensors: impl Iterator<Item = (&'a str, &'a TensorView<'a>)>,
) -> String {
    let mut digest = Sha256::new();
    digest.update(state);
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_by_key(|(name, _)| *name);
    for (name, view) in tensors {
        digest.update(format!("\n{name} {:?} {:?}\n", view.dtype(), view.shape()));
        digest.update(view.data());
    }
    digest.finish()
}

/// Writes float32 tensors, and `state` as the metadata entry `entry`.
pub(crate) fn save(
    path: &Path,
    entry: &str,
    state: &impl Serialize,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    let mut stored = Vec::new();
    for (name, tensor) in tensors {
        let shape: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
        stored.push((name, shape, tensor::bytes(tensor)?));
    }
    let mut views = Vec::new();
    for (name, shape, bytes) in &stored {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
            .map_err(|error| Error::serialize("checkpoint", &error))?;
        views.push((name, view));
    }
    let state =
        serde_json::to_string(state).map_err(|error| Error::serialize("checkpoint", &error))?;
    let sum = checksum(&state, views.iter().map(|(name, view)| (name.as_str(), view)));
    let metadata = HashMap::from([(entry.to_owned(), state), (CHECKSUM.to_owned(), sum)]);
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|error| Error::serialize("checkpoint", &error))?;
    Ok(storage::write_atomic(path, &bytes)?)
}

/// Tensors of a training: each parameter with its optimizer state.
pub(crate) fn of_training<'a>(
    parameters: impl Iterator<Item = (String, &'a Tensor)>,
    optimizer: &AdamW,
) -> Vec<(String, Tensor)> {
    let mut tensors = Vec::new();
    for ((name, value), (mean, mean_square)) in parameters.zip(optimizer.state()) {
        for (kind, tensor) in [("value", value), ("mean", mean), ("mean_square", mean_square)] {
            tensors.push((format!("{kind}.{name}"), tensor.shallow_clone()));
        }
    }
    tensors
}

impl<T: DeserializeOwned> StateFile<T> {
    /// Loads a file written by [`save`].
    pub fn load(path: &Path, entry: &str) -> Result<Self> {
        let bytes = fs::read(path).map_err(storage::Error::read(path))?;
        Self::parse(path, &bytes, entry)
    }

    /// Parses the bytes of a file written by [`save`].
    pub fn parse(path: &Path, bytes: &[u8], entry: &str) -> Result<Self> {
        let damaged = |reason: &dyn Display| Error::Checkpoint {
            path: path.to_owned(),
            problem: CheckpointError::Damaged(reason.to_string()),
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error))?;
        let stored = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;
        let metadata = |name: &str| header.metadata().as_ref().and_then(|all| all.get(name));
        let state =
            metadata(entry).ok_or_else(|| damaged(&format!("it has no metadata {entry}")))?;
        let views = stored.tensors();
        let sum = checksum(state, views.iter().map(|(name, view)| (name.as_str(), view)));
        if metadata(CHECKSUM) != Some(&sum) {
            return Err(damaged(&"wrong checksum"));
        }
        let state = serde_json::from_str(state).map_err(|error| damaged(&error))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in stored.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(damaged(&format!("{name}: expected F32, got {:?}", view.dtype())));
            }
            let size: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &size, Kind::Float)?;
            tensors.insert(name.to_owned(), tensor);
        }
        Ok(Self { path: path.to_owned(), state, tensors })
    }
}

impl<T> StateFile<T> {
    /// Returns the tensor of a name, which must have this shape.
    pub fn tensor(&self, name: &str, shape: &[i64]) -> Result<&Tensor> {
        let found = self.tensors.get(name).filter(|tensor| tensor.size() == shape);
        found.ok_or_else(|| {
            let (name, shape) = (name.to_owned(), shape.to_owned());
            self.refused(CheckpointError::Tensor { name, shape })
        })
    }

    /// Restores parameters and optimizer, after `steps` steps, from the tensors of
    /// [`of_training`].
    pub fn restore<'a>(
        &self,
        parameters: impl Iterator<Item = (String, &'a Tensor)>,
        steps: i32,
        optimizer: &mut AdamW,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let mut state = Vec::new();
        for (name, value) in parameters {
            let shape = value.size();
            let get = |kind: &str| self.tensor(&format!("{kind}.{name}"), &shape);
            let saved = get("value")?;
            state.push((get("mean")?, get("mean_square")?));
            value.shallow_clone().f_copy_(saved)?;
        }
        optimizer.restore(steps, state)
    }

    /// Error that names the file.
    pub fn refused(&self, problem: CheckpointError) -> Error {
        Error::Checkpoint { path: self.path.clone(), problem }
    }

    /// Refuses other settings; both are JSON objects.
    pub fn check_settings(&self, was: &Value, is: &Value) -> Result<()> {
        let changed = changes(was, is);
        if changed.is_empty() {
            return Ok(());
        }
        Err(self.refused(CheckpointError::Settings { changed }))
    }
}

/// Lists the settings that differ, with their previous values.
pub(crate) fn changes(was: &Value, is: &Value) -> Vec<String> {
    let entries = was.as_object().into_iter().flatten();
    let mut changed: Vec<String> = entries
        .filter(|(name, value)| is.get(name.as_str()) != Some(value))
        .map(|(name, value)| match value {
            Value::Null => format!("{} was not given", name.replace('_', "-")),
            value => format!("{} was {value}", name.replace('_', "-")),
        })
        .collect();
    let new = is.as_object().into_iter().flatten();
    let new = new.filter(|(name, _)| was.get(name.as_str()).is_none());
    changed.extend(new.map(|(name, _)| format!("{} was not given", name.replace('_', "-"))));
    changed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use tch::Device;
    use test_support::corrupted;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn loaded_file_equals_the_saved_one(bytes in corrupted(&intact())) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.safetensors");
            fs::write(&path, bytes).unwrap();
            match StateFile::<Value>::load(&path, "state") {
                Err(error) => {
                    let error = error.to_string();
                    let name = path.display().to_string();
                    prop_assert!(error.starts_with(&name) && !error.contains('\n'), "{error}");
                }
                Ok(file) => {
                    prop_assert_eq!(&file.state, &json!({"step": 3}));
                    for (name, tensor) in tensors() {
                        prop_assert_eq!(file.tensor(&name, &tensor.size()).unwrap(), &tensor);
                    }
                }
            }
        }
    }

    fn tensors() -> Vec<(String, Tensor)> {
        let ones = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
        vec![("a".to_owned(), &ones * 0.5), ("b".to_owned(), ones)]
    }

    /// Bytes of a file of [`tensors`].
    fn intact() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        save(&path, "state", &json!({"step": 3}), &tensors()).unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn flipped_bit_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let mut bytes = intact();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = StateFile::<Value>::load(&path, "state").unwrap_err();
        let Error::Checkpoint { path: named, problem } = error else { panic!("{error}") };
        assert_eq!((named, problem), (path, CheckpointError::Damaged("wrong checksum".to_owned())));
    }

    #[test]
    fn changed_settings_are_listed_with_previous_values() {
        let was = json!({"lr": 0.1, "a_b": null, "c": 1});
        let is = json!({"lr": 0.2, "a_b": 3, "c": 1, "d": 1});
        let mut changed = changes(&was, &is);
        changed.sort();
        assert_eq!(changed, ["a-b was not given", "d was not given", "lr was 0.1"]);
        assert!(changes(&is, &is).is_empty());
    }
}

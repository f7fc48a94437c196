//! Checkpoints of a training run: files in `checkpoints/` of its folder, each whole
//! or not there, from which the run goes on as if it had never stopped.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dataset::TorchRngState;
use gpt2_model::tensor::is_finite;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::{Written, create_directory};
use tch::Tensor;

use crate::{
    config::layers::Layer,
    error::{Error, Result},
    training::early_stopping::{Best, EarlyStopping},
    training::loss_scale::LossScale,
    training::state_file::{self, StateFile},
    training::step::Stepper,
};

/// Name of the metadata entry that holds [`Progress`] as JSON.
const PROGRESS: &str = "training";

/// Where a training stands: the place in the data, and the generators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Steps taken.
    pub step: usize,
    /// The epoch that goes on, from 1.
    pub epoch: usize,
    /// Steps taken in it.
    pub done: usize,
    /// Whether no step follows.
    pub is_over: bool,
    /// The generator before the order of the epoch was drawn.
    pub epoch_rng: TorchRngState,
    /// The generator now.
    pub rng: TorchRngState,
    /// Time of training so far.
    pub seconds: f64,
}

/// What a run is: what must not change while it goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The resolved settings.
    pub settings: Layer,
    #[serde(flatten)]
    pub inputs: InputDigests,
}

/// Digests of the files that a run reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InputDigests {
    /// SHA-256 of the data.
    pub data: String,
    /// Digest of the base model's weights.
    pub base: String,
    /// Digest of the adapter that is continued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

impl InputDigests {
    /// Returns the name of the first input that differs.
    pub fn changed(&self, other: &Self) -> Option<&'static str> {
        let changes = [
            ("dataset", self.data != other.data),
            ("base model", self.base != other.base),
            ("adapter", self.adapter != other.adapter),
        ];
        changes.into_iter().find(|(_, is_changed)| *is_changed).map(|(name, _)| name)
    }
}

/// What a checkpoint says beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub position: Position,
    optimizer_steps: i32,
    loss_scale: Option<LossScale>,
    best: Option<Best>,
    /// The part of `metrics.jsonl` that belongs to it.
    pub metrics: Written,
    identity: Identity,
}

/// All that decides how a training goes on.
pub(crate) struct TrainingState<'a> {
    pub position: &'a Position,
    pub stepper: &'a Stepper,
    pub stopping: &'a EarlyStopping,
    pub parameters: &'a [Tensor],
}

/// Name of the directory with the checkpoints of a run.
pub(crate) const DIRECTORY: &str = "checkpoints";

fn folder(out: &Path) -> PathBuf {
    out.join(DIRECTORY)
}

/// The checkpoints of a run and their steps, the oldest first.
pub(crate) fn list(out: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let folder = folder(out);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    };
    let failed = |error| storage::Error::write(&folder)(error);
    let mut found = Vec::new();
    for entry in entries.map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("step-").and_then(|rest| rest.strip_suffix(".safetensors"));
        if let Some(step) = number.and_then(|number| number.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a checkpoint, and deletes all but the last `keep`. Of parameters that are no
/// numbers any more none is kept: it would take the place of one that is of use.
pub(crate) fn save(
    out: &Path,
    keep: usize,
    identity: &Identity,
    metrics: Written,
    state: &TrainingState<'_>,
) -> Result<()> {
    for parameter in state.parameters {
        if !is_finite(parameter)? {
            return Ok(());
        }
    }
    let folder = folder(out);
    create_directory(&folder)?;
    let progress = Progress {
        position: state.position.clone(),
        optimizer_steps: state.stepper.optimizer().steps(),
        loss_scale: state.stepper.loss_scale(),
        best: state.stopping.best(),
        metrics,
        identity: identity.clone(),
    };
    let (parameters, optimizer) = (numbered(state.parameters), state.stepper.optimizer());
    let mut tensors = state_file::of_training(parameters, optimizer);
    let best = numbered(state.stopping.copy());
    tensors.extend(best.map(|(number, best)| (format!("best.{number}"), best.shallow_clone())));
    let path = folder.join(format!("step-{:08}.safetensors", state.position.step));
    state_file::save(&path, PROGRESS, &progress, &tensors)?;
    let all = list(out)?;
    for (_, old) in &all[..all.len().saturating_sub(keep)] {
        fs::remove_file(old).map_err(storage::Error::write(old))?;
    }
    Ok(())
}

/// How far a run was when it kept its last checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastCheckpoint {
    /// The file.
    pub path: PathBuf,
    /// Steps taken.
    pub step: usize,
    /// The epoch of the next step, from 1.
    pub epoch: usize,
    /// Time of training so far, in seconds.
    pub seconds: f64,
}

/// The last checkpoint in the folder of a run; none of one that is finished, or that
/// has kept none yet.
///
/// # Errors
/// [`Error::Checkpoint`] for a file that is damaged.
pub fn last_checkpoint(out: &Path) -> Result<Option<LastCheckpoint>> {
    let Some(checkpoint) = Checkpoint::last(out)? else { return Ok(None) };
    let Position { step, epoch, seconds, .. } = checkpoint.progress().position;
    Ok(Some(LastCheckpoint { path: checkpoint.file.path, step, epoch, seconds }))
}

/// Deletes the checkpoints of a run that is finished.
pub(crate) fn delete(out: &Path) -> Result<()> {
    let folder = folder(out);
    match fs::remove_dir_all(&folder) {
        Err(error) if folder.exists() => Err(storage::Error::write(folder)(error).into()),
        _ => Ok(()),
    }
}

/// Parameters under their numbers.
fn numbered(parameters: &[Tensor]) -> impl Iterator<Item = (String, &Tensor)> {
    parameters.iter().enumerate().map(|(number, parameter)| (number.to_string(), parameter))
}

/// A checkpoint that was read.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    file: StateFile<Progress>,
}

impl Checkpoint {
    /// Reads the last checkpoint of a run, if it has one.
    pub fn last(out: &Path) -> Result<Option<Self>> {
        let Some((_, path)) = list(out)?.pop() else { return Ok(None) };
        Ok(Some(Self { file: StateFile::load(&path, PROGRESS)? }))
    }

    pub fn progress(&self) -> &Progress {
        &self.file.about
    }

    /// An error that names the file.
    pub fn refused(&self, reason: String) -> Error {
        self.file.refused(reason)
    }

    /// Refuses to go on as another run.
    pub fn check(&self, identity: &Identity) -> Result<()> {
        let was = &self.progress().identity;
        self.file.check_settings(&decisive(&was.settings), &decisive(&identity.settings))?;
        match was.inputs.changed(&identity.inputs) {
            None => Ok(()),
            Some(what) => Err(self.refused(format!(
                "the run was begun with another {what}: its files have changed; put them back, or \
                 give --out another folder"
            ))),
        }
    }

    /// Sets everything back to where it was.
    pub fn restore(
        &self,
        parameters: &[Tensor],
        stepper: &mut Stepper,
        stopping: &mut EarlyStopping,
    ) -> Result<()> {
        let progress = self.progress();
        let optimizer = stepper.optimizer_mut();
        self.file.restore(numbered(parameters), progress.optimizer_steps, optimizer)?;
        stepper.set_loss_scale(progress.loss_scale);
        let mut best = Vec::new();
        if progress.best.is_some() && stopping.keeps_best() {
            for (number, value) in numbered(parameters) {
                let saved = self.file.tensor(&format!("best.{number}"), &value.size())?;
                best.push(saved.f_to_device(value.device())?);
            }
        }
        stopping.resume(progress.best, best);
        Ok(())
    }
}

/// The settings that decide the results of a run. Files are compared by their contents.
pub(crate) fn decisive(settings: &Layer) -> Value {
    let mut settings = settings.clone();
    for name in [
        "model",
        "data",
        "validation-data",
        "test-data",
        "adapter",
        "tensorboard",
        "checkpoint-every",
        "keep-checkpoints",
        "save-dtype",
    ] {
        settings.remove(name);
    }
    Value::Object(settings)
}

#[cfg(test)]
mod tests;

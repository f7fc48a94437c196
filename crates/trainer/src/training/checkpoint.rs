//! Checkpoints: files in `checkpoints/` of a run, from which it resumes as if it had not been
//! interrupted.

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
    training::checkpoint_error::CheckpointError,
    training::early_stopping::{Best, EarlyStopping},
    training::loss_scale::LossScale,
    training::state_file::{self, StateFile},
    training::step::Stepper,
};

/// Name of the metadata entry that holds [`Progress`] as JSON.
const PROGRESS: &str = "training";

/// Position in the data, and the states of the random number generators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Steps taken.
    pub step: usize,
    /// Current epoch, from 1.
    pub epoch: usize,
    /// Steps taken in the current epoch.
    pub done: usize,
    /// True if training is finished.
    pub is_over: bool,
    /// Generator before the order of the current epoch was drawn.
    pub epoch_rng: TorchRngState,
    /// Generator after the last step.
    pub rng: TorchRngState,
    /// Duration of the training so far, in seconds.
    pub seconds: f64,
}

/// Settings and inputs of a run, which must not change when it is resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Resolved settings.
    pub settings: Layer,
    #[serde(flatten)]
    pub inputs: InputDigests,
}

/// Digests of the files that a run reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InputDigests {
    /// SHA-256 of the data.
    pub data: String,
    /// Digest of the base model.
    pub base: String,
    /// Fingerprint of the tokenizer; `None` for GPT-2's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Digest of a continued adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

impl InputDigests {
    /// Returns the name of the first input that differs.
    pub fn changed(&self, other: &Self) -> Option<&'static str> {
        let changes = [
            ("dataset", self.data != other.data),
            ("base model", self.base != other.base),
            (
                "tokenizer, or by an earlier version that stored less of it",
                self.lacks_special_tokens(other),
            ),
            ("tokenizer", self.tokenizer != other.tokenizer),
            ("adapter", self.adapter != other.adapter),
        ];
        changes.into_iter().find(|(_, is_changed)| *is_changed).map(|(name, _)| name)
    }

    /// Returns whether the fingerprint of the tokenizer is the other one without its special tokens.
    fn lacks_special_tokens(&self, other: &Self) -> bool {
        let fingerprints = self.tokenizer.as_deref().zip(other.tokenizer.as_deref());
        fingerprints.is_some_and(|(was, is)| {
            is.strip_prefix(was).is_some_and(|special| special.starts_with(' '))
        })
    }
}

/// State in a checkpoint besides its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub position: Position,
    optimizer_steps: i32,
    loss_scale: Option<LossScale>,
    best: Option<Best>,
    /// Prefix of `metrics.jsonl` written before the checkpoint.
    pub metrics: Written,
    identity: Identity,
}

/// State of a training that determines how it continues.
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

/// Lists the checkpoints of a run with their steps, oldest first.
pub(crate) fn list(out: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let folder = folder(out);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    };
    let failed = |error| storage::Error::read(&folder)(error);
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

/// Writes a checkpoint and deletes all but the last `keep`. Writes none if a parameter is NaN
/// or infinite, because it would replace a useful one.
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

/// Progress of a run at its last checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastCheckpoint {
    /// The file.
    pub path: PathBuf,
    /// Steps taken.
    pub step: usize,
    /// Epoch of the next step, from 1.
    pub epoch: usize,
    /// Duration of the training so far, in seconds.
    pub seconds: f64,
}

/// Returns the last checkpoint in the directory of a run; `None` for a finished run, or one
/// without a checkpoint yet.
///
/// # Errors
/// [`Error::Checkpoint`] for a damaged file.
pub fn last_checkpoint(out: &Path) -> Result<Option<LastCheckpoint>> {
    let Some(checkpoint) = Checkpoint::last(out)? else { return Ok(None) };
    let Position { step, epoch, seconds, .. } = checkpoint.progress().position;
    Ok(Some(LastCheckpoint { path: checkpoint.file.path, step, epoch, seconds }))
}

/// Deletes the checkpoints of a finished run.
pub(crate) fn delete(out: &Path) -> Result<()> {
    let folder = folder(out);
    match fs::remove_dir_all(&folder) {
        Err(error) if folder.exists() => Err(storage::Error::write(folder)(error).into()),
        _ => Ok(()),
    }
}

/// Names parameters by their index.
fn numbered(parameters: &[Tensor]) -> impl Iterator<Item = (String, &Tensor)> {
    parameters.iter().enumerate().map(|(number, parameter)| (number.to_string(), parameter))
}

/// A loaded checkpoint.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    file: StateFile<Progress>,
}

impl Checkpoint {
    /// Loads the last checkpoint of a run, if it has one.
    pub fn last(out: &Path) -> Result<Option<Self>> {
        let Some((_, path)) = list(out)?.pop() else { return Ok(None) };
        Ok(Some(Self { file: StateFile::load(&path, PROGRESS)? }))
    }

    /// The bytes of the file.
    pub fn read(&self) -> Result<Vec<u8>> {
        let path = &self.file.path;
        Ok(fs::read(path).map_err(storage::Error::read(path))?)
    }

    /// Loads a checkpoint that another process has [`read`](Self::read) from its directory `out`;
    /// without bytes, there is none.
    pub fn received(out: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        let parsed = || StateFile::parse(&folder(out), bytes, PROGRESS);
        Ok((!bytes.is_empty()).then(parsed).transpose()?.map(|file| Self { file }))
    }

    pub fn progress(&self) -> &Progress {
        &self.file.state
    }

    /// Error that names the file.
    pub fn refused(&self, problem: CheckpointError) -> Error {
        self.file.refused(problem)
    }

    /// Refuses to resume a run with other settings or inputs.
    pub fn check(&self, identity: &Identity) -> Result<()> {
        let was = &self.progress().identity;
        self.file.check_settings(&decisive(&was.settings), &decisive(&identity.settings))?;
        match was.inputs.changed(&identity.inputs) {
            None => Ok(()),
            Some(input) => Err(self.refused(CheckpointError::Input { input })),
        }
    }

    /// Restores parameters, optimizer, loss scale and early stopping.
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

/// Settings with the location of files.
pub(crate) const LOCATIONS: [&str; 7] = [
    "model",
    "data",
    "validation-data",
    "test-data",
    "adapter",
    "prompt-template",
    "chat-template",
];

/// Settings that determine the results of a run. Files are compared by their contents.
pub(crate) fn decisive(settings: &Layer) -> Value {
    let mut settings = settings.clone();
    for name in LOCATIONS {
        settings.remove(name);
    }
    for name in ["tensorboard", "checkpoint-every", "keep-checkpoints", "save-dtype"] {
        settings.remove(name);
    }
    Value::Object(settings)
}

#[cfg(test)]
mod tests;

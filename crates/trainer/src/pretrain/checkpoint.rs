//! The checkpoint of a pretraining run: one file, whole or not there, from which
//! the run goes on as if it had never stopped.

use std::path::{Path, PathBuf};

use gpt2_model::Gpt2Config;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::config::PretrainConfig;
use crate::{
    error::Result,
    run::files::make_folder,
    training::adamw::AdamW,
    training::state_file::{self, StateFile},
};

/// Name of the metadata entry that holds [`Progress`] as JSON.
const PROGRESS: &str = "pretrain";

/// What a run has done, beside its tensors. The order of the windows and what is
/// sampled follow from the seed and the step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps taken.
    pub step: usize,
    /// Time of training so far.
    pub seconds: f64,
    /// The run, as it was begun.
    pub config: PretrainConfig,
    /// The model's shape. Models of the same tensors may compute differently.
    #[serde(default)]
    pub shape: Option<Gpt2Config>,
    /// Digest of the text.
    pub corpus: String,
}

/// The file of a run's checkpoint.
pub(crate) fn file(out: &Path) -> PathBuf {
    out.join("checkpoint").join("state.safetensors")
}

/// Writes the checkpoint of a run.
pub(crate) fn save(
    out: &Path,
    progress: &Progress,
    parameters: &[(String, Tensor)],
    optimizer: &AdamW,
) -> Result<()> {
    make_folder(&out.join("checkpoint"))?;
    let tensors = state_file::of_training(named(parameters), optimizer);
    state_file::save(&file(out), PROGRESS, progress, &tensors)
}

/// A checkpoint that was read.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    file: StateFile<Progress>,
}

impl Checkpoint {
    /// Reads the checkpoint of a run.
    pub fn load(out: &Path) -> Result<Self> {
        Ok(Self { file: StateFile::load(&file(out), PROGRESS)? })
    }

    /// What the run has done.
    pub fn progress(&self) -> &Progress {
        &self.file.about
    }

    /// Refuses to go on with other settings, another model or another text.
    pub fn check(&self, config: &PretrainConfig, shape: &Gpt2Config, corpus: &str) -> Result<()> {
        let json = |config: &PretrainConfig| {
            let value = serde_json::to_value(config.decisive());
            value.map_err(|error| self.file.refused(error.to_string()))
        };
        let progress = self.progress();
        self.file.check_settings(&json(&progress.config)?, &json(config)?)?;
        if progress.shape.as_ref().is_some_and(|was| was != shape) {
            return Err(self.file.refused(format!(
                "the run was begun with a model of another shape than {} says; go on with that, \
                 or give --out another folder",
                config.config.display()
            )));
        }
        if progress.corpus != corpus {
            return Err(self.file.refused(
                "the run was begun with another text; go on with that, or give --out another \
                 folder"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Sets the parameters and the optimizer back to where they were.
    pub fn restore(&self, parameters: &[(String, Tensor)], optimizer: &mut AdamW) -> Result<()> {
        let steps = i32::try_from(self.progress().step).unwrap_or(i32::MAX);
        self.file.restore(named(parameters), steps, optimizer)
    }
}

fn named(parameters: &[(String, Tensor)]) -> impl Iterator<Item = (String, &Tensor)> {
    parameters.iter().map(|(name, parameter)| (name.clone(), parameter))
}

/// Deletes the checkpoint of a run that is finished.
pub(crate) fn delete(out: &Path) -> Result<()> {
    state_file::delete(out.join("checkpoint"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use safetensors::tensor::TensorView;
    use tch::{Device, Kind};

    use super::*;
    use crate::{pretrain::PretrainArgs, training::adamw::AdamWConfig};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: PretrainArgs,
    }

    const SHAPE: &str =
        r#"{"vocab_size": 9, "n_positions": 4, "n_embd": 2, "n_layer": 1, "n_head": 1}"#;

    fn config(folder: &Path, options: &[&str]) -> PretrainConfig {
        let file = folder.join("config.json");
        fs::write(&file, SHAPE).unwrap();
        let file = file.display().to_string();
        let command = ["pretrain", "--text", "a.txt", "--config", &file, "--out", "out"];
        Command::parse_from(command.iter().chain(options)).args.resolve().unwrap()
    }

    fn parameters(value: f64) -> Vec<(String, Tensor)> {
        let tensor = |size: &[i64]| {
            let ones = Tensor::ones(size, (Kind::Float, Device::Cpu));
            (ones * value).set_requires_grad(true)
        };
        vec![("one".to_owned(), tensor(&[2, 3])), ("two".to_owned(), tensor(&[4]))]
    }

    fn optimizer(parameters: &[(String, Tensor)]) -> AdamW {
        let values = parameters.iter().map(|(_, value)| value.shallow_clone()).collect();
        AdamW::new(values, AdamWConfig::default()).unwrap()
    }

    fn step(parameters: &[(String, Tensor)], optimizer: &mut AdamW) {
        optimizer.zero_grad().unwrap();
        for (_, value) in parameters {
            value.sin().sum(Kind::Float).backward();
        }
        optimizer.step().unwrap();
    }

    /// A checkpoint after three steps, in the folder.
    fn saved(folder: &Path) -> (Progress, Vec<(String, Tensor)>, AdamW) {
        let parameters = parameters(0.3);
        let mut optimizer = optimizer(&parameters);
        for _ in 0..3 {
            step(&parameters, &mut optimizer);
        }
        let progress = Progress {
            step: 3,
            seconds: 0.1,
            config: config(folder, &["--clip", "inf", "--lr", "0.0123456789012345"]),
            shape: Some(Gpt2Config::from_json(SHAPE).unwrap()),
            corpus: "digest".to_owned(),
        };
        save(folder, &progress, &parameters, &optimizer).unwrap();
        (progress, parameters, optimizer)
    }

    #[test]
    fn what_is_saved_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (progress, ours, mut optimizer_of_ours) = saved(folder.path());
        let checkpoint = Checkpoint::load(folder.path()).unwrap();
        assert_eq!(checkpoint.progress(), &progress);
        let shape = Gpt2Config::from_json(SHAPE).unwrap();
        checkpoint.check(&progress.config, &shape, "digest").unwrap();

        let theirs = parameters(9.0);
        let mut optimizer_of_theirs = optimizer(&theirs);
        checkpoint.restore(&theirs, &mut optimizer_of_theirs).unwrap();
        for _ in 0..3 {
            step(&ours, &mut optimizer_of_ours);
            step(&theirs, &mut optimizer_of_theirs);
        }
        assert_eq!(ours, theirs);
        assert_eq!(optimizer_of_theirs.steps(), 6);

        delete(folder.path()).unwrap();
        assert!(!folder.path().join("checkpoint").exists());
        delete(folder.path()).unwrap();
    }

    #[test]
    fn what_differs_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (progress, ..) = saved(folder.path());
        let checkpoint = Checkpoint::load(folder.path()).unwrap();
        let shape = Gpt2Config::from_json(SHAPE).unwrap();
        let refused = |config: &PretrainConfig, shape: &Gpt2Config, corpus: &str, words: &str| {
            let error = checkpoint.check(config, shape, corpus).unwrap_err().to_string();
            assert!(error.contains("state.safetensors") && error.contains(words), "{error}");
        };
        let mut other = progress.config.clone();
        other.out = "elsewhere".into();
        other.eval_every = 7;
        checkpoint.check(&other, &shape, "digest").unwrap();
        other.seed = 1;
        refused(&other, &shape, "digest", "(seed was 123)");
        refused(&progress.config, &shape, "other", "another text");
        let by_layer = Gpt2Config { scale_attn_by_inverse_layer_idx: true, ..shape.clone() };
        refused(&progress.config, &by_layer, "digest", "another shape");

        let mut more = parameters(1.0);
        more.push(("three".to_owned(), Tensor::from(1f32)));
        let error = checkpoint.restore(&more, &mut optimizer(&more)).unwrap_err().to_string();
        assert!(error.contains("value.three"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Checkpoint::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("state.safetensors: cannot be read"), "{error}");
        saved(folder.path());
        let path = file(folder.path());
        let whole = fs::read(&path).unwrap();
        let lengths = [0, 4, 8, 100, whole.len() / 2, whole.len() - 1];
        let cut = lengths.into_iter().map(|length| whole[..length].to_vec());
        let no_checkpoint = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None);
        for bytes in cut.chain([no_checkpoint.unwrap(), vec![255; 50]]) {
            fs::write(&path, bytes).unwrap();
            let error = Checkpoint::load(folder.path()).unwrap_err().to_string();
            let expected = format!("{}: not a whole checkpoint", path.display());
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}

//! From settings to a run: derived settings are filled in, and everything is checked that
//! needs neither the data nor the model.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use dataset::{LabeledFiles, SplitConfig};
use gpt2_model::{Arithmetic, DType, Pooling};
use lora::{Init, LoraConfig};

use crate::{
    config::{
        paths,
        settings::{Balance, DataSettings, PadTo, Settings, TrainingSettings},
    },
    error::{Error, Result},
    task::{classification::class_weights::ClassWeights, kind::TaskKind},
    trainable::parameters::{Train, WeightDecayOn},
    training::schedule::Decay,
};

/// Counts above this are typing errors, and sums of them would overflow.
pub(crate) const MAX_COUNT: usize = 1_000_000_000;
/// libtorch aborts where the system has no thread left to give.
pub(crate) const MAX_THREADS: usize = 1024;

/// A run with every setting resolved and its paths known.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedRun {
    /// The settings.
    pub settings: Settings,
    /// Directory of the base model.
    pub model: PathBuf,
    /// The labeled or plain text.
    pub data: Vec<PathBuf>,
    /// Output directory.
    pub out: PathBuf,
    /// The adapter.
    pub lora: LoraConfig,
    /// The `fine_tuning.json` of the model, if it set defaults.
    pub model_defaults: Option<PathBuf>,
}

impl ResolvedRun {
    /// Resolves settings.
    ///
    /// # Errors
    /// [`Error::Config`] for invalid settings, [`Error::Missing`] if the model or the data
    /// are not there.
    pub fn new(mut settings: Settings) -> Result<Self> {
        let model = paths::model(&settings.model, settings.random_init)?;
        settings.fill_derived();
        let lora = settings.adapter.lora()?;
        settings.check(&lora)?;
        let is_table = settings.task == TaskKind::Classify;
        let data = paths::data(&settings.data.data, is_table)?;
        for file in settings.data.validation_data.iter().chain(&settings.data.test_data) {
            paths::data(std::slice::from_ref(file), is_table)?;
        }
        if let (false, Some(pipe)) =
            (settings.training.seeds.is_empty(), data.iter().find(|path| paths::is_pipe(path)))
        {
            return Err(Error::Config(format!(
                "{} can be read only once, and --seeds reads the data for every seed; give a file",
                pipe.display()
            )));
        }
        let out = paths::out(settings.out.as_deref(), &settings.model)?;
        Ok(Self { settings, model, data, out, lora, model_defaults: None })
    }

    /// The settings that repeat the run in another directory: `run.toml`.
    pub(crate) fn repeating(&self) -> Settings {
        let absolute = |path: &Path| match path.to_str() {
            Some("-") => path.to_owned(),
            _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        };
        let mut settings = self.settings.clone();
        settings.model = match self.model.file_name() {
            // A name is enough for a model that is only initialized randomly.
            Some(name) if !self.model.exists() => name.to_string_lossy().into_owned(),
            _ => absolute(&self.model).display().to_string(),
        };
        let data = &mut settings.data;
        data.data = self.data.iter().map(|file| absolute(file)).collect();
        for file in [&mut data.validation_data, &mut data.test_data] {
            *file = file.as_deref().map(absolute);
        }
        settings.adapter.adapter = settings.adapter.adapter.as_deref().map(absolute);
        settings.out = None;
        settings.training.seeds = Vec::new();
        settings
    }

    /// The files of labeled text, and how they are read.
    pub fn labeled_files(&self) -> LabeledFiles {
        let data = &self.settings.data;
        LabeledFiles {
            paths: self.data.clone(),
            validation: data.validation_data.clone(),
            test: data.test_data.clone(),
            options: data.table_options(),
        }
    }

    /// Returns the SHA-256 of the data in hexadecimal; for several files, the SHA-256 of a
    /// list of their checksums.
    pub(crate) fn data_sha256(&self) -> Result<String> {
        if self.settings.task == TaskKind::Classify {
            return Ok(self.labeled_files().sha256()?);
        }
        let sums = self.data.iter().map(|file| storage::sha256_file(file));
        let sums = sums.collect::<storage::Result<Vec<_>>>()?;
        Ok(if sums.len() == 1 { sums.concat() } else { storage::sha256(sums.concat().as_bytes()) })
    }

    /// How they become splits.
    pub fn split(&self) -> SplitConfig {
        let data = &self.settings.data;
        SplitConfig {
            seed: data.split_seed.unwrap_or(self.settings.training.seed),
            quotes: data.quotes,
            balance: data.balance != Some(Balance::None),
            stratify: data.stratify,
            ..SplitConfig::default()
        }
    }
}

impl Settings {
    /// All paths that are given.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let DataSettings { data, validation_data, test_data, .. } = &self.data;
        let adapter = &self.adapter.adapter;
        data.iter().chain(validation_data).chain(test_data).chain(&self.out).chain(adapter)
    }

    /// Fills in what depends on other settings.
    fn fill_derived(&mut self) {
        let (data, training) = (&mut self.data, &mut self.training);
        // Presets for other runs, which run.toml must not repeat as if they were given.
        if training.schedule == Decay::Constant {
            training.min_lr_ratio = 0.0;
        }
        if self.train == Train::Lora {
            training.weight_decay_on = WeightDecayOn::default();
            self.output.save_dtype = DType::default();
        }
        data.split_seed.get_or_insert(training.seed);
        if self.task == TaskKind::LanguageModel {
            return;
        }
        data.balance.get_or_insert(match (&data.test_data, &training.class_weights) {
            (None, ClassWeights::None) => Balance::Undersample,
            _ => Balance::None,
        });
        if training.pad_to.is_none()
            && training.pooling == Pooling::LastToken
            && self.machine.arithmetic == Arithmetic::Stepwise
        {
            training.pad_to = Some(PadTo::Longest);
        }
        training.pad_to = Some(training.padding());
    }

    /// Refuses invalid settings and combinations.
    fn check(&self, lora: &LoraConfig) -> Result<()> {
        let data = &self.data;
        self.training.check()?;
        check_not_negative("alpha", self.adapter.alpha)?;
        check_positive("lora-plus-ratio", self.adapter.lora_plus_ratio)?;
        check_seeds(&self.training.seeds)?;
        if !(data.validation_fraction > 0.0 && data.validation_fraction < 1.0) {
            return Err(Error::Config(format!(
                "validation-fraction is {}; expected a number above 0 and below 1",
                data.validation_fraction
            )));
        }
        self.check_combinations(lora)?;
        lora.check()?;
        check_count("checkpoint-every", self.output.checkpoint_every.unwrap_or(1), MAX_COUNT)?;
        check_count("keep-checkpoints", self.output.keep_checkpoints, MAX_COUNT)?;
        check_count("max-length", data.max_length.unwrap_or(1), MAX_COUNT)?;
        check_count("threads", self.machine.threads.unwrap_or(1), MAX_THREADS)
    }

    fn check_combinations(&self, lora: &LoraConfig) -> Result<()> {
        let machine = &self.machine;
        let (stepwise, dtype) = (machine.arithmetic == Arithmetic::Stepwise, machine.dtype);
        let packs = self.training.padding() == PadTo::None;
        let checkpoints = self.training.gradient_checkpointing;
        let sentence = if stepwise && packs {
            "stepwise arithmetic needs rows of one length in a batch; use --pad-to longest or \
             max-length"
        } else if stepwise && dtype != DType::Float32 {
            "stepwise arithmetic rounds as the book's program does in float32 only"
        } else if self.data.validation_data.is_some() && self.data.test_data.is_none() {
            "validation-data needs test-data: give both, or let --data be split"
        } else if lora.init == Init::Pissa && dtype != DType::Float32 {
            "PiSSA takes the principal part out of the weights, which must be float32; leave out \
             --init or --dtype"
        } else if lora.dropout > 0.0 && checkpoints {
            "gradient checkpointing computes a block twice, and dropout would draw another mask \
             the second time; leave out one of them"
        } else {
            return Ok(());
        };
        Err(Error::Config(sentence.to_owned()))
    }
}

impl TrainingSettings {
    /// Refuses invalid settings.
    ///
    /// # Errors
    /// [`Error::Config`] names the setting.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("batch-size", self.batch_size),
            ("eval-every", self.eval_every),
            ("eval-batches", self.eval_batches),
            ("gradient-accumulation-steps", self.gradient_accumulation_steps),
            ("early-stopping", self.early_stopping.unwrap_or(1)),
            ("steps", self.steps.unwrap_or(1)),
            ("softmax-candidates", self.softmax_candidates.unwrap_or(1)),
            ("sample-every", self.sample_every.unwrap_or(1)),
        ] {
            check_count(name, value, MAX_COUNT)?;
        }
        check_positive("epochs", self.epochs)?;
        if self.epochs > MAX_COUNT as f64 {
            return Err(Error::Config(format!(
                "epochs is {}; expected 1 to {MAX_COUNT}",
                self.epochs
            )));
        }
        check_not_negative("lr", self.lr)?;
        check_fraction("min-lr-ratio", self.min_lr_ratio)?;
        if !(0.0..1.0).contains(&self.beta2) {
            return Err(Error::Config(format!(
                "beta2 is {}; expected at least 0 and less than 1",
                self.beta2
            )));
        }
        check_not_negative("weight-decay", self.weight_decay)?;
        check_positive("max-grad-norm", self.max_grad_norm.unwrap_or(1.0))?;
        if self.pooling == Pooling::LastPosition && self.padding() != PadTo::MaxLength {
            return Err(Error::Config(
                "pooling at the last position needs rows of one length; use --pad-to max-length"
                    .to_owned(),
            ));
        }
        if self.gradient_checkpointing && self.padding() != PadTo::None {
            return Err(Error::Config(
                "gradient checkpointing needs batches without padding; use --pad-to none"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Refuses seeds that are not a sample.
fn check_seeds(seeds: &[u32]) -> Result<()> {
    let distinct: BTreeSet<u32> = seeds.iter().copied().collect();
    let sentence = match seeds.len() {
        0 => return Ok(()),
        1 => "seeds has one seed, which has no deviation; give more, or use --seed",
        count if distinct.len() < count => "seeds has a seed twice; give each once",
        _ => return Ok(()),
    };
    Err(Error::Config(sentence.to_owned()))
}

fn check_count(name: &str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("{name} is {value}; expected 1 to {most}")))
}

fn check_positive(name: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::Config(format!("{name} is {value}; expected a positive number")))
}

fn check_fraction(name: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("{name} is {value}; expected a number from 0 to 1")))
}

fn check_not_negative(name: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::Config(format!("{name} is {value}; expected zero or a positive number")))
}

#[cfg(test)]
mod tests;

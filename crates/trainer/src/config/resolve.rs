//! Resolution of settings: derived settings are filled in, and all settings are checked that do
//! not depend on data or model.

use std::{
    collections::BTreeSet,
    fmt::Display,
    path::{Path, PathBuf},
};

use dataset::{
    CompletionColumns, CompletionExamples, CompletionFiles, LabeledFiles, PromptFormat,
    SplitConfig, Tokenizer,
};
use gpt2_model::{Arithmetic, DType, Pooling};
use lora::{Init, LoraConfig};

use crate::{
    config::{
        error::{Conflict, Range, SettingsError},
        paths,
        settings::{Balance, DataSettings, PadTo, Settings, TrainingSettings, has_table_extension},
    },
    error::{Error, Result},
    task::{classification::class_weights::ClassWeights, kind::TaskKind},
    trainable::parameters::{Train, WeightDecayOn},
    training::schedule::Decay,
};

/// Largest count: larger ones are typing errors, and their sums would overflow.
pub(crate) const MAX_COUNT: usize = 1_000_000_000;
/// Largest number of threads: libtorch aborts if the system cannot create a thread.
pub const MAX_THREADS: usize = 1024;

/// Default fraction of examples in the validation set.
const EXAMPLE_FRACTION: f64 = 0.1;
/// Default fraction of documents of plain text in the validation set.
pub(crate) const DOCUMENT_FRACTION: f64 = 0.01;

/// A run with all settings and paths resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedRun {
    /// All settings.
    pub settings: Settings,
    /// Directory of the base model.
    pub model: PathBuf,
    /// Files of labeled or plain text.
    pub data: Vec<PathBuf>,
    /// Output directory.
    pub out: PathBuf,
    /// Settings of the adapter.
    pub lora: LoraConfig,
    /// `fine_tuning.json` of the model, if it set defaults.
    pub model_defaults: Option<PathBuf>,
    /// Format of the examples that the adapter was trained on whose training continues.
    pub trained_format: Option<PromptFormat>,
}

impl ResolvedRun {
    /// Resolves settings.
    ///
    /// # Errors
    /// [`Error::Settings`](crate::Error::Settings);
    /// [`Error::NotFound`](crate::Error::NotFound) if the model or the data does not exist.
    pub fn new(mut settings: Settings) -> Result<Self> {
        let model = paths::model(&settings.model, settings.random_init)?;
        settings.fill_derived();
        let lora = settings.adapter.lora()?;
        settings.check(&lora)?;
        let is_table = settings.task == TaskKind::Classify || settings.data.has_tables();
        let data = paths::data(&settings.data.data, is_table)?;
        for file in settings.data.validation_data.iter().chain(&settings.data.test_data) {
            paths::data(std::slice::from_ref(file), is_table)?;
        }
        if let (false, Some(pipe)) =
            (settings.training.seeds.is_empty(), data.iter().find(|path| paths::is_pipe(path)))
        {
            return Err(conflict(Conflict::SeedsOfPipe { path: pipe.clone() }));
        }
        let out = paths::out(settings.out.as_deref(), &settings.model)?;
        Ok(Self { settings, model, data, out, lora, model_defaults: None, trained_format: None })
    }

    /// Settings of `run.toml`, which repeat the run in another directory.
    pub(crate) fn repeating(&self) -> Settings {
        let absolute = |path: &Path| match path.to_str() {
            Some("-") => path.to_owned(),
            _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        };
        let mut settings = self.settings.clone();
        settings.model = match self.model.file_name() {
            // A randomly initialized model may exist only by name.
            Some(name) if !self.model.exists() => name.to_string_lossy().into_owned(),
            _ => absolute(&self.model).display().to_string(),
        };
        let data = &mut settings.data;
        data.data = self.data.iter().map(|file| absolute(file)).collect();
        let (templates, sets) = (
            [&mut data.prompt_template, &mut data.chat_template],
            [&mut data.validation_data, &mut data.test_data],
        );
        for file in templates.into_iter().chain(sets) {
            *file = file.as_deref().map(absolute);
        }
        settings.adapter.adapter = settings.adapter.adapter.as_deref().map(absolute);
        settings.out = None;
        settings.training.seeds = Vec::new();
        settings
    }

    /// Files of labeled text with the options of reading them.
    pub fn labeled_files(&self) -> LabeledFiles {
        let data = &self.settings.data;
        LabeledFiles {
            paths: self.data.clone(),
            validation: data.validation_data.clone(),
            test: data.test_data.clone(),
            options: data.table_options(),
        }
    }

    /// Reads the examples of a language model, and divides them into training and validation set.
    pub(crate) fn read_examples(&self, tokenizer: &Tokenizer) -> Result<CompletionExamples> {
        let data = &self.settings.data;
        let files = CompletionFiles {
            paths: self.data.clone(),
            validation: data.validation_data.clone(),
            options: data.table_options(),
            columns: CompletionColumns {
                text: data.text_column.clone(),
                prompt: data.prompt_column.clone(),
                completion: data.completion_column.clone(),
            },
            prompt_template: data.prompt_template.clone(),
            chat_template: data.chat_template.clone(),
            adapter: self.trained_format.clone(),
            tokenizer: tokenizer.clone(),
        };
        let seed = data.split_seed.unwrap_or(self.settings.training.seed);
        Ok(files.read(data.validation_fraction.unwrap_or(EXAMPLE_FRACTION), seed)?)
    }

    /// Returns notes on the templates of the adapter whose training continues: which of them the
    /// examples have, and which an option replaces.
    pub(crate) fn template_notes(&self, used: &PromptFormat) -> Vec<String> {
        let (data, Some(trained)) = (&self.settings.data, &self.trained_format) else {
            return Vec::new();
        };
        template_notes(
            used,
            trained,
            [&data.prompt_template, &data.chat_template].map(Option::is_some),
        )
    }

    /// Returns the SHA-256 of the data in hexadecimal; for several files, the SHA-256 of a
    /// list of their checksums.
    pub(crate) fn data_sha256(&self, tokenizer: &Tokenizer) -> Result<String> {
        if self.settings.task == TaskKind::Classify {
            return Ok(self.labeled_files().sha256()?);
        }
        if self.settings.data.has_tables() {
            return Ok(self.read_examples(tokenizer)?.sha256().to_owned());
        }
        let sums = self.data.iter().map(|file| storage::sha256_file(file));
        let sums = sums.collect::<storage::Result<Vec<_>>>()?;
        Ok(if sums.len() == 1 { sums.concat() } else { storage::sha256(sums.concat().as_bytes()) })
    }

    /// Settings of the split.
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

/// Returns notes on the templates of examples for a trained adapter. `is_given`: the user gave the
/// template, so that the adapter's needs no note.
pub(crate) fn template_notes(
    used: &PromptFormat,
    trained: &PromptFormat,
    is_given: [bool; 2],
) -> Vec<String> {
    let templates = used.templates().into_iter().zip(trained.templates());
    let notes = ["prompt", "chat"].iter().zip(is_given).zip(templates).map(|((kind, is_given), pair)| {
        Some(match pair {
            (Some(used), Some(trained)) if used == trained => {
                let note = format!("the examples have the {kind} template of the adapter");
                return (!is_given).then_some(note);
            }
            (Some(_), Some(_)) => {
                format!("the adapter was trained with another {kind} template than these examples have")
            }
            (Some(_), None) => {
                format!("the adapter was trained without a {kind} template, which these examples have")
            }
            (None, Some(_)) => {
                format!("the adapter was trained with a {kind} template, which these examples do not have")
            }
            (None, None) => return None,
        })
    });
    notes.flatten().collect()
}

impl Settings {
    /// All paths in the settings.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let DataSettings { data, validation_data, test_data, .. } = &self.data;
        let DataSettings { prompt_template, chat_template, .. } = &self.data;
        let others = [validation_data, test_data, prompt_template, chat_template, &self.out];
        data.iter().chain(others.into_iter().flatten()).chain(&self.adapter.adapter)
    }

    /// Fills in derived settings.
    fn fill_derived(&mut self) {
        let (data, training) = (&mut self.data, &mut self.training);
        // Presets without effect here, which run.toml must not repeat as if they were set.
        if training.schedule == Decay::Constant {
            training.min_lr_ratio = 0.0;
        }
        if self.train == Train::Lora {
            training.weight_decay_on = WeightDecayOn::default();
            self.output.save_dtype = DType::default();
        }
        data.split_seed.get_or_insert(training.seed);
        if self.task == TaskKind::LanguageModel {
            let fraction = if data.has_tables() { EXAMPLE_FRACTION } else { DOCUMENT_FRACTION };
            data.validation_fraction.get_or_insert(fraction);
            return;
        }
        data.balance.get_or_insert(match (&data.test_data, &training.class_weights) {
            (None, ClassWeights::None) => Balance::Undersample,
            _ => Balance::None,
        });
        if training.pad_to.is_none()
            && training.pooling == Pooling::LastToken
            && self.machine.arithmetic == Some(Arithmetic::Stepwise)
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
        if let Some(value) = data.validation_fraction.filter(|&it| !(it > 0.0 && it < 1.0)) {
            return Err(out_of_range("validation-fraction", Range::OpenFraction, value));
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
        let (stepwise, dtype) = (machine.arithmetic == Some(Arithmetic::Stepwise), machine.dtype);
        let packs = self.training.padding() == PadTo::None;
        let checkpoints = self.training.gradient_checkpointing;
        Err(conflict(if stepwise && self.task == TaskKind::LanguageModel {
            Conflict::StepwiseLanguageModel
        } else if let Some((table, text)) = self.mixed_data() {
            Conflict::MixedData { table, text }
        } else if stepwise && packs {
            Conflict::StepwiseWithoutPadding
        } else if stepwise && dtype != DType::Float32 {
            Conflict::StepwiseDType
        } else if let (Some(Arithmetic::Kernels), Some(problem)) =
            (machine.arithmetic, self.kernels_conflict(lora))
        {
            problem
        } else if self.task == TaskKind::Classify
            && self.data.validation_data.is_some()
            && self.data.test_data.is_none()
        {
            Conflict::ValidationWithoutTest
        } else if lora.init == Init::Pissa && dtype != DType::Float32 {
            Conflict::PissaDType
        } else if lora.dropout > 0.0 && checkpoints {
            Conflict::CheckpointingDropout
        } else {
            return Ok(());
        }))
    }
}

impl Settings {
    /// Returns a table and a plain text that are both data of a language model.
    fn mixed_data(&self) -> Option<(PathBuf, PathBuf)> {
        let DataSettings { data, format: None, .. } = &self.data else { return None };
        let find = |is_table: bool| data.iter().find(|path| has_table_extension(path) == is_table);
        (self.task == TaskKind::LanguageModel).then_some(())?;
        Some((find(true)?.clone(), find(false)?.clone()))
    }

    /// Returns the setting for which the CPU kernels cannot compute the training, if there is
    /// one. The model and the device may exclude them, too.
    pub(crate) fn kernels_conflict(&self, lora: &LoraConfig) -> Option<Conflict> {
        let is_classifier = self.task == TaskKind::Classify;
        Some(if !is_classifier && self.train != Train::Lora {
            Conflict::KernelsLanguageModel
        } else if !matches!(self.train, Train::Lora | Train::Head) {
            Conflict::KernelsTrain
        } else if self.train == Train::Lora && lora.dora {
            Conflict::KernelsDora
        } else if is_classifier && self.training.padding() != PadTo::None {
            Conflict::KernelsPadding
        } else if self.training.gradient_checkpointing {
            Conflict::KernelsCheckpointing
        } else if self.machine.dtype == DType::Float16 {
            Conflict::KernelsDType
        } else if self.train == Train::Head && self.machine.dtype != DType::Float32 {
            Conflict::KernelsMixedPrecision
        } else {
            return None;
        })
    }
}

impl TrainingSettings {
    /// Refuses invalid settings.
    ///
    /// # Errors
    /// [`SettingsError::OutOfRange`], [`SettingsError::Conflict`].
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
            return Err(out_of_range("epochs", Range::Count(MAX_COUNT), self.epochs));
        }
        check_not_negative("lr", self.lr)?;
        check_fraction("min-lr-ratio", self.min_lr_ratio)?;
        if !(0.0..1.0).contains(&self.beta2) {
            return Err(out_of_range("beta2", Range::BelowOne, self.beta2));
        }
        check_not_negative("weight-decay", self.weight_decay)?;
        check_positive("max-grad-norm", self.max_grad_norm.unwrap_or(1.0))?;
        if self.pooling == Pooling::LastPosition && self.padding() != PadTo::MaxLength {
            return Err(conflict(Conflict::PoolingPadding));
        }
        if self.gradient_checkpointing && self.padding() != PadTo::None {
            return Err(conflict(Conflict::CheckpointingPadding));
        }
        Ok(())
    }
}

fn conflict(conflict: Conflict) -> Error {
    SettingsError::from(conflict).into()
}

fn out_of_range(option: &str, expected: Range, value: impl Display) -> Error {
    let (option, mut value) = (option.to_owned(), value.to_string());
    // A number such as 1e300 is not printed with all of its digits.
    if let (25.., Ok(number)) = (value.len(), value.parse::<f64>()) {
        value = format!("{number:e}");
    }
    SettingsError::OutOfRange { option, expected, value }.into()
}

/// Refuses a single seed, which has no standard deviation, and repeated seeds.
fn check_seeds(seeds: &[u32]) -> Result<()> {
    if seeds.len() == 1 {
        return Err(SettingsError::TooFewSeeds { seeds: seeds.to_vec() }.into());
    }
    let mut distinct = BTreeSet::new();
    match seeds.iter().find(|&&seed| !distinct.insert(seed)) {
        None => Ok(()),
        Some(&seed) => Err(SettingsError::RepeatedSeed { seed }.into()),
    }
}

/// Refuses a batch size that is 0 or a typing error.
///
/// # Errors
/// [`SettingsError::OutOfRange`].
pub fn check_batch_size(value: usize) -> Result<()> {
    check_count("batch-size", value, MAX_COUNT)
}

fn check_count(option: &str, value: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(out_of_range(option, Range::Count(max), value))
}

fn check_positive(option: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(out_of_range(option, Range::Positive, value))
}

fn check_fraction(option: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(out_of_range(option, Range::Fraction, value))
}

fn check_not_negative(option: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(out_of_range(option, Range::NonNegative, value))
}

#[cfg(test)]
mod tests;

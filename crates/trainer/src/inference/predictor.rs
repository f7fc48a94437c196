//! Classification of texts with a saved adapter.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use dataset::{DataLoader, Example, Padding, TokenizedSet, Tokenizer, TorchRng};
use gpt2_model::{DeviceChoice, Gpt2Classifier, Pooling, resolve_device};
use serde::Serialize;
use tch::Device;

use crate::{
    error::{Error, Result},
    inference::AdapterMetadata,
    inference::saved_adapter::{AdaptedModel, SavedAdapter},
    task::classification::evaluator::Evaluator,
};

/// Examples per batch if they are padded.
const BATCH_SIZE: usize = 16;

/// Prediction for a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classified {
    /// Label with the highest probability.
    pub label: String,
    /// Probability of every label, in the order of [`Predictor::labels`].
    pub probabilities: Vec<f64>,
}

impl Classified {
    /// Returns the highest probability.
    pub fn confidence(&self) -> f64 {
        self.probabilities.iter().copied().fold(0.0, f64::max)
    }
}

/// Options for loading a [`Predictor`].
#[derive(Clone, Debug, Default)]
pub struct PredictorOptions {
    base: Option<String>,
    device: Option<Device>,
    truncate: bool,
}

impl PredictorOptions {
    /// Base model: a folder, or the name of one below `weights/`. By default, the base model
    /// of the training.
    pub fn base(mut self, base: impl Into<String>) -> Self {
        self.base = Some(base.into());
        self
    }

    /// Device. By default, the first CUDA device if there is one, else the CPU.
    pub fn device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// Whether a text longer than the model's context is truncated. By default, it is an
    /// error.
    pub fn truncate(mut self, truncate: bool) -> Self {
        self.truncate = truncate;
        self
    }

    /// Loads the adapter in a folder, of this project or of Hugging Face PEFT, and its base
    /// model.
    ///
    /// # Errors
    /// [`Error::Lora`] or [`Error::Model`] name the file at fault; so does [`Error::Config`]
    /// if the adapter does not belong to a classifier.
    pub fn load(&self, adapter: impl AsRef<Path>) -> Result<Predictor> {
        let device = match self.device {
            Some(device) => device,
            None => resolve_device(DeviceChoice::Auto)?,
        };
        let saved = SavedAdapter::load(adapter.as_ref())?;
        let mut adapted = saved.load_base_and_attach(self.base.as_deref(), device)?;
        adapted.model.merge()?;
        Ok(Predictor::new(adapted, self.truncate))
    }
}

/// Classifier: a base model with a trained adapter and its head.
#[derive(Debug)]
pub struct Predictor {
    model: Gpt2Classifier,
    metadata: AdapterMetadata,
    base: PathBuf,
    adapter: PathBuf,
    base_note: Option<String>,
    tokenizer: Tokenizer,
    /// Number of texts truncated so far.
    truncated: AtomicUsize,
    truncate: bool,
}

impl Predictor {
    /// Loads the adapter in a folder with the default options, see [`PredictorOptions::load`].
    ///
    /// # Errors
    /// See [`PredictorOptions::load`].
    pub fn load(adapter: impl AsRef<Path>) -> Result<Self> {
        Self::options().load(adapter)
    }

    /// Returns the default options: the base model of the training, the first CUDA device if
    /// there is one, and an error for texts longer than the model's context.
    pub fn options() -> PredictorOptions {
        PredictorOptions::default()
    }

    pub(crate) fn new(adapted: AdaptedModel, truncate: bool) -> Self {
        let AdaptedModel { model, metadata, base, adapter, base_note, .. } = adapted;
        let (tokenizer, truncated) = (Tokenizer::gpt2(), AtomicUsize::new(0));
        Self { model, metadata, base, adapter, base_note, tokenizer, truncated, truncate }
    }

    /// Returns the labels in the order of their class numbers.
    pub fn labels(&self) -> &[String] {
        &self.metadata.labels
    }

    /// Returns the base model's folder.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Note that the base model may be a rounded copy of the one that the adapter was
    /// trained on.
    pub fn base_note(&self) -> Option<&str> {
        self.base_note.as_deref()
    }

    /// Returns a note about truncated texts, if there were any so far.
    pub fn notice(&self) -> Option<String> {
        let max_length = self.metadata.max_length;
        let texts = match self.truncated.load(Ordering::Relaxed) {
            0 => return None,
            1 => "1 text was".to_owned(),
            count => format!("{count} texts were"),
        };
        Some(format!("{texts} truncated to {max_length} tokens, the maximum length in training"))
    }

    /// Classifies texts, in their order. Texts longer than in training are truncated, see
    /// [`Predictor::notice`].
    ///
    /// # Errors
    /// [`Error::TooLong`](crate::Error::TooLong) for a text longer than the model's context
    /// (unless [`PredictorOptions::truncate`]), [`Error::NotFinite`] for NaN or infinite
    /// logits; errors of the model.
    pub fn classify<T: AsRef<str>>(
        &self,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Classified>> {
        let example = |(row, text): (usize, T)| {
            let text = self.metadata.quotes.apply(text.as_ref()).into_owned();
            // The label is unknown and not used.
            Example { label: 0, text, row }
        };
        let examples: Vec<Example> = texts.into_iter().enumerate().map(example).collect();
        if examples.is_empty() {
            return Ok(Vec::new());
        }
        let max_length = self.metadata.max_length;
        let encoded = TokenizedSet::new(&examples, &self.tokenizer, Some(max_length));
        let context = self.model.body().config().n_positions as usize;
        if let Some((text, tokens)) = encoded.longer_than(context).filter(|_| !self.truncate) {
            return Err(Error::TooLong { text, tokens, context });
        }
        self.truncated.fetch_add(encoded.truncated(), Ordering::Relaxed);
        let evaluator = Evaluator { model: &self.model, pooling: self.metadata.pooling };
        let predictions = match self.metadata.pooling {
            Pooling::LastToken => evaluator.predict_packed(&encoded, 0..encoded.len())?,
            Pooling::LastPosition => {
                let padding = Padding::To(max_length);
                let loader = DataLoader::new(&encoded, BATCH_SIZE, padding, false, false)?;
                // Nothing is shuffled, so the generator is not used.
                evaluator.predict(loader.iter(&mut TorchRng::manual_seed(0)))?
            }
        };
        let is_finite = |logits: &[f32]| logits.iter().all(|logit| logit.is_finite());
        if let Some(text) = predictions.iter().position(|answer| !is_finite(&answer.logits)) {
            return Err(Error::NotFinite { text, adapter: self.adapter.clone() });
        }
        let classified = predictions.iter().map(|prediction| Classified {
            label: self.metadata.labels.get(prediction.predicted()).cloned().unwrap_or_default(),
            probabilities: prediction.probabilities(),
        });
        Ok(classified.collect())
    }
}

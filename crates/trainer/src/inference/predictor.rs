//! Classifying texts with a trained adapter.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use dataset::{DataLoader, Encoded, Example, Padding, Quotes, Tokenizer, TorchRng};
use gpt2_model::{DType, Fingerprint, Gpt2Classifier, Pooling};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tch::Device;

use crate::{
    config::paths,
    config::settings::{PadTo, RunConfig},
    error::{Error, Result},
    inference::saved_adapter::{Restored, restore},
    task::evaluator::Evaluator,
    trainable::parameters::Head,
};

/// Rows that are computed together where they are padded.
const BATCH_SIZE: usize = 16;

/// What a user of an adapter has to know beside the adapter's own settings; it
/// is kept in `adapter_config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterUse {
    /// The base model that it was trained on: a folder, or a name below `weights/`.
    pub base_model: String,
    /// Where that folder was, in case the program is run elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_folder: Option<PathBuf>,
    /// The seed that the weights of that model were drawn with, if they were: they are in
    /// no file, and are drawn again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_seed: Option<u32>,
    /// The weights of that model; `None` where the adapter does not say, as one of PEFT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_fingerprint: Option<Fingerprint>,
    /// Labels in the order of their class numbers.
    pub labels: Vec<String>,
    /// Position that speaks for a row.
    pub pooling: Pooling,
    /// How far rows are padded.
    pub pad_to: PadTo,
    /// Longest row in tokens; rows are cut to it.
    pub max_length: usize,
    /// What the base's weights were rounded to when the adapter was trained.
    #[serde(default)]
    pub dtype: DType,
    /// How the head was trained.
    #[serde(default)]
    pub head: Head,
    /// What becomes of quotation marks that a text opens with.
    #[serde(default = "kept")]
    pub quotes: Quotes,
}

fn kept() -> Quotes {
    Quotes::Keep
}

impl AdapterUse {
    /// What has to be known of the adapter of a run.
    pub(crate) fn of_run(
        config: &RunConfig,
        base: Fingerprint,
        labels: &[String],
        max_length: usize,
    ) -> Self {
        Self {
            base_model: places::name_of(&config.model),
            base_folder: std::path::absolute(&config.model).ok().filter(|folder| folder.is_dir()),
            base_seed: config.random_init.then_some(config.seed),
            base_fingerprint: Some(base),
            labels: labels.to_vec(),
            pooling: config.fit.pooling,
            pad_to: config.fit.pad_to,
            max_length,
            dtype: config.fit.step.dtype,
            head: config.head,
            quotes: config.quotes,
        }
    }

    /// As it stands in the file.
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

/// What a text is taken for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classified {
    /// The label with the highest probability.
    pub label: String,
    /// The probability of every label, in the order of [`Predictor::labels`].
    pub probabilities: Vec<f64>,
}

impl Classified {
    /// The highest probability.
    pub fn confidence(&self) -> f64 {
        self.probabilities.iter().copied().fold(0.0, f64::max)
    }
}

/// A base model with a trained adapter and its head.
#[derive(Debug)]
pub struct Predictor {
    model: Gpt2Classifier,
    about: AdapterUse,
    base: PathBuf,
    adapter: PathBuf,
    tokenizer: Tokenizer,
    /// Texts that were cut so far.
    cut: AtomicUsize,
    truncates: bool,
}

impl Predictor {
    /// Loads the adapter in a folder, of this program or of Hugging Face PEFT, and the
    /// base model that it was trained on, or another copy of that model.
    ///
    /// # Errors
    /// [`Error::Lora`] or [`Error::Model`] name the file at fault; so does
    /// [`Error::Config`] if the adapter is none of a classifier.
    pub fn load(adapter_folder: &Path, base: Option<&str>, device: Device) -> Result<Self> {
        let mut restored = restore(adapter_folder, base, device)?;
        restored.model.merge()?;
        Ok(Self::of(restored))
    }

    /// Of an adapter that is on its model.
    pub(crate) fn of(restored: Restored) -> Self {
        let Restored { model, about, base, adapter, .. } = restored;
        let (tokenizer, cut) = (Tokenizer::gpt2(), AtomicUsize::new(0));
        Self { model, about, base, adapter, tokenizer, cut, truncates: false }
    }

    /// Whether a text that is longer than the model's context is judged by its first
    /// tokens instead of being refused, which it is unless asked for.
    pub fn with_truncation(mut self, truncates: bool) -> Self {
        self.truncates = truncates;
        self
    }

    /// The labels, in the order of their class numbers.
    pub fn labels(&self) -> &[String] {
        &self.about.labels
    }

    /// The base model's folder.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// What has to be said of the texts that were classified so far, if something has:
    /// how many of them were cut, and to what length.
    pub fn notice(&self) -> Option<String> {
        let (cut, most) = (self.cut.load(Ordering::Relaxed), self.about.max_length);
        let texts = if cut == 1 { "text is" } else { "texts are" };
        (cut > 0).then(|| {
            format!(
                "{cut} {texts} longer than the {most} tokens that the adapter was trained on, and \
                 judged by the first {most}"
            )
        })
    }

    /// Classifies texts, in their order. Longer ones than those of the training
    /// are cut, which [`Predictor::notice`] says.
    ///
    /// # Errors
    /// [`Error::TooLong`](crate::Error::TooLong) for a text that is longer than the
    /// model's context ([`Predictor::with_truncation`]), [`Error::NoNumber`] for one that
    /// the model computes no number for; whatever the model refuses.
    pub fn predict<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Classified>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let example = |(row, text): (usize, &T)| {
            // The class is not known: it is what is asked for.
            let text = self.about.quotes.apply(text.as_ref()).into_owned();
            Example { label: 0, text, row }
        };
        let examples: Vec<Example> = texts.iter().enumerate().map(example).collect();
        let max_length = self.about.max_length;
        let encoded = Encoded::new(&examples, &self.tokenizer, Some(max_length));
        let context = self.model.body().config().n_positions as usize;
        if let Some((text, tokens)) = encoded.longer_than(context).filter(|_| !self.truncates) {
            return Err(Error::TooLong { text, tokens, context });
        }
        self.cut.fetch_add(encoded.truncated(), Ordering::Relaxed);
        let evaluator = Evaluator { model: &self.model, pooling: self.about.pooling };
        let predictions = match self.about.pooling {
            Pooling::LastToken => evaluator.predict_packed(&encoded, 0..encoded.len())?,
            Pooling::LastPosition => {
                let padding = Padding::To(max_length);
                let loader = DataLoader::new(&encoded, BATCH_SIZE, padding, false, false)?;
                // Nothing is shuffled, so the generator has no say in the result.
                evaluator.predict(loader.iter(&mut TorchRng::manual_seed(0)))?
            }
        };
        let is_number = |logits: &[f32]| logits.iter().all(|logit| logit.is_finite());
        if let Some(text) = predictions.iter().position(|answer| !is_number(&answer.logits)) {
            return Err(Error::NoNumber { text, adapter: self.adapter.clone() });
        }
        let classify = |prediction: &crate::task::evaluator::Prediction| Classified {
            label: self.about.labels.get(prediction.predicted()).cloned().unwrap_or_default(),
            probabilities: prediction.probabilities(),
        };
        Ok(predictions.iter().map(classify).collect())
    }
}

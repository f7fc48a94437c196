//! Classification of texts with a saved adapter.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use dataset::{DataLoader, Example, Padding, TokenizedSet, Tokenizer, TorchRng, is_empty_text};
use gpt2_model::{DType, Gpt2Classifier, Pooling};
use serde::Serialize;
use tch::Device;

use crate::{
    config::OnLongText,
    error::{Error, Result},
    inference::{
        AdapterMetadata, adapter_digest, attached::AdaptedModel, base_model::BaseOptions,
        saved_adapter::SavedAdapter,
    },
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
    pub(super) base: BaseOptions,
    labels: Vec<String>,
    on_long_text: OnLongText,
    dtype: DType,
}

impl PredictorOptions {
    /// Base model: a folder, or the name of one below `weights/`. By default, the base model
    /// of the training.
    pub fn base(mut self, base: impl Into<String>) -> Self {
        self.base.model = Some(base.into());
        self
    }

    /// Device. By default, the first CUDA device if there is one, else the CPU.
    pub fn device(mut self, device: Device) -> Self {
        self.base.device = Some(device);
        self
    }

    /// Labels of an adapter that names none, in the order of its classes.
    pub fn labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Treatment of texts longer than the model's context. By default, they are truncated
    /// and counted.
    pub fn on_long_text(mut self, on_long_text: OnLongText) -> Self {
        self.on_long_text = on_long_text;
        self
    }

    /// Data type of the merged weights and of matrix products. By default float32.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Loads the adapter in a folder, of this project or of Hugging Face PEFT, and its base
    /// model.
    ///
    /// # Errors
    /// [`Error::Lora`] or [`Error::Model`] name the file at fault; so does [`Error::Adapter`]
    /// if the adapter does not belong to a classifier.
    pub fn load(&self, adapter: impl AsRef<Path>) -> Result<Predictor> {
        let mut adapted = self.adapted(adapter.as_ref())?;
        adapted.model.merge()?;
        let (body, head) = adapted.model.into_parts();
        let body = body.with_dtype(self.dtype)?;
        let arithmetic = body.preferred_arithmetic();
        adapted.model = Gpt2Classifier::with_head(body.with_arithmetic(arithmetic), head);
        Ok(Predictor { dtype: self.dtype, ..Predictor::new(adapted, self.on_long_text) })
    }

    /// Loads the adapter in a folder and puts it on its base model.
    pub(crate) fn adapted(&self, adapter: &Path) -> Result<AdaptedModel> {
        self.attached(SavedAdapter::load(adapter)?)
    }

    /// Puts an adapter on its base model.
    pub(super) fn attached(&self, saved: SavedAdapter) -> Result<AdaptedModel> {
        let saved = saved.with_labels(&self.labels)?;
        saved.load_base_and_attach(&self.base)
    }
}

/// Classifier: a base model with a trained adapter and its head.
#[derive(Debug)]
pub struct Predictor {
    model: Gpt2Classifier,
    metadata: AdapterMetadata,
    base: PathBuf,
    base_digest: Option<String>,
    adapter: PathBuf,
    notes: Vec<String>,
    tokenizer: Tokenizer,
    on_long_text: OnLongText,
    dtype: DType,
    seen: SeenTexts,
}

/// Counts of the texts classified so far.
#[derive(Debug, Default)]
struct SeenTexts {
    empty: AtomicUsize,
    truncated: AtomicUsize,
    /// Tokens of the longest text.
    longest: AtomicUsize,
}

impl Predictor {
    /// Loads the adapter in a folder with the default options, see [`PredictorOptions::load`].
    ///
    /// # Errors
    /// See [`PredictorOptions::load`].
    pub fn load(adapter: impl AsRef<Path>) -> Result<Self> {
        Self::options().load(adapter)
    }

    /// Returns the default options: the base model of the training, and the first CUDA device
    /// if there is one.
    pub fn options() -> PredictorOptions {
        PredictorOptions::default()
    }

    pub(crate) fn new(adapted: AdaptedModel, on_long_text: OnLongText) -> Self {
        let AdaptedModel { model, metadata, tokenizer, base, base_digest, adapter, notes, .. } =
            adapted;
        let seen = SeenTexts::default();
        let dtype = DType::default();
        Self {
            model,
            metadata,
            base,
            base_digest,
            adapter,
            notes,
            tokenizer,
            on_long_text,
            dtype,
            seen,
        }
    }

    /// Returns the labels in the order of their class numbers.
    pub fn labels(&self) -> &[String] {
        &self.metadata.labels
    }

    /// Returns the base model's folder.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Returns the treatment of texts longer than the model's context.
    pub(crate) fn on_long_text(&self) -> OnLongText {
        self.on_long_text
    }

    /// Returns the data type of the weights.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Returns digests of the adapter and of its base model, which identify the computation.
    pub(crate) fn digests(&self) -> Result<[String; 2]> {
        let base = match &self.base_digest {
            Some(digest) => digest.clone(),
            // An adapter of PEFT does not have the digest of its base model.
            None => adapter_digest(&self.base)?,
        };
        Ok([adapter_digest(&self.adapter)?, base])
    }

    /// Notes about the files: what of them was ignored, or that the base model may be a
    /// rounded copy of the one that the adapter was trained on.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns notes about the texts so far: how many were empty, and how many truncated.
    pub fn notices(&self) -> Vec<String> {
        let SeenTexts { empty, truncated, longest } = &self.seen;
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let texts = |count| match count {
            1 => "1 text was".to_owned(),
            count => format!("{count} texts were"),
        };
        let mut notices = Vec::new();
        if count(empty) > 0 {
            notices.push(format!(
                "{} empty (without a character other than white space) and got no prediction",
                texts(count(empty))
            ));
        }
        if count(truncated) > 0 {
            notices.push(format!(
                "{} truncated to {} tokens, the maximum length in training; the longest has {} \
                 tokens",
                texts(count(truncated)),
                self.metadata.max_length,
                count(longest)
            ));
        }
        notices
    }

    /// Classifies texts, in their order. An empty text ([`is_empty_text`]) gets no
    /// prediction: its answer is `None`. Texts longer than in training are truncated. See
    /// [`Predictor::notices`] for their numbers.
    ///
    /// # Errors
    /// With [`OnLongText::Error`], [`Error::TooLong`](crate::Error::TooLong) for a text longer
    /// than the model's context; [`Error::NotFinite`] for NaN or infinite logits; errors of
    /// the model.
    pub fn classify<T: AsRef<str>>(
        &self,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Option<Classified>>> {
        let mut answers = Vec::new();
        let mut examples = Vec::new();
        for (row, text) in texts.into_iter().enumerate() {
            answers.push(None);
            if !is_empty_text(text.as_ref()) {
                let text = self.metadata.quotes.apply(text.as_ref()).into_owned();
                // The label is unknown and not used.
                examples.push(Example { label: 0, text, row });
            }
        }
        self.seen.empty.fetch_add(answers.len() - examples.len(), Ordering::Relaxed);
        if examples.is_empty() {
            return Ok(answers);
        }
        let classified = self.classify_examples(&examples)?;
        for (example, classified) in examples.iter().zip(classified) {
            answers[example.row] = Some(classified);
        }
        Ok(answers)
    }

    /// Classifies at least one example. Errors name its row.
    fn classify_examples(&self, examples: &[Example]) -> Result<Vec<Classified>> {
        let max_length = self.metadata.max_length;
        let encoded = TokenizedSet::new(examples, &self.tokenizer, Some(max_length));
        self.tokenizer.check()?;
        let context = self.model.body().config().n_positions as usize;
        let refuses = self.on_long_text == OnLongText::Error;
        if let Some((example, tokens)) = encoded.longer_than(context).filter(|_| refuses) {
            return Err(Error::TooLong { text: examples[example].row, tokens, context });
        }
        self.seen.truncated.fetch_add(encoded.truncated(), Ordering::Relaxed);
        self.seen.longest.fetch_max(encoded.longest_before_truncation(), Ordering::Relaxed);
        let evaluator = Evaluator::new(&self.model, self.metadata.pooling);
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
        if let Some(at) = predictions.iter().position(|answer| !is_finite(&answer.logits)) {
            let text = examples[at].row;
            return Err(Error::NotFinite { text, adapter: self.adapter.clone() });
        }
        let classified = predictions.iter().map(|prediction| Classified {
            label: self.metadata.labels.get(prediction.predicted()).cloned().unwrap_or_default(),
            probabilities: prediction.probabilities(),
        });
        Ok(classified.collect())
    }
}

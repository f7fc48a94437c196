//! Attaching of a saved adapter to its base model.

use std::path::{Path, PathBuf};

use dataset::Tokenizer;
use gpt2_model::{DType, Gpt2, Gpt2Classifier, Linear};
use lora::{Adapter, AdapterState, Injector};
use tch::Tensor;

use crate::{
    config::paths,
    error::{Error, Result},
    inference::{
        AdapterMetadata, BaseWeights,
        base_model::{BaseComparison, BaseOptions},
        error::{AdapterError, TensorProblem},
        head_bias::bias_in_norm,
        saved_adapter::{SavedAdapter, adapts_head},
    },
    trainable::{
        adapters::{PEFT_PREFIX, adapt_where},
        network::Network,
    },
    vocabulary::{check_vocabulary, with_special_tokens},
};

/// Model with an adapter attached, or a complete classifier.
#[derive(Debug)]
pub(crate) struct AdaptedModel {
    pub model: Gpt2Classifier,
    /// `None` for a complete classifier.
    pub lora: Option<Adapter>,
    pub metadata: AdapterMetadata,
    pub tokenizer: Tokenizer,
    /// Digest of the base model's weights, if it was compared with the metadata.
    pub base_digest: Option<String>,
    /// Folder of the base model.
    pub base: PathBuf,
    /// Folder of the adapter.
    pub adapter: PathBuf,
    /// Notes on ignored entries of the files and on a base model that may be a rounded copy.
    pub notes: Vec<String>,
}

/// Parts of an adapted classifier.
pub(super) struct Parts {
    /// The base model with the parameters that the adapter replaces.
    pub body: Gpt2,
    pub head: Linear,
    /// State of the adapted linear layers.
    pub state: Option<AdapterState>,
    /// Parameters of the body that were replaced, as in the file.
    pub replaced: Vec<(String, Tensor)>,
    pub metadata: AdapterMetadata,
    /// Digest of the base model's weights, if it was compared with the metadata.
    pub base_digest: Option<String>,
    pub notes: Vec<String>,
}

impl SavedAdapter {
    /// Loads the base model, by default the one of the training, and attaches the adapter.
    pub(super) fn load_base_and_attach(self, options: &BaseOptions) -> Result<AdaptedModel> {
        self.check_is_classifier()?;
        let (body, folder) = self.load_base(options)?;
        self.attach(body, &folder)
    }

    /// Loads the base model, by default the one of the training, or a complete model itself.
    /// Returns its folder too.
    pub(super) fn load_base(&self, options: &BaseOptions) -> Result<(Gpt2, PathBuf)> {
        let device = options.device()?;
        if self.state.is_none() {
            if options.model.is_some() {
                let (directory, advice) = (self.folder.clone(), "leave out --model");
                return Err(AdapterError::CompleteModel { directory, advice }.into());
            }
            return Ok((paths::load(&self.folder, None, device)?, self.folder.clone()));
        }
        let seed = self.metadata.as_ref().and_then(|metadata| metadata.base_seed);
        let (folder, seed) = match &options.model {
            Some(base) => (paths::model(base, false)?, None),
            None => (self.base_of_training()?, seed),
        };
        let body = paths::load(&folder, seed.map(u64::from), device)?;
        Ok((body, folder))
    }

    /// Attaches the adapter to `body`, the model in the folder `base`.
    pub fn attach(mut self, body: Gpt2, base: &Path) -> Result<AdaptedModel> {
        self.check_is_classifier()?;
        let tokenizer = self.tokenizer_of(base)?;
        self.notes.extend(check_vocabulary(body.config(), &tokenizer, base)?);
        let body = with_special_tokens(body, &tokenizer);
        let adapter = self.folder.clone();
        // The adapter was trained on rounded weights.
        let dtype = self.metadata.as_ref().filter(|_| self.state.is_some()).map(|it| it.dtype);
        let Parts { body, head, state, mut metadata, base_digest, notes, .. } =
            self.parts(body, base, dtype.unwrap_or_default(), None)?;
        // The metadata of PEFT's adapters does not name it.
        metadata.tokenizer = tokenizer.fingerprint().map(str::to_owned);
        let mut model = Gpt2Classifier::with_head(body, Box::new(head));
        let lora = match state {
            None => None,
            Some(state) => {
                let adapts_head = adapts_head(&state);
                let wanted = |name: &str| adapts_head || name != Gpt2Classifier::HEAD;
                Some(inject(&mut model, state, &wanted, &adapter)?)
            }
        };
        let base = base.to_owned();
        Ok(AdaptedModel { model, lora, metadata, tokenizer, base_digest, base, adapter, notes })
    }

    /// Separates what replaces parameters of `body`, the model in the folder `base` rounded to
    /// `dtype`, from the head and the adapters. `weights` describes a body that is rounded
    /// already.
    pub(super) fn parts(
        mut self,
        body: Gpt2,
        base: &Path,
        dtype: DType,
        weights: Option<&BaseWeights>,
    ) -> Result<Parts> {
        let context = body.config().n_positions as usize;
        if let Some(metadata) = &self.metadata {
            self.check_metadata(metadata, context, base)?;
        }
        let weight = self.head_weight(&body, base)?;
        let classes = weight.size()[0];
        let metadata = match self.metadata.take() {
            Some(metadata) => metadata,
            None => {
                let metadata = self.default_metadata(classes, context, base)?;
                self.check_metadata(&metadata, context, base)?;
                metadata
            }
        };
        let mut notes = std::mem::take(&mut self.notes);
        notes.extend(body.notes().iter().cloned());
        let device = body.device();
        let weight = weight.f_to_device(device)?;
        let Some(mut state) = self.state.take() else {
            let (head, replaced) = (Linear::new(weight, None), Vec::new());
            let base_digest = None;
            return Ok(Parts { body, head, state: None, replaced, metadata, base_digest, notes });
        };
        let BaseComparison { digest: base_digest, note } =
            self.compare_base(&metadata, &body, weights, base)?;
        notes.extend(note);
        let [weight_name, bias_name] = Gpt2Classifier::HEAD_TENSORS;
        state.take_tensor(weight_name);
        let bias = match state.take_tensor(bias_name) {
            Some(bias) if bias.size() != [classes] => {
                let problem = TensorProblem::HeadBias { name: bias_name, classes };
                return Err(self.bad_tensor(problem));
            }
            Some(bias) => Some(bias.f_to_device(device)?),
            None => bias_in_norm(&mut state, &metadata, &body, &weight)?,
        };
        let (body, replaced) = self.replace_parameters(body.rounded_to(dtype)?, &mut state)?;
        let (head, state) = (Linear::new(weight, bias), Some(state));
        Ok(Parts { body, head, state, replaced, metadata, base_digest, notes })
    }

    /// Moves the parameters of the body that were trained as a whole from `state` into it, and
    /// returns them.
    pub(super) fn replace_parameters(
        &self,
        body: Gpt2,
        state: &mut AdapterState,
    ) -> Result<(Gpt2, Vec<(String, Tensor)>)> {
        let names: Vec<String> =
            state.tensors().keys().filter(|name| !name.contains(".lora_")).cloned().collect();
        let mut replaced = Vec::new();
        for name in names {
            let tensor = state.take_tensor(&name);
            replaced.extend(tensor.map(|tensor| (name, tensor)));
        }
        let is_tied = body.config().tie_word_embeddings;
        let in_body = |(name, tensor): &(String, Tensor)| {
            let name = match name.as_str() {
                "lm_head.weight" if is_tied => "wte.weight",
                name => name.strip_prefix(PEFT_PREFIX).unwrap_or(name),
            };
            (name.to_owned(), tensor.shallow_clone())
        };
        let body =
            body.with_parameters(replaced.iter().map(in_body)).map_err(|error| match error {
                gpt2_model::Error::Argument(problem) => {
                    self.bad_tensor(TensorProblem::Parameter(problem.to_string()))
                }
                error => error.into(),
            })?;
        Ok((body, replaced))
    }

    /// Returns the weight of the head, `[classes, n_embd]`.
    fn head_weight(&self, body: &Gpt2, base: &Path) -> Result<Tensor> {
        let name = Gpt2Classifier::HEAD_TENSORS[0];
        let stored = self.state.as_ref().and_then(|state| state.tensors().get(name));
        let weight = match stored {
            Some(weight) => weight.shallow_clone(),
            None => self.head_of_base(body, base)?,
        };
        let labels = self.metadata.as_ref().map(|metadata| metadata.labels.len() as i64);
        let rows = weight.size().first().copied().unwrap_or(0);
        let expected = [labels.unwrap_or(rows), body.config().n_embd];
        if weight.size() != expected {
            let (shape, base) = (weight.size(), base.to_owned());
            return Err(self.bad_tensor(TensorProblem::Head { name, shape, expected, base }));
        }
        if rows == 1 && self.metadata.is_none() {
            let shape = weight.size();
            return Err(self.bad_tensor(TensorProblem::SingleLogit { name, shape }));
        }
        Ok(weight)
    }

    /// Returns the head of the base model, for an adapter that was saved without one.
    fn head_of_base(&self, body: &Gpt2, base: &Path) -> Result<Tensor> {
        Gpt2Classifier::head_of(base, body)?.ok_or_else(|| {
            Error::from(match self.state {
                None => AdapterError::NoHead { directory: self.folder.clone() },
                Some(_) => AdapterError::NoHeadInBase {
                    path: self.folder.join(lora::WEIGHTS_FILE),
                    base: base.to_owned(),
                },
            })
        })
    }
}

/// Puts an adapter, whose files are in `folder`, on the layers whose names are `wanted`.
pub(super) fn inject(
    model: &mut dyn Network,
    state: AdapterState,
    wanted: &dyn Fn(&str) -> bool,
    folder: &Path,
) -> Result<Adapter> {
    let injector = Injector::from_state(state).map_err(Error::from);
    let lora = injector.and_then(|injector| adapt_where(model, injector, wanted));
    lora.map_err(|error| with_adapter_folder(error, folder))
}

/// Adds the adapter's folder to an error about its settings.
fn with_adapter_folder(error: Error, folder: &Path) -> Error {
    match error {
        Error::Lora(
            lora::Error::Setting { .. }
            | lora::Error::UnknownTarget { .. }
            | lora::Error::Layer { .. },
        ) => AdapterError::Mismatch { directory: folder.to_owned(), reason: error.to_string() }
            .into(),
        // The other errors name a file, or are not about one.
        error => error,
    }
}

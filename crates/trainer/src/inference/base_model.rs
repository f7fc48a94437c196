//! Base model of a saved adapter: where it is, and whether it is the one of the training.

use std::path::{Path, PathBuf};

use dataset::{Tokenizer, TokenizerDifference};
use gpt2_model::{DeviceChoice, Gpt2, resolve_device};
use tch::Device;

use crate::{
    config::{layers::RESOLVED_FILE, paths, settings::Settings},
    error::Result,
    inference::{
        ADAPTER, AdapterMetadata, BaseWeights, INITIAL_ADAPTER, error::AdapterError,
        saved_adapter::SavedAdapter,
    },
};

/// Choice of the base model and of the device to compute on.
#[derive(Clone, Debug, Default)]
pub(super) struct BaseOptions {
    /// Folder of the base model, or the name of one below `weights/`; `None` for the one of the
    /// training.
    pub model: Option<String>,
    /// `None` for the first CUDA device if there is one, else the CPU.
    pub device: Option<Device>,
}

impl BaseOptions {
    /// Returns the device.
    pub fn device(&self) -> Result<Device> {
        Ok(match self.device {
            Some(device) => device,
            None => resolve_device(DeviceChoice::Auto)?,
        })
    }
}

/// Comparison of a base model with the one of the training.
#[derive(Debug, Default)]
pub(super) struct BaseComparison {
    /// Digest of the base model's weights; `None` if the one of the training is unknown.
    pub digest: Option<String>,
    pub note: Option<String>,
}

impl SavedAdapter {
    /// Finds the base model of the training: the folder in the `run.toml` of the run whose
    /// directory this is in, else by its name. The files of an adapter name no folders, so that
    /// they can be published and are the same on every machine.
    pub fn base_of_training(&self) -> Result<PathBuf> {
        let random_init = self.metadata.as_ref().is_some_and(|it| it.base_seed.is_some());
        if let Some(folder) = self.model_of_run()
            && let Ok(folder) = paths::model(&folder, random_init)
        {
            return Ok(folder);
        }
        let Some(name) = &self.base_model else {
            return Err(AdapterError::UnnamedBase { directory: self.folder.clone() }.into());
        };
        paths::model(name, random_init).map_err(|error| {
            AdapterError::MissingBase {
                directory: self.folder.clone(),
                base: name.clone(),
                reason: error.to_string(),
            }
            .into()
        })
    }

    /// Returns the base model in the settings of the run that this adapter is a result of.
    fn model_of_run(&self) -> Option<String> {
        let folder = self.folder.canonicalize().ok()?;
        let name = folder.file_name()?;
        if ![ADAPTER, INITIAL_ADAPTER].iter().any(|result| name == *result) {
            return None;
        }
        let settings = Settings::read_layer(&folder.with_file_name(RESOLVED_FILE)).ok()?;
        Some(settings.get("model")?.as_str()?.to_owned())
    }

    /// Returns the tokenizer of the base model, and notes other tokens that end or fill texts than in
    /// training.
    ///
    /// # Errors
    /// [`AdapterError::OtherTokenizer`] if it is not the one of the training.
    pub(super) fn tokenizer_of(&mut self, base: &Path) -> Result<Tokenizer> {
        let tokenizer = Tokenizer::of_model(base)?;
        let Some(metadata) = &self.metadata else { return Ok(tokenizer) };
        match tokenizer.compare(metadata.tokenizer.as_deref()) {
            TokenizerDifference::None => Ok(tokenizer),
            TokenizerDifference::SpecialTokens { given, expected } => {
                self.notes.push(format!(
                    "{}: the tokens that end and fill texts (eos_token_id, pad_token_id) are {given}, \
                     but {} was trained with {}; texts may end at another place than in training",
                    base.display(),
                    self.folder.display(),
                    storage::terminal_safe(&expected)
                ));
                Ok(tokenizer)
            }
            TokenizerDifference::Encoding => Err(AdapterError::OtherTokenizer {
                directory: self.folder.clone(),
                expected: metadata.tokenizer.clone(),
                base: base.to_owned(),
                given: tokenizer.fingerprint().map(str::to_owned),
            }
            .into()),
        }
    }

    /// Compares `body`, the base model in the folder `base`, with the one of the training, if that is
    /// known. `weights` describes the body if it is rounded already.
    pub(super) fn compare_base(
        &self,
        metadata: &AdapterMetadata,
        body: &Gpt2,
        weights: Option<&BaseWeights>,
        base: &Path,
    ) -> Result<BaseComparison> {
        let Some(trained) = &metadata.base_digest else { return Ok(BaseComparison::default()) };
        let weights = match weights {
            Some(weights) => weights,
            None => &BaseWeights::of(body)?,
        };
        let note = self.compare_weights(metadata, trained, weights, base)?;
        Ok(BaseComparison { digest: Some(weights.digest.clone()), note })
    }

    /// Returns a note if the two base models are stored in different data types, because a rounded
    /// copy has another digest.
    fn compare_weights(
        &self,
        metadata: &AdapterMetadata,
        trained: &str,
        weights: &BaseWeights,
        base: &Path,
    ) -> Result<Option<String>> {
        let BaseWeights { digest: given, dtype } = weights;
        if trained == given {
            return Ok(None);
        }
        let trained_dtype = metadata.base_dtype.unwrap_or_default();
        // A rounded copy of a model exists only if the model is in a file.
        if trained_dtype != *dtype && metadata.base_seed.is_none() {
            return Ok(Some(format!(
                "the weights of {} ({dtype}, digest {given}) cannot be compared exactly with the \
                 weights that the adapter was trained on ({trained_dtype}, digest {trained}); make \
                 sure that one is a copy of the other",
                base.display()
            )));
        }
        let advice = match metadata.base_seed {
            None => {
                format!("give --model the model that it was trained on ({})", metadata.base_model)
            }
            Some(_) => "leave out --model to initialize them again".to_owned(),
        };
        Err(AdapterError::OtherBase {
            directory: self.folder.clone(),
            expected: trained.to_owned(),
            base: base.to_owned(),
            given: given.clone(),
            advice,
            metadata: self.metadata_file(),
        }
        .into())
    }
}

//! Language model of a saved adapter.

use std::path::{Path, PathBuf};

use dataset::Tokenizer;
use gpt2_model::{DType, Gpt2, Gpt2Classifier};
use lora::AdapterState;
use tch::Tensor;

use crate::{
    error::Result,
    inference::{
        AdapterMetadata, BaseWeights, attached::inject, base_model::BaseOptions,
        error::AdapterError, saved_adapter::SavedAdapter,
    },
    task::kind::TaskKind,
    vocabulary::{check_vocabulary, with_special_tokens},
};

/// Language model with an adapter merged into it, or a complete one.
#[derive(Debug)]
pub(super) struct LanguageModel {
    pub body: Gpt2,
    pub metadata: AdapterMetadata,
    pub tokenizer: Tokenizer,
    /// Folder of the base model.
    pub base: PathBuf,
    pub notes: Vec<String>,
}

/// Parts of a language model whose adapter is not attached yet.
pub(super) struct LanguageModelParts {
    /// The base model with the parameters that the adapter replaces.
    pub body: Gpt2,
    /// `None` for a complete model.
    pub state: Option<AdapterState>,
    /// Parameters of the body that were replaced, as in the file.
    pub replaced: Vec<(String, Tensor)>,
    pub notes: Vec<String>,
}

/// Returns whether a directory has a language model or an adapter of one. Files that do not name
/// their task have one unless there is a classification head.
///
/// # Errors
/// As [`Predictor::load`](crate::Predictor::load), for other files.
pub fn is_language_model(folder: &Path) -> Result<bool> {
    SavedAdapter::load(folder)?.is_language_model()
}

impl SavedAdapter {
    /// Returns whether the files have a classification head.
    fn has_head(&self) -> Result<bool> {
        match &self.state {
            Some(state) => Ok(state.tensors().keys().any(|name| name.starts_with("score."))),
            None => Ok(Gpt2Classifier::has_head(&self.folder)?),
        }
    }

    /// As [`is_language_model`].
    pub(super) fn is_language_model(&self) -> Result<bool> {
        if self.task == TaskKind::LanguageModel || self.names_task {
            return Ok(self.task == TaskKind::LanguageModel);
        }
        Ok(!self.has_head()?)
    }

    /// Refuses a classifier.
    fn check_is_language_model(&self) -> Result<()> {
        if !self.is_language_model()? {
            return Err(AdapterError::Classifier { directory: self.folder.clone() }.into());
        }
        Ok(())
    }

    /// Separates what replaces parameters of `body`, the model in the folder `base` rounded to
    /// `dtype`, from the adapters. `weights` describes a body that is rounded already.
    pub(super) fn language_model_parts(
        &mut self,
        body: Gpt2,
        base: &Path,
        dtype: DType,
        weights: Option<&BaseWeights>,
    ) -> Result<LanguageModelParts> {
        let mut notes = std::mem::take(&mut self.notes);
        let Some(mut state) = self.state.take() else {
            return Ok(LanguageModelParts { body, state: None, replaced: Vec::new(), notes });
        };
        if let Some(metadata) = &self.metadata {
            notes.extend(self.compare_base(metadata, &body, weights, base)?.note);
        }
        let (body, replaced) = self.replace_parameters(body.rounded_to(dtype)?, &mut state)?;
        Ok(LanguageModelParts { body, state: Some(state), replaced, notes })
    }

    /// Loads the base model, by default the one of the training, and merges the adapter into it.
    pub(super) fn load_language_model(mut self, options: &BaseOptions) -> Result<LanguageModel> {
        self.check_is_language_model()?;
        let (body, base) = self.load_base(options)?;
        let tokenizer = self.tokenizer_of(&base)?;
        let context = body.config().n_positions as usize;
        let mut notes = body.notes().to_vec();
        notes.extend(check_vocabulary(body.config(), &tokenizer, &base)?);
        let body = with_special_tokens(body, &tokenizer);
        // The adapter was trained on rounded weights.
        let dtype = self.metadata.as_ref().filter(|_| self.state.is_some()).map(|it| it.dtype);
        let parts = self.language_model_parts(body, &base, dtype.unwrap_or_default(), None)?;
        let LanguageModelParts { mut body, state, notes: of_adapter, .. } = parts;
        notes.splice(0..0, of_adapter);
        if let Some(state) = state {
            inject(&mut body, state, &|_| true, &self.folder)?;
            body.merge()?;
        }
        let metadata = match self.metadata.take() {
            Some(metadata) => metadata,
            None => AdapterMetadata {
                task: TaskKind::LanguageModel,
                ..self.default_metadata(0, context, &base)?
            },
        };
        Ok(LanguageModel { body, metadata, tokenizer, base, notes })
    }
}

//! Classes of a saved adapter: its labels, and how texts become examples of them.

use std::{collections::BTreeSet, path::Path};

use gpt2_model::{DType, Pooling, labels_of};

use crate::{
    config::settings::PadTo,
    error::Result,
    inference::{
        AdapterMetadata,
        error::{AdapterError, MetadataProblem},
        saved_adapter::SavedAdapter,
    },
    task::kind::TaskKind,
};

impl SavedAdapter {
    /// Returns the metadata of an adapter without [`METADATA_FILE`]: the given labels, or
    /// the labels of its base model if their number fits, else `LABEL_0` and so on like
    /// `transformers`.
    pub(super) fn default_metadata(
        &self,
        classes: i64,
        context: usize,
        base: &Path,
    ) -> Result<AdapterMetadata> {
        let mut labels = labels_of(base)?;
        if labels.len() as i64 != classes {
            labels = (0..classes).map(|class| format!("LABEL_{class}")).collect();
        }
        if !self.labels.is_empty() {
            if self.labels.len() as i64 != classes {
                let (directory, labels) = (self.folder.clone(), self.labels.len());
                return Err(AdapterError::LabelCount { directory, classes, labels }.into());
            }
            labels.clone_from(&self.labels);
        }
        Ok(AdapterMetadata {
            task: self.task,
            base_model: self.base_model.clone().unwrap_or_default(),
            base_seed: None,
            base_digest: None,
            tokenizer: None,
            base_dtype: None,
            labels,
            pooling: Pooling::LastToken,
            pad_to: PadTo::None,
            max_length: context,
            dtype: DType::Float32,
            head: self.head(),
            quotes: dataset::Quotes::Keep,
            lora: None,
            prompts: None,
            head_bias: None,
        })
    }

    /// Refuses a language model, which has no classes.
    pub(super) fn check_is_classifier(&self) -> Result<()> {
        if self.task == TaskKind::Classify {
            return Ok(());
        }
        let directory = self.folder.clone();
        Err(match self.state {
            None => AdapterError::LanguageModel { directory },
            Some(_) => AdapterError::LanguageModelAdapter { directory },
        }
        .into())
    }

    /// Refuses labels and lengths that no classifier has.
    pub(super) fn check_metadata(
        &self,
        metadata: &AdapterMetadata,
        context: usize,
        base: &Path,
    ) -> Result<()> {
        let distinct: BTreeSet<&String> = metadata.labels.iter().collect();
        let problem = if distinct.is_empty() {
            MetadataProblem::NoLabels
        } else if distinct.len() < metadata.labels.len() {
            MetadataProblem::RepeatedLabels(metadata.labels.clone())
        } else if !(1..=context).contains(&metadata.max_length) {
            let (value, base) = (metadata.max_length, base.to_owned());
            MetadataProblem::MaxLength { value, context, base }
        } else {
            return Ok(());
        };
        Err(AdapterError::Metadata { path: self.metadata_file(), problem }.into())
    }
}

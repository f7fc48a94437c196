//! Several adapters that share one base model.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gpt2_model::Gpt2;
use tch::Device;

use crate::{
    config::{OnLongText, paths},
    error::{Error, Result},
    inference::saved_adapter::SavedAdapter,
    inference::{error::AdapterError, predictor::Predictor},
};

/// Base model, loaded once, with named adapters, each with its own head and labels. They
/// share the base model's tensors, so switching costs nothing and an adapter takes only the
/// memory of its own tensors.
///
/// Adapters are not merged, because a merged one needs a base model of its own. An adapter
/// trained on rounded weights (`dtype`) needs that memory all the same.
#[derive(Debug)]
pub struct AdapterSet {
    base: Gpt2,
    folder: PathBuf,
    adapters: BTreeMap<String, Predictor>,
    on_long_text: OnLongText,
}

impl AdapterSet {
    /// Loads the base model: a folder, or the name of one below `weights/`.
    ///
    /// # Errors
    /// [`Error::Adapter`], [`Error::NotFound`] or [`Error::Model`].
    pub fn load(base: &str, device: Device) -> Result<Self> {
        let folder = paths::model(base, false)?;
        let base = paths::load(&folder, None, device)?;
        Ok(Self { base, folder, adapters: BTreeMap::new(), on_long_text: OnLongText::default() })
    }

    /// Sets how adapters added from now on treat texts longer than the model's context, see
    /// [`PredictorOptions::on_long_text`](crate::inference::PredictorOptions::on_long_text).
    pub fn on_long_text(mut self, on_long_text: OnLongText) -> Self {
        self.on_long_text = on_long_text;
        self
    }

    /// Adds the adapter in a folder, of this project or of PEFT. It replaces one with the
    /// same name.
    ///
    /// # Errors
    /// See [`Predictor::load`]; the set is unchanged then.
    pub fn add(&mut self, name: &str, adapter: impl AsRef<Path>) -> Result<()> {
        let saved = SavedAdapter::load(adapter.as_ref())?;
        let adapted = saved.attach(self.base.share(), &self.folder)?;
        self.adapters.insert(name.to_owned(), Predictor::new(adapted, self.on_long_text));
        Ok(())
    }

    /// Removes an adapter; returns false if there is none with this name.
    pub fn remove(&mut self, name: &str) -> bool {
        self.adapters.remove(name).is_some()
    }

    /// Returns an adapter by name.
    ///
    /// # Errors
    /// [`AdapterError::UnknownName`].
    pub fn get(&self, name: &str) -> Result<&Predictor> {
        self.adapters.get(name).ok_or_else(|| {
            let known = self.names().map(str::to_owned).collect();
            Error::from(AdapterError::UnknownName { name: name.to_owned(), known })
        })
    }

    /// Returns the names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.adapters.keys().map(String::as_str)
    }
}

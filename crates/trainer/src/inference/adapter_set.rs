//! Several adapters on one base model.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gpt2_model::Gpt2;
use tch::Device;

use crate::{
    config::paths,
    error::{Error, Result},
    inference::predictor::Predictor,
    inference::saved_adapter::Saved,
};

/// A base model that is loaded once, and adapters on it by name, each with its own
/// head and labels. To switch is to ask for another name: the base's tensors are
/// shared, and an adapter takes the memory of its own few.
///
/// Adapters are not merged here, which would take a base's memory for each. One that was
/// trained on rounded weights (`--dtype`) takes that memory all the same.
#[derive(Debug)]
pub struct AdapterSet {
    base: Gpt2,
    folder: PathBuf,
    adapters: BTreeMap<String, Predictor>,
    truncates: bool,
}

impl AdapterSet {
    /// Loads the base model: a folder, or the name of one below `weights/`.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Model`].
    pub fn load(base: &str, device: Device) -> Result<Self> {
        let folder = places::model(base, false)?;
        let base = places::load(&folder, false, 0, device)?;
        Ok(Self { base, folder, adapters: BTreeMap::new(), truncates: false })
    }

    /// As [`Predictor::with_truncation`], for the adapters that are added from now on.
    pub fn with_truncation(mut self, truncates: bool) -> Self {
        self.truncates = truncates;
        self
    }

    /// Adds the adapter in a folder, of this program or of PEFT, under a name. One
    /// that has the name makes room.
    ///
    /// # Errors
    /// As [`Predictor::load`]; the set is as before then.
    pub fn add(&mut self, name: &str, adapter: &Path) -> Result<()> {
        let restored = Saved::load(adapter)?.put_on(self.base.share(), &self.folder)?;
        let predictor = Predictor::of(restored).with_truncation(self.truncates);
        self.adapters.insert(name.to_owned(), predictor);
        Ok(())
    }

    /// Takes an adapter out.
    pub fn remove(&mut self, name: &str) -> bool {
        self.adapters.remove(name).is_some()
    }

    /// The adapter of a name.
    ///
    /// # Errors
    /// [`Error::Config`] names those that there are.
    pub fn get(&self, name: &str) -> Result<&Predictor> {
        self.adapters.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            let known = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
            Error::Config(format!("there is no adapter {name:?}, but {known}"))
        })
    }

    /// The names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.adapters.keys().map(String::as_str)
    }
}

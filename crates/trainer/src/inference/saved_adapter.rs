//! A trained adapter from its folder, put back on its base model.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use gpt2_model::{Gpt2, Gpt2Classifier, Linear, Pooling, labels_of, read_settings};
use lora::{AdapterState, Injector, peft, peft::PeftAdapter};
use serde_json::{Map, Value};
use tch::{Device, Tensor};

use crate::{
    config::paths,
    config::settings::PadTo,
    error::{Error, Result, quoted},
    inference::head_bias::bias_from_norm,
    inference::predictor::AdapterUse,
    run::examples::check_vocabulary,
    trainable::adapters::PEFT_PREFIX,
    trainable::parameters::{HEAD_TENSORS, Head, Trained},
};

/// Beside an adapter in PEFT's format: what PEFT does not keep, labels for example.
pub(crate) const USE_FILE: &str = "gpt2_lora.json";

/// A model with an adapter on it, and what has to be known to use it.
#[derive(Debug)]
pub(crate) struct Restored {
    pub model: Gpt2Classifier,
    pub trained: Trained,
    pub about: AdapterUse,
    pub base: PathBuf,
    pub adapter: PathBuf,
}

/// An adapter folder, of this program or of PEFT, before it is on a model.
#[derive(Debug)]
pub(crate) struct Saved {
    folder: PathBuf,
    state: AdapterState,
    is_peft: bool,
    base_model: String,
    /// Nothing where the folder does not say.
    about: Option<AdapterUse>,
}

impl Saved {
    /// Reads the adapter in a folder.
    pub fn load(folder: &Path) -> Result<Self> {
        let config_file = folder.join(lora::CONFIG_FILE);
        if !config_file.is_file() {
            let inside = folder.join("adapter");
            return Err(Error::Missing(format!(
                "{} is no folder of an adapter: it has no {}; {}",
                folder.display(),
                lora::CONFIG_FILE,
                match inside.join(lora::CONFIG_FILE).is_file() {
                    true => format!("the adapter of that run is in {}", inside.display()),
                    false => "give --adapter the folder adapter of a run".to_owned(),
                }
            )));
        }
        let parse = |more: Map<String, Value>, file: &Path| -> Result<AdapterUse> {
            serde_json::from_value(Value::Object(more)).map_err(|error| {
                Error::Config(format!(
                    "{} is not that of a classifier of this program: {error}",
                    file.display()
                ))
            })
        };
        if !peft::is_peft(folder)? {
            let state = AdapterState::load(folder)?;
            let about = parse(state.more().clone(), &config_file)?;
            let base_model = about.base_model.clone();
            let folder = folder.to_owned();
            return Ok(Self { folder, state, is_peft: false, base_model, about: Some(about) });
        }
        let adapter = PeftAdapter::load(folder)?;
        let use_file = folder.join(USE_FILE);
        let about = match read_settings(&use_file) {
            Ok(bytes) => {
                let fail = |error| Error::Config(format!("{}: {error}", use_file.display()));
                Some(parse(serde_json::from_slice(&bytes).map_err(fail)?, &use_file)?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Error::Config(format!("cannot read {}: {error}", use_file.display())));
            }
        };
        let named = about.as_ref().map(|about| about.base_model.as_str()).or(adapter.base_model());
        let base_model = named.unwrap_or("gpt2").to_owned();
        let state = adapter.into_state(PEFT_PREFIX)?;
        Ok(Self { folder: folder.to_owned(), state, is_peft: true, base_model, about })
    }

    /// The base model, the given one or that of the training, and its folder.
    pub fn base(&self, given: Option<&str>, device: Device) -> Result<(Gpt2, PathBuf)> {
        let seed = self.about.as_ref().and_then(|about| about.base_seed);
        let (folder, seed) = match given {
            Some(given) => (places::model(given, false)?, None),
            None => (self.base_of_training(seed.is_some())?, seed),
        };
        let body = places::load(&folder, seed.is_some(), seed.unwrap_or_default().into(), device)?;
        Ok((body, folder))
    }

    fn base_of_training(&self, is_drawn: bool) -> Result<PathBuf> {
        places::model(&self.base_model, is_drawn).or_else(|error| {
            let remembered = self.about.as_ref().and_then(|about| about.base_folder.clone());
            let remembered = remembered.filter(|folder| folder.join("config.json").is_file());
            remembered.ok_or_else(|| {
                Error::Missing(format!(
                    "the adapter in {} was trained on {}, which is not here ({error}); give --model \
                     the folder of that model",
                    self.folder.display(),
                    self.base_model
                ))
            })
        })
    }

    /// Puts the adapter on `body`, which is that of the model in the folder `base`.
    pub fn put_on(mut self, body: Gpt2, base: &Path) -> Result<Restored> {
        check_vocabulary(body.config(), base)?;
        let (dim, device) = (body.config().n_embd, body.device());
        let context = body.config().n_positions as usize;
        let [weight_name, bias_name] = HEAD_TENSORS;
        let file = self.folder.join(lora::WEIGHTS_FILE);
        let classes = self.about.as_ref().map(|about| about.labels.len());
        let weight = match self.state.tensors().get(weight_name) {
            Some(weight) => weight.shallow_clone(),
            None => self.head_of_base(&body, base)?,
        };
        let rows = weight.size().first().copied().unwrap_or(0);
        let expected = [classes.map_or(rows, |classes| classes as i64), dim];
        if weight.size() != expected {
            return Err(Error::Config(format!(
                "{} has a {weight_name} of shape {:?}, but the labels and the model {} need \
                 {expected:?}; give --model the model that the adapter was trained on",
                file.display(),
                weight.size(),
                base.display()
            )));
        }
        let about = match self.about.take() {
            Some(about) => about,
            None => self.unsaid(rows, context, base)?,
        };
        self.check_use(&about, context, base)?;
        if let Some(fingerprint) = &about.base_fingerprint
            && let Some(tensor) = fingerprint.differs_from(&body)?
        {
            let remedy = match about.base_seed {
                None => {
                    format!("give --model the model that it was trained on ({})", about.base_model)
                }
                Some(_) => "leave out --model, and they are drawn again as they were".to_owned(),
            };
            return Err(Error::Config(format!(
                "the adapter in {} was trained on other weights than those of {}: {tensor} differs; \
                 {remedy}, or take base_fingerprint out of {} to use it on this one",
                self.folder.display(),
                base.display(),
                self.settings().display()
            )));
        }
        // Rounded as in the training, which the adapter has learned to live with.
        let body = body.rounded_to(about.dtype)?;
        let weight = weight.f_to_device(device)?;
        if self.is_peft {
            bias_from_norm(&mut self.state, &body)?;
        }
        self.state.take_tensor(weight_name);
        let bias = self.state.take_tensor(bias_name);
        let fits = bias
            .as_ref()
            .map_or(about.head == Head::Full || self.is_peft, |bias| bias.size() == [rows]);
        if !fits {
            return Err(Error::Config(format!(
                "{} has no {bias_name} of shape [{rows}], which its labels need",
                file.display()
            )));
        }
        let bias = bias.map(|bias| bias.f_to_device(device)).transpose()?;
        let mut model = Gpt2Classifier::with_head(body, Box::new(Linear::new(weight, bias)));
        let trained = Injector::from_state(self.state)
            .map_err(Error::from)
            .and_then(|injector| Trained::new(&mut model, injector, about.head))
            .map_err(|error| of_adapter(error, &self.folder))?;
        Ok(Restored { model, trained, about, base: base.to_owned(), adapter: self.folder })
    }

    /// The file that says how the adapter is used.
    fn settings(&self) -> PathBuf {
        self.folder.join(if self.is_peft { USE_FILE } else { lora::CONFIG_FILE })
    }

    /// Refuses what an adapter says of its use where that makes no sense.
    fn check_use(&self, about: &AdapterUse, context: usize, base: &Path) -> Result<()> {
        let file = self.settings();
        let refuse = |reason: String| Err(Error::Config(format!("{}: {reason}", file.display())));
        let distinct: BTreeSet<&String> = about.labels.iter().collect();
        if distinct.is_empty() || distinct.len() < about.labels.len() {
            return refuse(format!(
                "its labels are {}; it needs one or more, none twice",
                match about.labels.as_slice() {
                    [] => "none".to_owned(),
                    labels => quoted(labels),
                }
            ));
        }
        if !(1..=context).contains(&about.max_length) {
            return refuse(format!(
                "its max_length is {}; expected 1 to {context}, the context of the model {}",
                about.max_length,
                base.display()
            ));
        }
        Ok(())
    }

    /// The head of an adapter that was saved without one.
    fn head_of_base(&self, body: &Gpt2, base: &Path) -> Result<Tensor> {
        let head = if self.is_peft { Gpt2Classifier::head_of(base, body)? } else { None };
        head.ok_or_else(|| {
            Error::Config(format!(
                "{} has no head (score.weight), and neither has the model {}: it was saved \
                 without what it classifies with. Save it again with its head (in PEFT: \
                 modules_to_save=[\"score\"]), or give --model the classifier that it was trained \
                 on",
                self.folder.join(lora::WEIGHTS_FILE).display(),
                base.display()
            ))
        })
    }

    /// What an adapter of PEFT does not say: the labels of its base model if they
    /// are as many, else numbers as `transformers` gives them; the last token speaks
    /// for a row.
    fn unsaid(&self, classes: i64, context: usize, base: &Path) -> Result<AdapterUse> {
        let labels = labels_of(base)?;
        let labels = match labels.len() as i64 == classes {
            true => labels,
            false => (0..classes).map(|class| format!("LABEL_{class}")).collect(),
        };
        let adapted = self.state.tensors().keys().any(|name| name.starts_with("score.lora_"));
        Ok(AdapterUse {
            base_model: self.base_model.clone(),
            base_folder: None,
            base_seed: None,
            base_fingerprint: None,
            labels,
            pooling: Pooling::LastToken,
            pad_to: PadTo::None,
            max_length: context,
            dtype: gpt2_model::DType::Float32,
            head: if adapted { Head::Lora } else { Head::Full },
            quotes: dataset::Quotes::Keep,
        })
    }
}

/// An error about the settings of an adapter, which names its folder.
fn of_adapter(error: Error, folder: &Path) -> Error {
    match error {
        Error::Lora(
            lora::Error::Config(_) | lora::Error::UnknownTarget { .. } | lora::Error::Layer { .. },
        ) => Error::Config(format!(
            "the adapter in {} does not go on this model: {error}; give --model the base that it \
             was trained on, or save it again",
            folder.display()
        )),
        // The others name the file themselves, or are of no file.
        error => error,
    }
}

/// Reads an adapter and the base model that it was trained on, or another copy of
/// that model, and joins them.
pub(crate) fn restore(folder: &Path, base: Option<&str>, device: Device) -> Result<Restored> {
    let saved = Saved::load(folder)?;
    let (body, base) = saved.base(base, device)?;
    saved.put_on(body, &base)
}

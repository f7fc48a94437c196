//! Loading of a saved adapter, and attaching it to its base model.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use gpt2_model::{DType, Gpt2, Gpt2Classifier, Linear, Pooling, labels_of};
use lora::{Adapter, AdapterState, Injector, LoraConfig, peft, peft::PeftAdapter};
use serde_json::{Map, Value};
use tch::{Device, Tensor};

use crate::{
    config::paths,
    config::settings::PadTo,
    error::{Error, Result, quoted},
    inference::head_bias::bias_from_norm,
    inference::{AdapterMetadata, METADATA_FILE},
    task::{classification::examples::check_vocabulary, kind::TaskKind},
    trainable::{
        adapters::{PEFT_PREFIX, adapt_where},
        parameters::Head,
    },
};

/// Model with an adapter attached, or a complete classifier.
#[derive(Debug)]
pub(crate) struct AdaptedModel {
    pub model: Gpt2Classifier,
    /// `None` for a complete classifier.
    pub lora: Option<Adapter>,
    pub metadata: AdapterMetadata,
    /// Folder of the base model.
    pub base: PathBuf,
    /// Folder of the adapter.
    pub adapter: PathBuf,
    /// Set if the base may be a rounded copy of the one of the training.
    pub base_note: Option<String>,
}

/// Format of a directory with something trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SavedFormat {
    /// Adapter of this project.
    Adapter,
    /// Adapter of Hugging Face PEFT.
    Peft,
    /// Complete classifier in the Hugging Face layout.
    Model,
}

/// Contents of a directory with an adapter, of this project or of PEFT, or with a complete
/// classifier.
#[derive(Debug)]
pub(crate) struct SavedAdapter {
    folder: PathBuf,
    state: AdapterState,
    format: SavedFormat,
    base_model: String,
    /// `None` for an adapter of PEFT without [`METADATA_FILE`].
    metadata: Option<AdapterMetadata>,
}

impl SavedAdapter {
    /// Loads the adapter in a folder.
    pub fn load(folder: &Path) -> Result<Self> {
        let config_file = folder.join(lora::CONFIG_FILE);
        let is_model = ["config.json", "model.safetensors"].map(|name| folder.join(name).is_file());
        if !config_file.is_file() && is_model == [true, true] {
            return Ok(Self {
                folder: folder.to_owned(),
                state: AdapterState::new(LoraConfig::default()),
                format: SavedFormat::Model,
                base_model: folder.display().to_string(),
                metadata: read_metadata_file(&folder.join(METADATA_FILE))?,
            });
        }
        if !config_file.is_file() {
            let (inside, model) = (folder.join("adapter"), folder.join("model"));
            let advice = if inside.join(lora::CONFIG_FILE).is_file() {
                format!("the adapter of that run is in {}", inside.display())
            } else if model.join("config.json").is_file() {
                format!("the model of that run is in {}", model.display())
            } else {
                "give --adapter the folder adapter of a run".to_owned()
            };
            return Err(Error::Missing(format!(
                "{} is not an adapter folder: it has no {}; {advice}",
                folder.display(),
                lora::CONFIG_FILE,
            )));
        }
        if !peft::is_peft(folder)? {
            let state = AdapterState::load(folder)?;
            let metadata = parse_metadata(state.more().clone(), &config_file)?;
            let base_model = metadata.base_model.clone();
            let (folder, metadata) = (folder.to_owned(), Some(metadata));
            let format = SavedFormat::Adapter;
            return Ok(Self { folder, state, format, base_model, metadata });
        }
        let adapter = PeftAdapter::load(folder)?;
        let metadata = read_metadata_file(&folder.join(METADATA_FILE))?;
        let named = metadata.as_ref().map(|metadata| metadata.base_model.as_str());
        let base_model = named.or(adapter.base_model()).unwrap_or("gpt2").to_owned();
        let state = adapter.into_state(PEFT_PREFIX)?;
        let (folder, format) = (folder.to_owned(), SavedFormat::Peft);
        Ok(Self { folder, state, format, base_model, metadata })
    }

    /// Loads the base model, by default the one of the training, and attaches the adapter.
    pub fn load_base_and_attach(self, base: Option<&str>, device: Device) -> Result<AdaptedModel> {
        if self.format == SavedFormat::Model {
            if base.is_some() {
                return Err(Error::Config(format!(
                    "{} is a complete model, not an adapter; leave out --model",
                    self.folder.display()
                )));
            }
            let folder = self.folder.clone();
            let body = paths::load(&folder, false, 0, device)?;
            return self.attach(body, &folder);
        }
        let seed = self.metadata.as_ref().and_then(|metadata| metadata.base_seed);
        let (folder, seed) = match base {
            Some(base) => (paths::model(base, false)?, None),
            None => (self.base_of_training(seed.is_some())?, seed),
        };
        let body = paths::load(&folder, seed.is_some(), seed.unwrap_or_default().into(), device)?;
        self.attach(body, &folder)
    }

    fn base_of_training(&self, random_init: bool) -> Result<PathBuf> {
        paths::model(&self.base_model, random_init).or_else(|error| {
            let folder = self.metadata.as_ref().and_then(|metadata| metadata.base_folder.clone());
            folder.filter(|folder| folder.join("config.json").is_file()).ok_or_else(|| {
                Error::Missing(format!(
                    "the adapter in {} was trained on {}, which is not here ({error}); give --model \
                     the folder of that model",
                    self.folder.display(),
                    self.base_model
                ))
            })
        })
    }

    /// Attaches the adapter to `body`, the model in the folder `base`.
    pub fn attach(mut self, body: Gpt2, base: &Path) -> Result<AdaptedModel> {
        check_vocabulary(body.config(), base)?;
        let context = body.config().n_positions as usize;
        let device = body.device();
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
        let is_model = self.format == SavedFormat::Model;
        let base_note = match is_model {
            true => None,
            false => self.compare_base(&metadata, &body, base)?,
        };
        // The adapter was trained on rounded weights.
        let body = if is_model { body } else { body.rounded_to(metadata.dtype)? };
        if self.format == SavedFormat::Peft {
            bias_from_norm(&mut self.state, &body)?;
        }
        let [weight_name, bias_name] = Gpt2Classifier::HEAD_TENSORS;
        self.state.take_tensor(weight_name);
        let bias = self.state.take_tensor(bias_name);
        let is_valid = bias
            .as_ref()
            .map_or(metadata.head == Head::Full || self.format != SavedFormat::Adapter, |bias| {
                bias.size() == [classes]
            });
        if !is_valid {
            return Err(Error::Config(format!(
                "{}: expected a tensor {bias_name} of shape [{classes}], one value per label",
                self.folder.join(lora::WEIGHTS_FILE).display()
            )));
        }
        let weight = weight.f_to_device(device)?;
        let bias = bias.map(|bias| bias.f_to_device(device)).transpose()?;
        let mut model = Gpt2Classifier::with_head(body, Box::new(Linear::new(weight, bias)));
        let (base, adapter) = (base.to_owned(), self.folder);
        let lora = match is_model {
            true => None,
            false => {
                let injector = Injector::from_state(self.state).map_err(Error::from);
                let wanted =
                    |name: &str| metadata.head == Head::Lora || name != Gpt2Classifier::HEAD;
                let lora = injector.and_then(|injector| adapt_where(&mut model, injector, &wanted));
                Some(lora.map_err(|error| with_adapter_folder(error, &adapter))?)
            }
        };
        Ok(AdaptedModel { model, lora, metadata, base, adapter, base_note })
    }

    /// Compares the base model with the one of the training. Returns a note if the two are
    /// stored in different data types, because a rounded copy has another digest.
    fn compare_base(
        &self,
        metadata: &AdapterMetadata,
        body: &Gpt2,
        base: &Path,
    ) -> Result<Option<String>> {
        let Some(trained) = &metadata.base_digest else { return Ok(None) };
        let given = body.digest()?;
        if *trained == given {
            return Ok(None);
        }
        let trained_dtype = metadata.base_dtype.unwrap_or_default();
        let dtype = body.stored_dtype();
        // A rounded copy of a model exists only if the model is in a file.
        if trained_dtype != dtype && metadata.base_seed.is_none() {
            return Ok(Some(format!(
                "the weights of {} ({dtype}, digest {given}) cannot be compared exactly with the \
                 weights that the adapter was trained on ({trained_dtype}, digest {trained}); make \
                 sure that one is a copy of the other",
                base.display()
            )));
        }
        let remedy = match metadata.base_seed {
            None => {
                format!("give --model the model that it was trained on ({})", metadata.base_model)
            }
            Some(_) => "leave out --model to initialize them again".to_owned(),
        };
        Err(Error::Config(format!(
            "the adapter in {} was trained on weights with the digest {trained}, but the digest of \
             {} is {given}; {remedy}, or remove base_digest from {} to use it on this one",
            self.folder.display(),
            base.display(),
            self.metadata_file().display()
        )))
    }

    /// Returns the weight of the head, `[classes, n_embd]`.
    fn head_weight(&self, body: &Gpt2, base: &Path) -> Result<Tensor> {
        let name = Gpt2Classifier::HEAD_TENSORS[0];
        let weight = match self.state.tensors().get(name) {
            Some(weight) => weight.shallow_clone(),
            None => self.head_of_base(body, base)?,
        };
        let labels = self.metadata.as_ref().map(|metadata| metadata.labels.len() as i64);
        let rows = weight.size().first().copied().unwrap_or(0);
        let expected = [labels.unwrap_or(rows), body.config().n_embd];
        if weight.size() != expected {
            return Err(Error::Config(format!(
                "{}: {name} has shape {:?}, but the labels and the model {} need {expected:?}; give \
                 --model the model that the adapter was trained on",
                self.folder.join(lora::WEIGHTS_FILE).display(),
                weight.size(),
                base.display()
            )));
        }
        Ok(weight)
    }

    /// Returns the head of the base model, for an adapter that was saved without one.
    fn head_of_base(&self, body: &Gpt2, base: &Path) -> Result<Tensor> {
        let head = match self.format {
            SavedFormat::Adapter => None,
            SavedFormat::Peft | SavedFormat::Model => Gpt2Classifier::head_of(base, body)?,
        };
        if head.is_none() && self.format == SavedFormat::Model {
            return Err(Error::Config(format!(
                "{} is a base model without a classification head (score.weight); give --adapter \
                 the folder adapter or model of a run",
                self.folder.display()
            )));
        }
        head.ok_or_else(|| {
            Error::Config(format!(
                "{} has no head (score.weight), and neither has the model {}; save the adapter \
                 with its head (in PEFT: modules_to_save=[\"score\"]), or give --model the \
                 classifier that it was trained on",
                self.folder.join(lora::WEIGHTS_FILE).display(),
                base.display()
            ))
        })
    }

    /// Returns the metadata of an adapter of PEFT without [`METADATA_FILE`]: the labels of
    /// its base model if their number fits, else `LABEL_0` and so on like `transformers`.
    fn default_metadata(
        &self,
        classes: i64,
        context: usize,
        base: &Path,
    ) -> Result<AdapterMetadata> {
        let mut labels = labels_of(base)?;
        if labels.len() as i64 != classes {
            labels = (0..classes).map(|class| format!("LABEL_{class}")).collect();
        }
        let is_head_adapted =
            self.state.tensors().keys().any(|name| name.starts_with("score.lora_"));
        Ok(AdapterMetadata {
            task: TaskKind::Classify,
            base_model: self.base_model.clone(),
            base_folder: None,
            base_seed: None,
            base_digest: None,
            base_dtype: None,
            labels,
            pooling: Pooling::LastToken,
            pad_to: PadTo::None,
            max_length: context,
            dtype: DType::Float32,
            head: if is_head_adapted { Head::Lora } else { Head::Full },
            quotes: dataset::Quotes::Keep,
        })
    }

    /// Returns the file with the metadata.
    fn metadata_file(&self) -> PathBuf {
        self.folder.join(match self.format {
            SavedFormat::Adapter => lora::CONFIG_FILE,
            SavedFormat::Peft | SavedFormat::Model => METADATA_FILE,
        })
    }

    fn check_metadata(
        &self,
        metadata: &AdapterMetadata,
        context: usize,
        base: &Path,
    ) -> Result<()> {
        let distinct: BTreeSet<&String> = metadata.labels.iter().collect();
        let problem = if metadata.task != TaskKind::Classify {
            "task: expected a classifier, got a language model; if it is a complete model, use \
             `gpt2-lora generate --model`"
                .to_owned()
        } else if distinct.is_empty() {
            "labels: expected one or more, got none".to_owned()
        } else if distinct.len() < metadata.labels.len() {
            format!("labels: expected distinct ones, got {}", quoted(&metadata.labels))
        } else if !(1..=context).contains(&metadata.max_length) {
            format!(
                "max_length: expected 1 to {context}, the context of the model {}, got {}",
                base.display(),
                metadata.max_length
            )
        } else {
            return Ok(());
        };
        Err(Error::Config(format!("{}: {problem}", self.metadata_file().display())))
    }
}

fn parse_metadata(map: Map<String, Value>, file: &Path) -> Result<AdapterMetadata> {
    serde_json::from_value(Value::Object(map)).map_err(|error| {
        let file = file.display();
        Error::Config(format!("{file}: expected the metadata of a classifier adapter: {error}"))
    })
}

/// Reads [`METADATA_FILE`] beside an adapter of PEFT or a model, if it exists.
fn read_metadata_file(file: &Path) -> Result<Option<AdapterMetadata>> {
    match storage::read_limited(file) {
        Ok(bytes) => {
            let fail = |error| Error::Config(format!("{}: {error}", file.display()));
            parse_metadata(serde_json::from_slice(&bytes).map_err(fail)?, file).map(Some)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Adds the adapter's folder to an error about its settings.
fn with_adapter_folder(error: Error, folder: &Path) -> Error {
    match error {
        Error::Lora(
            lora::Error::Config(_) | lora::Error::UnknownTarget { .. } | lora::Error::Layer { .. },
        ) => Error::Config(format!(
            "the adapter in {} does not fit this model: {error}; give --model the base model of its \
             training, or save it again",
            folder.display()
        )),
        // The other errors name a file, or are not about one.
        error => error,
    }
}

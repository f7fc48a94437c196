//! Loading of a saved adapter, and attaching it to its base model.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use gpt2_model::{DType, Gpt2, Gpt2Classifier, Linear, Pooling, labels_of};
use lora::{
    Adapter, AdapterState, Injector,
    peft::{PeftAdapter, Slicing},
};
use tch::{Device, Kind, Tensor};

use crate::{
    config::paths,
    config::settings::PadTo,
    error::{Error, Result, quoted},
    inference::{
        AdapterMetadata, BaseWeights, METADATA_FILE,
        head_bias::{NORM, norm, norm_with_bias},
    },
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
    /// What of the files was ignored, and whether the base may be a rounded copy.
    pub notes: Vec<String>,
}

/// Contents of a directory with an adapter, or with a complete classifier.
#[derive(Debug)]
pub(crate) struct SavedAdapter {
    pub(super) folder: PathBuf,
    /// Name of the weight file, for messages.
    weights: &'static str,
    /// `None` for a complete classifier.
    pub(super) state: Option<AdapterState>,
    base_model: String,
    pub(super) task: TaskKind,
    /// `None` without [`METADATA_FILE`].
    pub(super) metadata: Option<AdapterMetadata>,
    /// Labels that are given for an adapter that names none.
    labels: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Parts of an adapted classifier.
pub(super) struct Parts {
    /// The base model with the parameters that the adapter replaces.
    pub body: Gpt2,
    pub head: Linear,
    /// What is left for the linear layers.
    pub state: Option<AdapterState>,
    /// Parameters of the body that were replaced, as in the file.
    pub replaced: Vec<(String, Tensor)>,
    pub metadata: AdapterMetadata,
    pub notes: Vec<String>,
}

impl SavedAdapter {
    /// Loads the adapter in a folder, or in a directory of the hub's cache.
    pub fn load(folder: &Path) -> Result<Self> {
        let folder = paths::snapshot(folder.to_owned())?;
        let config_file = folder.join(lora::CONFIG_FILE);
        if !config_file.is_file() {
            return Self::load_model(folder);
        }
        let saved = PeftAdapter::load(&folder)?;
        let metadata = read_metadata(&folder)?;
        let named = metadata.as_ref().map(|metadata| metadata.base_model.as_str());
        let base_model = named.or(saved.base_model()).unwrap_or("gpt2").to_owned();
        let task = match (&metadata, saved.task_type()) {
            (Some(metadata), _) => metadata.task,
            (None, Some("CAUSAL_LM")) => TaskKind::LanguageModel,
            (None, None | Some("SEQ_CLS")) => TaskKind::Classify,
            (None, Some(other)) => {
                return Err(Error::Config(format!(
                    "{}: task_type is {other:?}; expected SEQ_CLS or CAUSAL_LM",
                    config_file.display()
                )));
            }
        };
        let notes = saved.notes();
        let trained = metadata.as_ref().and_then(|metadata| metadata.lora.as_ref());
        let slicing = Slicing { trained, outputs: Gpt2::output_slices };
        let state = Some(saved.into_state(PEFT_PREFIX, &slicing)?);
        let (labels, weights) = (Vec::new(), lora::WEIGHTS_FILE);
        Ok(Self { folder, weights, state, base_model, task, metadata, labels, notes })
    }

    /// Loads the description of a complete classifier.
    fn load_model(folder: PathBuf) -> Result<Self> {
        if folder.join("config.json").is_file() && Gpt2::has_weights(&folder) {
            let metadata = read_metadata(&folder)?;
            let (base_model, task) = (folder.display().to_string(), TaskKind::Classify);
            return Ok(Self {
                folder,
                weights: "model.safetensors",
                state: None,
                base_model,
                task,
                metadata,
                labels: Vec::new(),
                notes: Vec::new(),
            });
        }
        let (inside, model) = (folder.join("adapter"), folder.join("model"));
        let advice = if inside.join(lora::CONFIG_FILE).is_file() {
            format!("the adapter of that run is in {}", inside.display())
        } else if model.join("config.json").is_file() {
            format!("the model of that run is in {}", model.display())
        } else {
            "give --adapter the folder adapter of a run".to_owned()
        };
        Err(Error::Missing(format!(
            "{} is not an adapter folder: it has no {}; {advice}",
            folder.display(),
            lora::CONFIG_FILE,
        )))
    }

    /// Names the classes of an adapter that does not. Without labels, it does nothing.
    pub fn with_labels(self, labels: &[String]) -> Result<Self> {
        match &self.metadata {
            Some(metadata) if !labels.is_empty() => Err(Error::Config(format!(
                "{} names its classes already: {}; leave out --labels",
                self.metadata_file().display(),
                quoted(&metadata.labels)
            ))),
            _ => Ok(Self { labels: labels.to_vec(), ..self }),
        }
    }

    /// Loads the base model, by default the one of the training, and attaches the adapter.
    pub fn load_base_and_attach(self, base: Option<&str>, device: Device) -> Result<AdaptedModel> {
        if self.state.is_none() {
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
            None => (self.base_of_training()?, seed),
        };
        let body = paths::load(&folder, seed.is_some(), seed.unwrap_or_default().into(), device)?;
        self.attach(body, &folder)
    }

    /// Finds the base model of the training.
    pub fn base_of_training(&self) -> Result<PathBuf> {
        let random_init = self.metadata.as_ref().is_some_and(|it| it.base_seed.is_some());
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
    pub fn attach(self, body: Gpt2, base: &Path) -> Result<AdaptedModel> {
        let adapter = self.folder.clone();
        // The adapter was trained on rounded weights.
        let dtype = self.metadata.as_ref().filter(|_| self.state.is_some()).map(|it| it.dtype);
        let Parts { body, head, state, metadata, notes, .. } =
            self.parts(body, base, dtype.unwrap_or_default(), None)?;
        let mut model = Gpt2Classifier::with_head(body, Box::new(head));
        let lora = match state {
            None => None,
            Some(state) => {
                let adapts_head = adapts_head(&state);
                let wanted = |name: &str| adapts_head || name != Gpt2Classifier::HEAD;
                let injector = Injector::from_state(state).map_err(Error::from);
                let lora = injector.and_then(|injector| adapt_where(&mut model, injector, &wanted));
                Some(lora.map_err(|error| with_adapter_folder(error, &adapter))?)
            }
        };
        Ok(AdaptedModel { model, lora, metadata, base: base.to_owned(), adapter, notes })
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
        check_vocabulary(body.config(), base)?;
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
            return Ok(Parts { body, head, state: None, replaced, metadata, notes });
        };
        if metadata.base_digest.is_some() {
            let loaded = weights.is_none().then(|| BaseWeights::of(&body)).transpose()?;
            if let Some(weights) = weights.or(loaded.as_ref()) {
                notes.extend(self.compare_base(&metadata, weights, base)?);
            }
        }
        let [weight_name, bias_name] = Gpt2Classifier::HEAD_TENSORS;
        state.take_tensor(weight_name);
        let bias = match state.take_tensor(bias_name) {
            Some(bias) if bias.size() != [classes] => {
                return Err(self.bad_tensor(&format!(
                    "expected a tensor {bias_name} of shape [{classes}], one value per label"
                )));
            }
            Some(bias) => Some(bias.f_to_device(device)?),
            None => bias_in_norm(&mut state, &metadata, &body, &weight)?,
        };
        let (body, replaced) = self.replace_parameters(body.rounded_to(dtype)?, &mut state)?;
        let (head, state) = (Linear::new(weight, bias), Some(state));
        Ok(Parts { body, head, state, replaced, metadata, notes })
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
        let in_body = |(name, tensor): &(String, Tensor)| {
            // The head of the language model is the token embedding.
            let name = match name.as_str() {
                "lm_head.weight" => "wte.weight",
                name => name.strip_prefix(PEFT_PREFIX).unwrap_or(name),
            };
            (name.to_owned(), tensor.shallow_clone())
        };
        let body =
            body.with_parameters(replaced.iter().map(in_body)).map_err(|error| match error {
                gpt2_model::Error::Argument(reason) => self.bad_tensor(&reason),
                error => error.into(),
            })?;
        Ok((body, replaced))
    }

    fn bad_tensor(&self, reason: &str) -> Error {
        Error::Config(format!("{}: {reason}", self.folder.join(self.weights).display()))
    }

    /// Compares the base model with the one of the training. Returns a note if the two are
    /// stored in different data types, because a rounded copy has another digest.
    pub(super) fn compare_base(
        &self,
        metadata: &AdapterMetadata,
        weights: &BaseWeights,
        base: &Path,
    ) -> Result<Option<String>> {
        let Some(trained) = &metadata.base_digest else { return Ok(None) };
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
        let stored = self.state.as_ref().and_then(|state| state.tensors().get(name));
        let weight = match stored {
            Some(weight) => weight.shallow_clone(),
            None => self.head_of_base(body, base)?,
        };
        let labels = self.metadata.as_ref().map(|metadata| metadata.labels.len() as i64);
        let rows = weight.size().first().copied().unwrap_or(0);
        let expected = [labels.unwrap_or(rows), body.config().n_embd];
        if weight.size() != expected {
            return Err(self.bad_tensor(&format!(
                "{name} has shape {:?}, but the labels and the model {} need {expected:?}; give \
                 --model the model that the adapter was trained on",
                weight.size(),
                base.display()
            )));
        }
        if rows == 1 && self.metadata.is_none() {
            return Err(self.bad_tensor(&format!(
                "{name} has shape {:?}: a head with a single logit, for regression or a sigmoid, is \
                 not supported",
                weight.size()
            )));
        }
        Ok(weight)
    }

    /// Returns the head of the base model, for an adapter that was saved without one.
    fn head_of_base(&self, body: &Gpt2, base: &Path) -> Result<Tensor> {
        Gpt2Classifier::head_of(base, body)?.ok_or_else(|| {
            Error::Config(match self.state {
                None => format!(
                    "{} is a base model without a classification head (score.weight); give --adapter \
                     the folder adapter or model of a run",
                    self.folder.display()
                ),
                Some(_) => format!(
                    "{} has no head (score.weight), and neither has the model {}; save the adapter \
                     with its head (in PEFT: modules_to_save=[\"score\"]), or give --model the \
                     classifier that it was trained on",
                    self.folder.join(lora::WEIGHTS_FILE).display(),
                    base.display()
                ),
            })
        })
    }

    /// Returns the metadata of an adapter without [`METADATA_FILE`]: the labels that are given,
    /// or those of its base model if their number fits, else `LABEL_0` and so on like
    /// `transformers`.
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
        if !self.labels.is_empty() {
            if self.labels.len() as i64 != classes {
                return Err(Error::Config(format!(
                    "--labels gives {} labels, but the adapter in {} has {classes} classes",
                    self.labels.len(),
                    self.folder.display()
                )));
            }
            labels.clone_from(&self.labels);
        }
        Ok(AdapterMetadata {
            task: self.task,
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
            head: self.head(),
            quotes: dataset::Quotes::Keep,
            lora: None,
            head_bias: None,
        })
    }

    /// How the head was trained.
    pub(super) fn head(&self) -> Head {
        match (&self.metadata, &self.state) {
            (Some(metadata), _) => metadata.head,
            (None, Some(state)) if adapts_head(state) => Head::Lora,
            _ => Head::Full,
        }
    }

    /// Returns the file with the metadata.
    fn metadata_file(&self) -> PathBuf {
        self.folder.join(METADATA_FILE)
    }

    fn check_metadata(
        &self,
        metadata: &AdapterMetadata,
        context: usize,
        base: &Path,
    ) -> Result<()> {
        let distinct: BTreeSet<&String> = metadata.labels.iter().collect();
        let problem = if metadata.task != TaskKind::Classify {
            "task: expected a classifier, got a language model; Hugging Face PEFT loads such an \
             adapter, and `gpt2-lora generate --model` a complete model"
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

/// Returns whether a state has an adapter on the head.
pub(super) fn adapts_head(state: &AdapterState) -> bool {
    state.tensors().keys().any(|name| name.starts_with("score.lora_"))
}

/// Takes the bias `[classes]` of the head out of the final norm of `state`, where saving has
/// moved it: the value itself is in the metadata. A norm that was trained stays.
fn bias_in_norm(
    state: &mut AdapterState,
    metadata: &AdapterMetadata,
    body: &Gpt2,
    head: &Tensor,
) -> Result<Option<Tensor>> {
    let names = NORM.map(|name| format!("{PEFT_PREFIX}{name}"));
    let [Some(weight), Some(new)] = names.each_ref().map(|name| state.tensors().get(name)) else {
        return Ok(None);
    };
    let Some(values) = &metadata.head_bias else { return Ok(None) };
    let bias = Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?.f_to_device(head.device())?;
    if bias.size() != [head.size()[0]] {
        return Ok(None);
    }
    let [old_weight, old] = norm(body)?;
    let on_cpu = |tensor: &Tensor| tensor.f_to_device(Device::Cpu);
    let expected = norm_with_bias(&old, head, &bias)?;
    let is_as_saved = match expected {
        Some(expected) if expected.size() == new.size() && weight.size() == old_weight.size() => {
            weight.f_equal(&on_cpu(&old_weight)?)?
                && new.f_allclose(&on_cpu(&expected)?, 1e-4, 1e-5, false)?
        }
        _ => false,
    };
    if !is_as_saved {
        return Ok(None);
    }
    names.iter().for_each(|name| drop(state.take_tensor(name)));
    Ok(Some(bias))
}

/// Reads the metadata `gpt2_lora.json` beside an adapter or a model, if it exists.
///
/// # Errors
/// [`Error::Storage`] or [`Error::Config`] name the file.
pub fn read_metadata(folder: &Path) -> Result<Option<AdapterMetadata>> {
    let file = &folder.join(METADATA_FILE);
    let fail = |error: String| {
        let file = file.display();
        Error::Config(format!("{file}: expected the metadata of an adapter: {error}"))
    };
    let bytes = match storage::read_limited(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let metadata: AdapterMetadata =
        serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
    if let Some(lora) = &metadata.lora {
        lora.check().map_err(|error| fail(error.to_string()))?;
    }
    Ok(Some(metadata))
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

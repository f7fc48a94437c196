//! The second phase of a run: everything is read and validated, and nothing written.

use std::path::PathBuf;

use dataset::{Tokenizer, TorchRng};
use distributed::Group;
use gpt2_model::{Arithmetic, DeviceChoice, Gpt2, Gpt2Classifier, resolve_device};
use tch::Device;

use crate::{
    config::{
        paths,
        resolve::ResolvedRun,
        settings::{AdapterSettings, Settings},
    },
    error::Result,
    inference::{BaseWeights, SavedAdapter, StartingAdapter, adapter_digest},
    run::directory::RunDirectory,
    task::{data::TaskData, kind::TaskKind},
    trainable::{adapters::check_target_modules, parameters::Train},
    training::{
        checkpoint::{Identity, InputDigests},
        observer::Observer,
    },
    vocabulary::{check_vocabulary, with_special_tokens},
};

/// The validated inputs of a run.
pub(crate) struct Inputs<D> {
    pub directory: RunDirectory,
    /// With what the data decides filled in.
    pub run: ResolvedRun,
    pub data: D,
    pub start: Start,
    pub base: BaseWeights,
    pub identity: Identity,
    pub group: Group,
}

/// Model that a training starts from.
pub(crate) enum Start {
    /// A base model, for a new adapter or to be trained itself.
    Base(Box<Gpt2>),
    /// An adapter whose training continues.
    Adapter(Box<StartingAdapter>),
}

impl<D: TaskData> Inputs<D> {
    /// Reads the data and the base model, and refuses what cannot be trained.
    pub fn prepare(
        directory: RunDirectory,
        run: &ResolvedRun,
        group: &Group,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let Settings { machine, training, random_init, .. } = &run.settings;
        group.share(training.gradient_accumulation_steps, training.reduce.into())?;
        let device = device_of(machine.device, group.local_rank())?;
        machine.dtype.check(device)?;
        if let Some(threads) = machine.threads {
            tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        }
        let mut data = D::read(run, Tokenizer::of_model(&run.model)?, group.clone(), observer)?;
        let stage = if *random_init { "initializing the model" } else { "loading the model" };
        observer.stage(stage);
        let AdapterSettings { adapter, labels, .. } = &run.settings.adapter;
        let digest = adapter.as_deref().map(adapter_digest).transpose()?;
        let load = |folder: &PathBuf| SavedAdapter::load(folder)?.with_labels(labels);
        let adapter = adapter.as_ref().map(load).transpose()?;
        let seed = random_init.then_some(training.seed.into());
        let body = paths::load(&run.model, seed, device)?;
        if adapter.is_none() {
            body.notes().iter().for_each(|note| observer.notice(note));
            let wants_head = run.settings.task == TaskKind::Classify && !*random_init;
            if wants_head && matches!(Gpt2Classifier::head_of(&run.model, &body), Ok(Some(_))) {
                observer.notice(&format!(
                    "the classification head of {} is not used: training starts with a new one",
                    run.model.display()
                ));
            }
        }
        let base = BaseWeights::of(&body)?;
        // Weights that are trained stay float32.
        let body = match run.settings.train {
            Train::Lora | Train::Head => body.with_dtype(machine.dtype)?,
            Train::LastBlock | Train::All => body,
        };
        let body = with_special_tokens(body, data.tokenizer());
        let arithmetic = arithmetic(run, &body)?;
        let mut body = body.with_arithmetic(arithmetic);
        let notes = check_vocabulary(body.config(), data.tokenizer(), &run.model)?;
        notes.iter().for_each(|note| observer.notice(note));
        if run.settings.train == Train::Lora {
            check_target_modules(&run.lora, &mut body, D::adapted_head(&run.settings))?;
        }
        data.tokenize(run, body.config(), observer)?;
        data.tokenizer().check()?;
        let mut run = run.clone();
        data.complete(&mut run.settings, body.config());
        let machine = &mut run.settings.machine;
        machine.device = device_choice(device);
        machine.arithmetic = Some(arithmetic);
        machine.threads = Some(usize::try_from(tch::get_num_threads()).unwrap_or(1));
        let identity = Identity {
            settings: run.repeating().to_layer()?,
            inputs: InputDigests {
                data: data.sha256().to_owned(),
                base: base.digest.clone(),
                tokenizer: data.tokenizer().fingerprint().map(str::to_owned),
                adapter: digest,
            },
        };
        let start = match adapter {
            None => Start::Base(Box::new(body)),
            Some(adapter) => {
                let mut rng = TorchRng::manual_seed(run.settings.training.seed.into());
                let start = adapter.start(body, &run.model, &base, data.labels(), &mut rng)?;
                start.notes.iter().for_each(|note| observer.notice(note));
                Start::Adapter(Box::new(start))
            }
        };
        Ok(Self { directory, run, data, start, base, identity, group: group.clone() })
    }
}

/// The arithmetic of a run: the chosen one, or the fastest one that computes the training.
fn arithmetic(run: &ResolvedRun, body: &Gpt2) -> Result<Arithmetic> {
    match run.settings.machine.arithmetic {
        Some(Arithmetic::Kernels) => {
            body.check_kernels()?;
            Ok(Arithmetic::Kernels)
        }
        Some(arithmetic) => Ok(arithmetic),
        None if run.settings.kernels_conflict(&run.lora).is_none() => {
            Ok(body.preferred_arithmetic())
        }
        None => Ok(Arithmetic::default()),
    }
}

/// Returns the chosen device. The processes on a machine take its GPUs in turn, beginning with the
/// chosen one.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) if the device does not exist.
pub fn device_of(choice: DeviceChoice, local_rank: usize) -> Result<Device> {
    let device = resolve_device(choice)?;
    let Device::Cuda(first) = device else { return Ok(device) };
    let devices = usize::try_from(tch::Cuda::device_count()).unwrap_or(1).max(1);
    Ok(Device::Cuda((first + local_rank) % devices))
}

/// The choice that names a device.
pub(crate) fn device_choice(device: Device) -> DeviceChoice {
    match device {
        Device::Cuda(number) => DeviceChoice::Cuda(number),
        _ => DeviceChoice::Cpu,
    }
}

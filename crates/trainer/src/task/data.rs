//! The data of a task, from the files of a run to what the training loop works on.

use std::path::Path;

use dataset::TorchRng;
use gpt2_model::{DType, Gpt2, Gpt2Config, Linear};
use lora::Injector;

use crate::{
    config::{resolve::ResolvedRun, settings::Settings},
    error::Result,
    inference::{AdapterMetadata, BaseWeights},
    reports::Report,
    task::{classification::batches::Accuracies, objective::Task},
    trainable::{network::Network, parameters::Trainable},
    training::observer::Observer,
};

/// The data of a run, read and validated. Reading writes nothing.
pub(crate) trait TaskData: Sized {
    /// The model with the head of the task.
    type Network: Network;
    /// What the training loop works on.
    type Task<'a>: Task
    where
        Self: 'a;

    /// Reads and splits the data.
    fn read(run: &ResolvedRun, observer: &mut dyn Observer) -> Result<Self>;

    /// Tokenizes the data for a model, and refuses what that cannot be trained on.
    fn tokenize(
        &mut self,
        run: &ResolvedRun,
        model: &Gpt2Config,
        observer: &mut dyn Observer,
    ) -> Result<()>;

    /// Returns the name of the head's layer if the run puts an adapter on it.
    fn adapted_head(settings: &Settings) -> Option<&'static str>;

    /// Fills in settings that follow from the data and the model.
    fn complete(&self, settings: &mut Settings, model: &Gpt2Config);

    /// SHA-256 of the data, in hexadecimal.
    fn sha256(&self) -> &str;

    /// Writes what the run keeps of the data.
    fn write(&self) -> Result<()>;

    /// The network of the task around `body`.
    fn network(&self, body: Gpt2, settings: &Settings, rng: &mut TorchRng)
    -> Result<Self::Network>;

    /// Labels in the order of their class numbers; none of a language model.
    fn labels(&self) -> &[String];

    /// The network of an adapter that is continued: its body, and the head of a classifier.
    fn continued(&self, body: Gpt2, head: Option<Linear>) -> Result<Self::Network>;

    /// Puts adapters on the network, or, with a full head, on all but its head.
    fn lora(
        &self,
        network: &mut Self::Network,
        run: &ResolvedRun,
        injector: Injector<'_>,
    ) -> Result<Trainable>;

    /// The task on a network.
    fn task<'a>(
        &'a self,
        network: &'a Self::Network,
        settings: &Settings,
    ) -> Result<Self::Task<'a>>;

    /// Accuracies on the first batches of each set, before training.
    fn initial(
        &self,
        network: &Self::Network,
        settings: &Settings,
        rng: &mut TorchRng,
    ) -> Result<Accuracies>;

    /// Evaluates the trained network on all data, writes predictions into `out`, and adds
    /// what is found to the report.
    fn evaluate(
        &self,
        network: &mut Self::Network,
        settings: &Settings,
        rng: &mut TorchRng,
        out: &Path,
        report: &mut Report,
    ) -> Result<()>;

    /// Writes the network as a Hugging Face model, and returns its configuration.
    fn save_model(
        &self,
        network: Self::Network,
        dtype: DType,
        directory: &Path,
    ) -> Result<Gpt2Config>;

    /// What has to be known to use what was trained on a base model.
    fn metadata(&self, run: &ResolvedRun, base: &BaseWeights) -> AdapterMetadata;
}

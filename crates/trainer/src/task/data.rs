//! Data of a task: from the files of a run to the batches of the training loop.

use std::path::Path;

use dataset::{Tokenizer, TorchRng};
use distributed::Group;
use gpt2_model::{DType, Gpt2, Gpt2Config, Linear};
use lora::Injector;

use crate::{
    config::{resolve::ResolvedRun, settings::Settings},
    error::Result,
    inference::{AdapterMetadata, BaseWeights},
    reports::Report,
    task::{
        classification::batches::Accuracies,
        objective::{LanguageMeasures, Objective, Task},
        statistics::DataStatistics,
    },
    trainable::{network::Network, parameters::Trainable},
    training::observer::Observer,
};

/// Batches of the evaluations of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EvaluationBatches {
    /// Evaluation before training.
    pub before_training: usize,
    /// Whole training set.
    pub training: usize,
    /// Whole validation set.
    pub validation: usize,
    /// Evaluation after training.
    pub after_training: usize,
}

impl EvaluationBatches {
    /// Batches of an evaluation of the losses on `eval_batches` of training and validation
    /// set.
    pub fn of_losses(&self, eval_batches: usize) -> usize {
        self.training.min(eval_batches) + self.validation.min(eval_batches)
    }
}

/// Measures before training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Initial {
    /// Accuracies on the first batches of each set, of a language model on the whole validation
    /// set.
    pub accuracies: Accuracies,
    /// Measures of a language model on the whole validation set.
    pub language_model: Option<LanguageMeasures>,
}

/// Data of a run, read and validated. Reading writes nothing.
pub(crate) trait TaskData: Sized {
    /// The model with the head of the task.
    type Network: Network;
    /// Task of the training loop.
    type Task<'a>: Task
    where
        Self: 'a;

    /// Reads and splits the data. Evaluations are shared by the processes of `group`.
    fn read(
        run: &ResolvedRun,
        tokenizer: Tokenizer,
        group: Group,
        observer: &mut dyn Observer,
    ) -> Result<Self>;

    /// Tokenizer of the base model.
    fn tokenizer(&self) -> &Tokenizer;

    /// Tokenizes the data for a model, and refuses data that the model cannot be trained on.
    fn tokenize(
        &mut self,
        run: &ResolvedRun,
        model: &Gpt2Config,
        observer: &mut dyn Observer,
    ) -> Result<()>;

    /// Returns the name of the head's layer if the run puts an adapter on it.
    fn adapted_head(settings: &Settings) -> Option<&'static str>;

    /// Fills in settings that depend on the data and the model.
    fn complete(&self, settings: &mut Settings, model: &Gpt2Config);

    /// SHA-256 of the data, in hexadecimal.
    fn sha256(&self) -> &str;

    /// Writes the splits.
    fn write(&self) -> Result<()>;

    /// Network of the task around `body`.
    fn network(&self, body: Gpt2, settings: &Settings, rng: &mut TorchRng)
    -> Result<Self::Network>;

    /// Labels in class order; empty for a language model.
    fn labels(&self) -> &[String];

    /// Network of a continued adapter: its body, and the head of a classifier.
    fn continued(&self, body: Gpt2, head: Option<Linear>) -> Result<Self::Network>;

    /// Puts adapters on the network, except on a head that is trained in full.
    fn lora(
        &self,
        network: &mut Self::Network,
        run: &ResolvedRun,
        injector: Injector<'_>,
    ) -> Result<Trainable>;

    /// Statistics of the tokenized data.
    fn statistics(&self) -> Result<DataStatistics>;

    /// Batches of the evaluations of a run.
    fn evaluation_batches(&self, settings: &Settings) -> EvaluationBatches;

    /// Number of tokens in a batch, padding included.
    fn batch_tokens<'a>(batch: &<Self::Task<'a> as Objective>::Batch) -> usize
    where
        Self: 'a;

    /// The task on a network.
    fn task<'a>(
        &'a self,
        network: &'a Self::Network,
        settings: &Settings,
    ) -> Result<Self::Task<'a>>;

    /// Measures before training.
    fn initial(
        &self,
        network: &Self::Network,
        settings: &Settings,
        rng: &mut TorchRng,
    ) -> Result<Initial>;

    /// Evaluates the trained network on all data, writes predictions into `out`, if it is given,
    /// and fills in the report.
    fn evaluate(
        &self,
        network: &mut Self::Network,
        settings: &Settings,
        rng: &mut TorchRng,
        out: Option<&Path>,
        report: &mut Report,
    ) -> Result<()>;

    /// Writes the network as a Hugging Face model, and returns its configuration.
    fn save_model(
        &self,
        network: Self::Network,
        dtype: DType,
        directory: &Path,
    ) -> Result<Gpt2Config>;

    /// Metadata that is saved with an adapter or model.
    fn metadata(&self, run: &ResolvedRun, base: &BaseWeights) -> AdapterMetadata;
}

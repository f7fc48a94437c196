//! The text of a run, and what a language model makes of it.

use std::path::Path;

use dataset::{Corpus, CorpusConfig, TorchRng};
use gpt2_model::{DType, Gpt2, Gpt2Config, Linear};
use lora::Injector;

use crate::{
    config::{resolve::ResolvedRun, settings::Settings},
    error::{Error, Result},
    inference::{AdapterMetadata, BaseWeights},
    reports::{LanguageModelReport, Report, SplitSizes},
    task::{
        Task, classification::batches::Accuracies, data::TaskData,
        language_model::task::LanguageModelTask,
    },
    trainable::{adapters::adapt, parameters::Trainable},
    training::observer::Observer,
};

/// Batches of each set that the model is evaluated on before training.
const INITIAL_BATCHES: usize = 10;

/// Plain text as tokens.
#[derive(Debug)]
pub(crate) struct LanguageModelData {
    corpus: Corpus,
    sha256: String,
}

impl TaskData for LanguageModelData {
    type Network = Gpt2;
    type Task<'a> = LanguageModelTask<'a>;

    fn read(run: &ResolvedRun, observer: &mut dyn Observer) -> Result<Self> {
        observer.stage("reading and tokenizing the text");
        let data = &run.settings.data;
        let config = CorpusConfig {
            documents: data.documents,
            held_out: data.validation_fraction,
            seed: data.split_seed.unwrap_or(run.settings.training.seed),
        };
        Ok(Self { corpus: Corpus::read(&run.data, &config)?, sha256: run.data_sha256()? })
    }

    fn tokenize(
        &mut self,
        run: &ResolvedRun,
        model: &Gpt2Config,
        _observer: &mut dyn Observer,
    ) -> Result<()> {
        let Settings { data, training, .. } = &run.settings;
        let vocabulary = model.vocab_size as usize;
        let width = data.max_length.unwrap_or(model.n_positions as usize);
        if width as i64 > model.n_positions {
            return Err(Error::Config(format!(
                "max-length is {width}, but the model's context is {} tokens (n_positions)",
                model.n_positions
            )));
        }
        if let Some(size) = training.softmax_candidates.filter(|&size| size >= vocabulary) {
            return Err(Error::Config(format!(
                "softmax-candidates is {size}, but the model has only {vocabulary} tokens \
                 (vocab_size); leave it out for the whole softmax"
            )));
        }
        let (examples, seed) = (training.examples_per_step(), training.seed);
        dataset::TrainWindows::new(&self.corpus.train, width, examples, seed)?;
        Ok(())
    }

    fn adapted_head(_settings: &Settings) -> Option<&'static str> {
        None
    }

    fn complete(&self, settings: &mut Settings, model: &Gpt2Config) {
        settings.data.max_length.get_or_insert(model.n_positions as usize);
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    fn write(&self) -> Result<()> {
        Ok(())
    }

    fn network(&self, body: Gpt2, _settings: &Settings, _rng: &mut TorchRng) -> Result<Gpt2> {
        Ok(body)
    }

    fn labels(&self) -> &[String] {
        &[]
    }

    fn continued(&self, body: Gpt2, _head: Option<Linear>) -> Result<Gpt2> {
        Ok(body)
    }

    fn lora(
        &self,
        network: &mut Gpt2,
        run: &ResolvedRun,
        injector: Injector<'_>,
    ) -> Result<Trainable> {
        let adapter = adapt(network, injector)?;
        Ok(Trainable::adapter_only(adapter, run.settings.adapter.lora_plus_ratio))
    }

    fn task<'a>(&'a self, network: &'a Gpt2, settings: &Settings) -> Result<LanguageModelTask<'a>> {
        LanguageModelTask::new(network, &self.corpus.train, &self.corpus.held_out, settings)
    }

    fn initial(
        &self,
        network: &Gpt2,
        settings: &Settings,
        _rng: &mut TorchRng,
    ) -> Result<Accuracies> {
        let task = self.task(network, settings)?;
        Ok(Accuracies {
            train: task.evaluate_train(INITIAL_BATCHES)?.accuracy,
            validation: task.evaluate_validation(INITIAL_BATCHES)?.accuracy,
            test: None,
        })
    }

    fn evaluate(
        &self,
        network: &mut Gpt2,
        settings: &Settings,
        _rng: &mut TorchRng,
        _out: &Path,
        report: &mut Report,
    ) -> Result<()> {
        let task = self.task(network, settings)?;
        let (train, validation) =
            (task.evaluate_train(settings.training.eval_batches)?, task.validate()?);
        report.accuracy =
            Accuracies { train: train.accuracy, validation: validation.accuracy, test: None };
        let [train_documents, validation_documents] = self.corpus.documents;
        let window = settings.data.max_length.unwrap_or_default();
        let tokens_per_step = settings.training.examples_per_step() * window;
        report.examples =
            SplitSizes { train: train_documents, validation: validation_documents, test: 0 };
        report.max_length = window;
        report.language_model = Some(LanguageModelReport {
            train_tokens: self.corpus.train.len(),
            validation_tokens: self.corpus.held_out.len(),
            tokens_seen: report.steps * tokens_per_step,
            epochs: report.steps as f64 / task.steps_per_epoch() as f64,
            validation_loss: validation.loss,
            validation_perplexity: validation.loss.exp(),
        });
        Ok(())
    }

    fn save_model(&self, network: Gpt2, dtype: DType, directory: &Path) -> Result<Gpt2Config> {
        network.save(directory, dtype)?;
        Ok(network.config().clone())
    }

    fn metadata(&self, run: &ResolvedRun, base: &BaseWeights) -> AdapterMetadata {
        AdapterMetadata::of_run(run, base, &[], run.settings.data.max_length.unwrap_or_default())
    }
}

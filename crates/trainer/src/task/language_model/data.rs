//! Plain text of a run, and the evaluation of a language model on it.

use std::path::Path;

use dataset::{Corpus, CorpusConfig, Tokenizer, TorchRng};
use distributed::Group;
use gpt2_model::{DType, Gpt2, Gpt2Config, Linear};
use lora::Injector;

use crate::{
    config::{error::SettingsError, resolve::ResolvedRun, settings::Settings},
    error::Result,
    inference::{AdapterMetadata, BaseWeights},
    reports::{LanguageModelReport, Report, SplitSizes},
    task::{
        classification::batches::Accuracies,
        data::{EvaluationBatches, TaskData},
        language_model::task::{EVALUATION_TOKENS, LanguageModelBatch, LanguageModelTask},
        objective::Task,
        statistics::{DataStatistics, SplitStatistics},
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
    tokenizer: Tokenizer,
    /// Tokens per window.
    width: usize,
    sha256: String,
    group: Group,
}

impl TaskData for LanguageModelData {
    type Network = Gpt2;
    type Task<'a> = LanguageModelTask<'a>;

    fn read(
        run: &ResolvedRun,
        tokenizer: Tokenizer,
        group: Group,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        observer.stage("reading and tokenizing the text");
        let data = &run.settings.data;
        let config = CorpusConfig {
            documents: data.documents,
            held_out: data.validation_fraction,
            seed: data.split_seed.unwrap_or(run.settings.training.seed),
        };
        let corpus = Corpus::read(&run.data, &config, &tokenizer)?;
        let sha256 = run.data_sha256()?;
        Ok(Self { corpus, tokenizer, width: 0, sha256, group })
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
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
            let context = model.n_positions as usize;
            return Err(SettingsError::LongerThanContext { value: width, context }.into());
        }
        if let Some(value) = training.softmax_candidates.filter(|&value| value >= vocabulary) {
            return Err(SettingsError::TooManyCandidates { value, vocabulary }.into());
        }
        let (examples, seed) = (training.examples_per_step(), training.seed);
        dataset::TrainWindows::new(&self.corpus.train, width, examples, seed)?;
        self.width = width;
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

    fn statistics(&self) -> Result<DataStatistics> {
        let [train_documents, validation_documents] = self.corpus.documents;
        let of_split = |name: &str, examples: usize, tokens: usize| SplitStatistics {
            name: name.to_owned(),
            examples,
            tokens,
            classes: Vec::new(),
            lengths: None,
            truncated: 0,
        };
        Ok(DataStatistics {
            splits: vec![
                of_split("training", train_documents, self.corpus.train.len()),
                of_split("validation", validation_documents, self.corpus.held_out.len()),
            ],
            max_length: self.width,
        })
    }

    fn evaluation_batches(&self, settings: &Settings) -> EvaluationBatches {
        let batches = |stream: &[u32]| stream.len().div_ceil(EVALUATION_TOKENS);
        let (training, validation) = (batches(&self.corpus.train), batches(&self.corpus.held_out));
        EvaluationBatches {
            before_training: training.min(INITIAL_BATCHES) + validation.min(INITIAL_BATCHES),
            training,
            validation,
            after_training: training.min(settings.training.eval_batches) + validation,
        }
    }

    fn batch_tokens<'a>(batch: &LanguageModelBatch) -> usize
    where
        Self: 'a,
    {
        batch.tokens()
    }

    fn task<'a>(&'a self, network: &'a Gpt2, settings: &Settings) -> Result<LanguageModelTask<'a>> {
        let Corpus { train, held_out, .. } = &self.corpus;
        Ok(LanguageModelTask::new(network, train, held_out, settings, &self.tokenizer)?
            .with_group(self.group.clone()))
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
        _out: Option<&Path>,
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
        let max_length = run.settings.data.max_length.unwrap_or_default();
        AdapterMetadata::of_run(run, base, &self.tokenizer, &[], max_length)
    }
}

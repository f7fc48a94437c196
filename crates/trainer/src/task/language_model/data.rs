//! Text of a language model's run, and the evaluation of the model on it.

use std::path::Path;

use dataset::{
    BatchError, CompletionExamples, CompletionSet, Corpus, CorpusConfig, PromptEncoder,
    PromptFormat, Tokenizer, TorchRng, TrainWindows,
};
use distributed::Group;
use gpt2_model::{DType, Gpt2, Gpt2Config, Linear};
use lora::Injector;

use crate::{
    config::{
        error::SettingsError,
        resolve::{DOCUMENT_FRACTION, ResolvedRun},
        settings::{DataSettings, LossOn, Settings},
    },
    error::Result,
    inference::{AdapterMetadata, BaseWeights},
    reports::{LanguageModelReport, Report, SplitSizes},
    task::{
        classification::batches::Accuracies,
        data::{EvaluationBatches, Initial, TaskData},
        language_model::{
            batch::LanguageModelBatch,
            lengths::length_notes,
            source::{EVALUATION_TOKENS, Examples, Set, Source},
            task::LanguageModelTask,
        },
        objective::Task,
        statistics::{DataStatistics, SplitStatistics, TokenLengths},
    },
    trainable::{adapters::adapt, parameters::Trainable},
    training::observer::Observer,
};

/// Batches of the training set that the model is evaluated on before training.
const INITIAL_BATCHES: usize = 10;

/// Text of a run as tokens.
#[derive(Debug)]
pub(crate) struct LanguageModelData {
    text: Text,
    tokenizer: Tokenizer,
    /// Maximum sequence length in tokens; of plain text, tokens per window.
    width: usize,
    /// Tokens of the given prompts of generated texts.
    sample_prompts: Vec<Vec<u32>>,
    sha256: String,
    group: Group,
}

#[derive(Debug)]
enum Text {
    Plain(Corpus),
    Examples(Box<ExampleText>),
}

#[derive(Debug)]
struct ExampleText {
    text: CompletionExamples,
    /// Training and validation set, after [`TaskData::tokenize`].
    sets: [CompletionSet; 2],
}

impl LanguageModelData {
    /// Examples; `None` for plain text.
    fn examples(&self) -> Option<&CompletionExamples> {
        match &self.text {
            Text::Plain(_) => None,
            Text::Examples(examples) => Some(&examples.text),
        }
    }

    /// Training and validation set of the task.
    fn source(&self, settings: &Settings) -> Result<Source<'_>> {
        match &self.text {
            Text::Plain(Corpus { train, held_out, .. }) => {
                Source::streams([train, held_out], self.width, settings)
            }
            Text::Examples(examples) => Ok(Source::Examples(Examples {
                sets: [&examples.sets[0], &examples.sets[1]],
                loss_on: settings.data.loss_on.unwrap_or_default(),
                has_prompt: examples.text.format().schema.has_prompt(),
                per_step: settings.training.examples_per_step(),
                per_batch: settings.training.batch_size,
            })),
        }
    }
}

/// Tokenizes examples, and reports what was truncated and dropped.
fn tokenize(
    examples: &CompletionExamples,
    tokenizer: &Tokenizer,
    settings: &Settings,
    context: usize,
    observer: &mut dyn Observer,
) -> Result<[CompletionSet; 2]> {
    let max_length = settings.data.max_length.unwrap_or(context);
    let sets = examples.tokenize(tokenizer, tokenizer.end_of_text(), max_length)?;
    for (name, set) in ["training", "validation"].into_iter().zip(&sets) {
        let notes = length_notes(name, set, [max_length, context], settings.data.on_long_text)?;
        notes.iter().for_each(|note| observer.notice(note));
    }
    let (size, count) = (settings.training.examples_per_step(), sets[0].sequences.len());
    if count < size {
        let problem = BatchError::NoCompleteBatch { batch_size: size, examples: count };
        return Err(dataset::Error::from(problem).into());
    }
    Ok(sets)
}

/// Returns the tokens of the prompts of generated texts, in the format of the training. Prompts without
/// tokens and prompts that leave no room in the context are refused.
fn sample_prompts(
    prompts: &[String],
    format: Option<&PromptFormat>,
    tokenizer: &Tokenizer,
    context: usize,
) -> Result<Vec<Vec<u32>>> {
    let encoder = PromptEncoder::new(format, tokenizer)?;
    let encode = |prompt: &String| {
        let ids = encoder.encode(prompt)?.ids;
        let tokens = ids.len();
        if tokens == 0 || tokens >= context {
            return Err(SettingsError::SamplePrompt { tokens, context }.into());
        }
        Ok(ids)
    };
    prompts.iter().map(encode).collect()
}

/// Refuses options without effect on the schema of the examples.
fn check_schema(data: &DataSettings, format: &PromptFormat) -> Result<()> {
    let loses_prompts = data.loss_on == Some(LossOn::Completions) && !format.schema.has_prompt();
    let [option, requires] = if loses_prompts {
        ["loss-on", "examples with a prompt or messages"]
    } else if data.chat_template.is_some() && format.chat_template.is_none() {
        ["chat-template", "examples with messages"]
    } else {
        return Ok(());
    };
    Err(SettingsError::NoEffect { option: option.to_owned(), requires }.into())
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
        let data = &run.settings.data;
        if data.has_tables() {
            observer.stage("reading the examples");
            let text = run.read_examples(&tokenizer)?;
            text.notes().iter().for_each(|note| observer.notice(note));
            check_schema(data, text.format())?;
            run.template_notes(text.format()).iter().for_each(|note| observer.notice(note));
            let sha256 = text.sha256().to_owned();
            return Ok(Self {
                text: Text::Examples(Box::new(ExampleText { text, sets: Default::default() })),
                tokenizer,
                width: 0,
                sample_prompts: Vec::new(),
                sha256,
                group,
            });
        }
        observer.stage("reading and tokenizing the text");
        let config = CorpusConfig {
            documents: data.documents,
            held_out: data.validation_fraction.unwrap_or(DOCUMENT_FRACTION),
            seed: data.split_seed.unwrap_or(run.settings.training.seed),
        };
        let corpus = Corpus::read(&run.data, &config, &tokenizer)?;
        for path in &corpus.json_files {
            observer.notice(&format!(
                "{}: the lines are JSON objects and are learned as plain text; --format jsonl reads \
                 them as examples",
                path.display()
            ));
        }
        let sha256 = run.data_sha256(&tokenizer)?;
        Ok(Self {
            text: Text::Plain(corpus),
            tokenizer,
            width: 0,
            sample_prompts: Vec::new(),
            sha256,
            group,
        })
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn tokenize(
        &mut self,
        run: &ResolvedRun,
        model: &Gpt2Config,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Settings { data, training, .. } = &run.settings;
        let (vocabulary, context) = (model.vocab_size as usize, model.n_positions as usize);
        let width = data.max_length.unwrap_or(context);
        if width > context {
            return Err(SettingsError::LongerThanContext { value: width, context }.into());
        }
        if let Some(value) = training.softmax_candidates.filter(|&value| value >= vocabulary) {
            return Err(SettingsError::TooManyCandidates { value, vocabulary }.into());
        }
        match &mut self.text {
            Text::Plain(corpus) => {
                let (examples, seed) = (training.examples_per_step(), training.seed);
                TrainWindows::new(&corpus.train, width, examples, seed)?;
            }
            Text::Examples(examples) => {
                observer.stage("tokenizing the examples");
                examples.sets =
                    tokenize(&examples.text, &self.tokenizer, &run.settings, context, observer)?;
            }
        }
        let format = self.examples().map(CompletionExamples::format);
        self.sample_prompts =
            sample_prompts(&training.sample_prompt, format, &self.tokenizer, context)?;
        self.width = width;
        Ok(())
    }

    fn adapted_head(_settings: &Settings) -> Option<&'static str> {
        None
    }

    fn complete(&self, settings: &mut Settings, model: &Gpt2Config) {
        settings.data.max_length.get_or_insert(model.n_positions as usize);
        if let Some(examples) = self.examples() {
            let has_prompt = examples.format().schema.has_prompt();
            let loss_on = if has_prompt { LossOn::Completions } else { LossOn::All };
            settings.data.loss_on.get_or_insert(loss_on);
        }
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
        let of_stream = |name: &str, examples: usize, tokens: usize| SplitStatistics {
            name: name.to_owned(),
            examples,
            tokens,
            classes: Vec::new(),
            lengths: None,
            truncated: 0,
        };
        let of_set = |name: &str, set: &CompletionSet| SplitStatistics {
            lengths: TokenLengths::of(set.sequences.iter().map(|sequence| sequence.ids.len())),
            truncated: set.truncated.len(),
            ..of_stream(name, set.sequences.len(), set.tokens())
        };
        let splits = match &self.text {
            Text::Plain(Corpus { train, held_out, documents, .. }) => vec![
                of_stream("training", documents[0], train.len()),
                of_stream("validation", documents[1], held_out.len()),
            ],
            Text::Examples(examples) => {
                let [train, validation] = &examples.sets;
                vec![of_set("training", train), of_set("validation", validation)]
            }
        };
        Ok(DataStatistics { splits, max_length: self.width })
    }

    fn evaluation_batches(&self, settings: &Settings) -> EvaluationBatches {
        let [training, validation] = match &self.text {
            Text::Plain(Corpus { train, held_out, .. }) => {
                [train, held_out].map(|stream| stream.len().div_ceil(EVALUATION_TOKENS))
            }
            Text::Examples(examples) => [0, 1].map(|set: usize| {
                examples.sets[set].sequences.len().div_ceil(settings.training.batch_size)
            }),
        };
        EvaluationBatches {
            before_training: training.min(INITIAL_BATCHES) + validation,
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
        let task =
            LanguageModelTask::new(network, self.source(settings)?, settings, &self.tokenizer)?;
        let turn_end = self.examples().and_then(CompletionExamples::turn_end);
        let task = task.with_group(self.group.clone());
        Ok(task.with_samples(&self.sample_prompts, turn_end))
    }

    fn initial(&self, network: &Gpt2, settings: &Settings, _rng: &mut TorchRng) -> Result<Initial> {
        let task = self.task(network, settings)?;
        let train = task.evaluate(Set::Train, INITIAL_BATCHES)?;
        let validation = task.evaluate(Set::Validation, usize::MAX)?;
        let [train, of_validation] = [&train, &validation].map(|it| task.of_loss(it).accuracy);
        let accuracies = Accuracies { train, validation: of_validation, test: None };
        Ok(Initial { accuracies, language_model: Some(validation) })
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
        let train = task.evaluate(Set::Train, settings.training.eval_batches)?;
        let measures = task.evaluate(Set::Validation, usize::MAX)?;
        let [train, validation] = [&train, &measures].map(|it| task.of_loss(it));
        report.accuracy =
            Accuracies { train: train.accuracy, validation: validation.accuracy, test: None };
        let statistics = self.statistics()?;
        let of_split =
            |place: usize| statistics.splits.get(place).map(|it| (it.examples, it.tokens));
        let [(train, train_tokens), (held_out, validation_tokens)] =
            [0, 1].map(|place| of_split(place).unwrap_or_default());
        let epochs = report.steps as f64 / task.steps_per_epoch() as f64;
        let tokens_seen = match &self.text {
            Text::Plain(_) => report.steps * settings.training.examples_per_step() * self.width,
            Text::Examples(..) => (epochs * train_tokens as f64).round() as usize,
        };
        report.examples = SplitSizes { train, validation: held_out, test: 0 };
        report.max_length = self.width;
        let mut dropped = SplitSizes::default();
        let mut skipped = 0;
        if let Text::Examples(examples) = &self.text {
            let [train, validation] = &examples.sets;
            let sizes = |count: fn(&CompletionSet) -> usize| SplitSizes {
                train: count(train),
                validation: count(validation),
                test: 0,
            };
            report.truncated = sizes(|set| set.truncated.len());
            dropped = sizes(|set| set.dropped.len());
            skipped = examples.text.skipped();
            report.longest_text = train.longest.max(validation.longest);
        }
        report.language_model = Some(LanguageModelReport {
            train_tokens,
            validation_tokens,
            skipped,
            dropped,
            tokens_seen,
            epochs,
            validation_loss: validation.loss,
            validation_perplexity: validation.loss.exp(),
            before: None,
            after: Some(measures),
        });
        Ok(())
    }

    fn save_model(&self, network: Gpt2, dtype: DType, directory: &Path) -> Result<Gpt2Config> {
        network.save(directory, dtype)?;
        Ok(network.config().clone())
    }

    fn metadata(&self, run: &ResolvedRun, base: &BaseWeights) -> AdapterMetadata {
        let prompts = self.examples().map(|examples| examples.format().clone());
        let metadata = AdapterMetadata::of_run(run, base, &self.tokenizer, &[], self.width);
        AdapterMetadata { prompts, ..metadata }
    }
}

//! Labeled text of a run, and the evaluation of a classifier on it.

use std::path::Path;

use dataset::{Batch, ClassRows, PreparedSplit, TokenizedSet, TokenizedSplit, Tokenizer, TorchRng};
use distributed::Group;
use gpt2_model::{DType, Gpt2, Gpt2Classifier, Gpt2Config, Linear};
use lora::Injector;
use serde::Serialize;

use crate::{
    config::{
        resolve::ResolvedRun,
        settings::{PadTo, Settings},
    },
    error::{Error, Result},
    inference::{AdapterMetadata, BaseWeights, head_bias::fold_bias},
    metrics::{Classification, ClassificationReport},
    process::release_free_memory,
    reports::{Report, SplitSizes},
    task::{
        classification::{
            batches::{Accuracies, FinalPredictions, Loaders},
            data_notes::{longest_text, note_data, note_truncation},
            evaluator::{Evaluator, Prediction},
            examples::encode,
            task::ClassificationTask,
        },
        data::{EvaluationBatches, Initial, TaskData},
        statistics::{ClassExamples, DataStatistics, SplitStatistics, TokenLengths},
    },
    trainable::parameters::{Head, Trainable},
    training::observer::Observer,
};

/// Batches of each set that the new head is evaluated on before training.
const INITIAL_BATCHES: usize = 10;

/// Labeled text of a run.
#[derive(Debug)]
pub(crate) struct ClassificationData {
    prepared: PreparedSplit,
    tokenizer: Tokenizer,
    splits: Option<TokenizedSplit>,
    truncated: SplitSizes,
    class_weights: Option<Vec<f64>>,
    group: Group,
}

impl ClassificationData {
    /// Tokenized splits, which exist after [`TaskData::tokenize`].
    fn splits(&self) -> Result<&TokenizedSplit> {
        self.splits.as_ref().ok_or(Error::Internal("the data is not tokenized"))
    }

    fn evaluator<'a>(&'a self, network: &'a Gpt2Classifier, settings: &Settings) -> Evaluator<'a> {
        Evaluator::new(network, settings.training.pooling).with_group(&self.group)
    }
}

impl TaskData for ClassificationData {
    type Network = Gpt2Classifier;
    type Task<'a> = ClassificationTask<'a>;

    fn read(
        run: &ResolvedRun,
        tokenizer: Tokenizer,
        group: Group,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        observer.stage("reading and splitting the data");
        let prepared = PreparedSplit::new(&run.labeled_files(), &run.split(), &run.out)?;
        prepared.notes.iter().for_each(|note| observer.notice(note));
        note_data(&prepared, run, observer);
        let truncated = SplitSizes::default();
        Ok(Self { prepared, tokenizer, splits: None, truncated, class_weights: None, group })
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
        let splits = encode(&self.prepared, &self.tokenizer, run, model.n_positions as usize)?;
        self.truncated = note_truncation(&splits, observer);
        Loaders::new(&splits, &run.settings.training)?;
        let labels = self.labels();
        let examples = splits.train.per_class(labels.len());
        self.class_weights = run.settings.training.class_weights.resolve(labels, &examples)?;
        self.splits = Some(splits);
        Ok(())
    }

    fn adapted_head(settings: &Settings) -> Option<&'static str> {
        (settings.adapter.head == Head::Lora).then_some(Gpt2Classifier::HEAD)
    }

    fn complete(&self, settings: &mut Settings, _model: &Gpt2Config) {
        settings.data.max_length = self.splits.as_ref().map(|splits| splits.max_length);
    }

    fn sha256(&self) -> &str {
        &self.prepared.source_sha256
    }

    fn write(&self) -> Result<()> {
        Ok(self.prepared.write()?)
    }

    fn network(
        &self,
        body: Gpt2,
        settings: &Settings,
        rng: &mut TorchRng,
    ) -> Result<Gpt2Classifier> {
        let network = Gpt2Classifier::new(body, self.labels().len(), rng)?;
        Ok(match settings.adapter.head {
            Head::Lora => network,
            Head::Full => network.without_bias(),
        })
    }

    fn labels(&self) -> &[String] {
        &self.prepared.split.labels
    }

    fn continued(&self, body: Gpt2, head: Option<Linear>) -> Result<Gpt2Classifier> {
        let head = head.ok_or(Error::Internal("the adapter of a classifier has no head"))?;
        let head = head.with_arithmetic(body.arithmetic());
        Ok(Gpt2Classifier::with_head(body, Box::new(head)))
    }

    fn lora(
        &self,
        network: &mut Gpt2Classifier,
        run: &ResolvedRun,
        injector: Injector<'_>,
    ) -> Result<Trainable> {
        let settings = &run.settings.adapter;
        Trainable::lora(network, injector, settings.head, settings.lora_plus_ratio)
    }

    fn statistics(&self) -> Result<DataStatistics> {
        let splits = self.splits()?;
        let labels = self.labels();
        let of_split = |name: &str, set: &TokenizedSet| {
            let lengths = || set.ids().iter().map(Vec::len);
            let counts = labels.iter().zip(set.per_class(labels.len()));
            SplitStatistics {
                name: name.to_owned(),
                examples: set.len(),
                tokens: lengths().sum(),
                classes: counts
                    .map(|(label, examples)| ClassExamples { label: label.clone(), examples })
                    .collect(),
                lengths: TokenLengths::of(lengths()),
                truncated: set.truncated(),
            }
        };
        Ok(DataStatistics {
            splits: vec![
                of_split("training", &splits.train),
                of_split("validation", &splits.validation),
                of_split("test", &splits.test),
            ],
            max_length: splits.max_length,
        })
    }

    fn evaluation_batches(&self, settings: &Settings) -> EvaluationBatches {
        let batches = |set: &TokenizedSet| set.len().div_ceil(settings.training.batch_size);
        let Some(splits) = &self.splits else { return EvaluationBatches::default() };
        let sets = [&splits.train, &splits.validation, &splits.test].map(batches);
        EvaluationBatches {
            before_training: sets.iter().map(|&batches| batches.min(INITIAL_BATCHES)).sum(),
            training: sets[0],
            validation: sets[1],
            after_training: sets.iter().sum(),
        }
    }

    fn batch_tokens<'a>(batch: &Batch) -> usize
    where
        Self: 'a,
    {
        batch.ids.len()
    }

    fn task<'a>(
        &'a self,
        network: &'a Gpt2Classifier,
        settings: &Settings,
    ) -> Result<ClassificationTask<'a>> {
        let loaders = Loaders::new(self.splits()?, &settings.training)?;
        let weights = self.class_weights.as_deref();
        ClassificationTask::new(
            self.evaluator(network, settings),
            loaders,
            &settings.training,
            weights,
        )
    }

    fn initial(
        &self,
        network: &Gpt2Classifier,
        settings: &Settings,
        rng: &mut TorchRng,
    ) -> Result<Initial> {
        let loaders = Loaders::new(self.splits()?, &settings.training)?;
        let evaluator = self.evaluator(network, settings);
        let accuracies = loaders.accuracies(evaluator, INITIAL_BATCHES, rng)?;
        Ok(Initial { accuracies, language_model: None })
    }

    fn evaluate(
        &self,
        network: &mut Gpt2Classifier,
        settings: &Settings,
        rng: &mut TorchRng,
        out: Option<&Path>,
        report: &mut Report,
    ) -> Result<()> {
        // As later commands compute with the adapter.
        if settings.training.padding() == PadTo::None || settings.machine.dtype != DType::Float32 {
            network.merge()?;
            release_free_memory();
        }
        let (splits, prepared) = (self.splits()?, &self.prepared);
        let loaders = Loaders::new(splits, &settings.training)?;
        let FinalPredictions { accuracy, validation, test } =
            loaders.final_predictions(self.evaluator(network, settings), rng)?;
        if let Some(out) = out {
            write_predictions(&out.join("predictions.jsonl"), &test, self.labels())?;
        }
        report.accuracy = accuracy;
        report.labels = self.labels().to_vec();
        report.examples = SplitSizes {
            train: splits.train.len(),
            validation: splits.validation.len(),
            test: splits.test.len(),
        };
        report.counts = Some(prepared.counts.clone());
        report.classes = prepared.split.class_rows();
        report.duplicates = Some(prepared.split.duplicates());
        report.baseline = majority_baseline(&report.classes);
        report.truncated = self.truncated;
        report.longest_text = longest_text(splits);
        report.max_length = splits.max_length;
        report.validation = Some(measure(&validation, self.labels())?);
        report.test = Some(measure(&test, self.labels())?);
        Ok(())
    }

    fn save_model(
        &self,
        mut network: Gpt2Classifier,
        dtype: DType,
        directory: &Path,
    ) -> Result<Gpt2Config> {
        network.merge()?;
        let network = fold_bias(network)?;
        network.save(directory, dtype, self.labels())?;
        Ok(network.body().config().clone())
    }

    fn metadata(&self, run: &ResolvedRun, base: &BaseWeights) -> AdapterMetadata {
        let max_length = self.splits.as_ref().map_or(0, |splits| splits.max_length);
        AdapterMetadata::of_run(run, base, &self.tokenizer, self.labels(), max_length)
    }
}

/// Returns the accuracies of always predicting the most frequent class of each set.
fn majority_baseline(classes: &[ClassRows]) -> Option<Accuracies> {
    let fraction = |examples: fn(&ClassRows) -> usize| {
        let counts = || classes.iter().map(examples);
        counts().max().unwrap_or(0) as f64 / counts().sum::<usize>().max(1) as f64
    };
    (!classes.is_empty()).then(|| Accuracies {
        train: fraction(|class| class.train),
        validation: fraction(|class| class.validation),
        test: Some(fraction(|class| class.test)),
    })
}

/// Measures of predictions.
fn measure(predictions: &[Prediction], labels: &[String]) -> Result<ClassificationReport> {
    let mut seen = Classification::new(labels.iter().cloned())?;
    for prediction in predictions {
        seen.push(prediction.label, &prediction.probabilities())?;
    }
    Ok(seen.report()?)
}

/// One line of `predictions.jsonl`.
#[derive(Serialize)]
struct PredictionLine<'a> {
    row: usize,
    label: &'a str,
    predicted: &'a str,
    logits: &'a [f32],
}

fn write_predictions<'a>(
    path: &Path,
    predictions: &'a [Prediction],
    labels: &'a [String],
) -> Result<()> {
    let label = |class: usize| labels.get(class).map_or("", String::as_str);
    let line = |prediction: &'a Prediction| PredictionLine {
        row: prediction.row,
        label: label(prediction.label),
        predicted: label(prediction.predicted()),
        logits: &prediction.logits,
    };
    Ok(storage::write_json_lines(path, predictions.iter().map(line))?)
}

//! Report of a run: `report.json`, and its table.

use std::path::PathBuf;

use dataset::{ClassRows, Duplicates, RowCounts};
use gpt2_model::Arithmetic;
use indicatif::{DecimalBytes, HumanCount};
use serde::{Deserialize, Serialize};

use crate::{
    config::recipe::Recipe, metrics::ClassificationReport,
    task::classification::batches::Accuracies, task::kind::TaskKind,
    task::objective::LanguageMeasures, trainable::parameters::Train,
    training::early_stopping::Best, training::event::Event,
};

/// Settings and results of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Recipe of the default settings.
    pub recipe: Recipe,
    /// Task.
    #[serde(default)]
    pub task: TaskKind,
    /// Set of trainable parameters.
    #[serde(default)]
    pub train: Train,
    /// Directory of the base model.
    pub model: PathBuf,
    /// Files with the labeled or plain text.
    pub data: Vec<PathBuf>,
    /// Directory with all results.
    pub out: PathBuf,
    /// SHA-256 of the labeled text in hexadecimal; with several files, of their checksums.
    #[serde(default)]
    pub data_sha256: String,
    /// Digest of the weights of the base model.
    #[serde(default)]
    pub base_digest: String,
    /// Fingerprint of the tokenizer; `None` for GPT-2's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Digest of the adapter whose training was continued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_digest: Option<String>,
    /// Device, `cpu` or `cuda:N`.
    pub device: String,
    /// Arithmetic, which is chosen by the model, the CPU and the settings unless it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<Arithmetic>,
    /// Labels in class order.
    pub labels: Vec<String>,
    /// Examples of each split.
    #[serde(alias = "rows")]
    pub examples: SplitSizes,
    /// Counts of used and skipped rows of labeled data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<RowCounts>,
    /// Examples of each class in each split.
    #[serde(default)]
    pub classes: Vec<ClassRows>,
    /// Texts of labeled data that occur more than once, within a set and across sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Duplicates>,
    /// Examples of each split that were truncated to `max_length`.
    pub truncated: SplitSizes,
    /// Length of the longest text in tokens, before truncation.
    #[serde(default)]
    pub longest_text: usize,
    /// Maximum sequence length in tokens.
    pub max_length: usize,
    /// Parameters of the model and its head, without the adapter.
    pub total_parameters: u64,
    /// Trainable parameters.
    pub trainable_parameters: u64,
    /// Size of the weight file of the adapter, or of the model if that was trained, in bytes.
    pub saved_bytes: u64,
    /// Optimizer steps.
    pub steps: usize,
    /// Best epoch on the validation set, if it was determined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// Accuracies before training, on the first batches.
    pub initial: Accuracies,
    /// Accuracies after training, on whole splits; the training set without the examples
    /// that do not fill a batch, as the book computes it.
    pub accuracy: Accuracies,
    /// Accuracies of always predicting the most frequent class of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Accuracies>,
    /// Warnings about the results.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Metrics on the validation set after training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ClassificationReport>,
    /// Metrics on the test set after training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<ClassificationReport>,
    /// Measures of a language model, after training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_model: Option<LanguageModelReport>,
    /// Accuracies on a few batches after each epoch.
    pub epochs: Vec<EpochAccuracy>,
    /// Duration of the training loop including its evaluations, in seconds.
    pub seconds: f64,
}

/// Measures of a language model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageModelReport {
    /// Tokens of the training set.
    pub train_tokens: usize,
    /// Tokens of the validation set.
    pub validation_tokens: usize,
    /// Examples that were skipped, because their text or completion is empty.
    #[serde(default)]
    pub skipped: usize,
    /// Examples that were dropped, because their prompt fills the maximum length.
    #[serde(default)]
    pub dropped: SplitSizes,
    /// Tokens trained on, repetitions included.
    pub tokens_seen: usize,
    /// Passes over the training set.
    pub epochs: f64,
    /// Mean cross-entropy on the validation set of the tokens that are trained on, in nats.
    pub validation_loss: f64,
    /// Perplexity on the validation set: e to the loss.
    pub validation_perplexity: f64,
    /// Measures on the validation set before training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<LanguageMeasures>,
    /// Measures on the validation set after training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<LanguageMeasures>,
}

/// Number of examples in each split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitSizes {
    /// Training set.
    pub train: usize,
    /// Validation set.
    pub validation: usize,
    /// Test set.
    pub test: usize,
}

/// Accuracies on a few batches at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochAccuracy {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Accuracy on training batches.
    pub train: f64,
    /// Accuracy on validation batches.
    pub validation: f64,
}

impl EpochAccuracy {
    /// Collects the accuracies of a run's events.
    pub(crate) fn of(events: &[Event]) -> Vec<Self> {
        let of_event = |event: &Event| match *event {
            Event::Epoch { epoch, train_accuracy, validation_accuracy } => {
                Some(Self { epoch, train: train_accuracy, validation: validation_accuracy })
            }
            _ => None,
        };
        events.iter().filter_map(of_event).collect()
    }
}

impl Report {
    /// Warns if the classifier does not beat the majority class on the validation set.
    pub(crate) fn warn(&mut self) {
        let Some(baseline) = self.baseline else { return };
        if self.accuracy.validation <= baseline.validation {
            self.warnings.push(format!(
                "the model does not beat the majority class on the validation set: its accuracy is \
                 {}, always predicting the most frequent class has {}",
                percent(self.accuracy.validation),
                percent(baseline.validation)
            ));
        }
    }

    /// Formats the report as a table, followed by the paths of the files.
    pub fn to_table(&self) -> String {
        let mut text = self.accuracy_table();
        if let Some(model) = &self.language_model {
            text += &perplexity_table(model);
            text += &format!(
                "validation perplexity {:.2} (loss {:.4}); {} tokens seen in {:.2} epochs of {}\n",
                model.validation_perplexity,
                model.validation_loss,
                HumanCount(model.tokens_seen as u64),
                model.epochs,
                HumanCount(model.train_tokens as u64),
            );
        }
        if let Some(test) = &self.test {
            text += &format!(
                "test set: {}expected calibration error {:.4}, loss {:.4}\n",
                test.macro_average
                    .roc_auc
                    .map_or(String::new(), |area| format!("macro ROC AUC {area:.4}, ")),
                test.expected_calibration_error,
                test.mean_loss
            );
            if let Some(note) = test.absent_classes() {
                text += &format!("test set: {note}\n");
            }
        }
        for warning in &self.warnings {
            text += &format!("warning: {warning}\n");
        }
        // Adapters are added to the parameters of the base model; other sets are part of it.
        let frozen = match self.train {
            Train::Lora => self.total_parameters,
            _ => self.total_parameters - self.trainable_parameters,
        };
        let trained = 100.0 * self.trainable_parameters as f64 / self.total_parameters as f64;
        text += &format!(
            "\n{} trainable and {} frozen parameters ({trained:.2} %), {} steps in {:.2} minutes \
             on {}{}\n",
            HumanCount(self.trainable_parameters),
            HumanCount(frozen),
            HumanCount(self.steps as u64),
            self.seconds / 60.0,
            self.device,
            self.arithmetic
                .map_or(String::new(), |arithmetic| format!(", arithmetic {arithmetic}")),
        );
        if let Some(best) = self.best {
            text += &format!(
                "best epoch on the validation set: {}, loss {:.4}, accuracy {}\n",
                best.epoch,
                best.loss,
                percent(best.accuracy)
            );
        }
        let saved = if self.train == Train::Lora { "adapter" } else { "model" };
        let (path, size) = (self.out.join(saved), DecimalBytes(self.saved_bytes));
        text += &format!("{saved}: {} ({size})\n", path.display());
        text += &format!("other results: {}\n", self.out.display());
        text
    }

    /// Examples, accuracy, macro F1 and majority-class baseline of each set.
    fn accuracy_table(&self) -> String {
        let Self { examples, initial, accuracy, baseline, .. } = self;
        let f1 = |report: &Option<ClassificationReport>| {
            report
                .as_ref()
                .map_or(String::new(), |report| format!("{:.4}", report.macro_average.f1))
        };
        let majority = |of: fn(&Accuracies) -> Option<f64>| {
            baseline.as_ref().and_then(of).map_or(String::new(), percent)
        };
        let sets = [
            (
                "training",
                examples.train,
                Some((initial.train, accuracy.train)),
                "-".to_owned(),
                majority(|baseline| Some(baseline.train)),
            ),
            (
                "validation",
                examples.validation,
                Some((initial.validation, accuracy.validation)),
                f1(&self.validation),
                majority(|baseline| Some(baseline.validation)),
            ),
            (
                "test",
                examples.test,
                initial.test.zip(accuracy.test),
                f1(&self.test),
                majority(|baseline| baseline.test),
            ),
        ];
        let line = |[split, examples, accuracy, f1, majority, before]: [&str; 6]| {
            // A language model has neither macro F1 nor a majority class.
            let classes = match baseline {
                Some(_) => format!("{f1:>10}{majority:>16}"),
                None => String::new(),
            };
            format!("{split:<12}{examples:>10}{accuracy:>11}{classes}{before:>17}\n")
        };
        let mut text = line([
            "split",
            "examples",
            "accuracy",
            "macro F1",
            "majority class",
            "before training",
        ]);
        for (set, examples, accuracies, f1, majority) in sets {
            let Some((before, after)) = accuracies else { continue };
            let (examples, before, after) = (examples.to_string(), percent(before), percent(after));
            text += &line([set, &examples, &after, &f1, &majority, &before]);
        }
        text + "(before training: accuracy on the first batches)\n"
    }
}

/// Perplexity and accuracy on the validation set before and after training.
fn perplexity_table(model: &LanguageModelReport) -> String {
    let LanguageModelReport { before: Some(before), after: Some(after), .. } = model else {
        return String::new();
    };
    let line = |[tokens, perplexity, before, accuracy, accuracy_before]: [&str; 5]| {
        format!("{tokens:<13} {perplexity:>12} {before:>9} {accuracy:>11} {accuracy_before:>9}\n")
    };
    let mut text = line(["validation", "perplexity", "before", "accuracy", "before"]);
    let sets = [
        ("completions", before.completions.zip(after.completions)),
        ("all tokens", Some((before.all, after.all))),
    ];
    for (tokens, measures) in sets {
        let Some((before, after)) = measures else { continue };
        text += &line([
            tokens,
            &format!("{:.2}", after.perplexity),
            &format!("{:.2}", before.perplexity),
            &percent(after.accuracy),
            &percent(before.accuracy),
        ]);
    }
    text
}

fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

//! Report of a run: `report.json`, and a table for people.

use std::path::PathBuf;

use dataset::{ClassRows, Duplicates, RowCounts};
use indicatif::{DecimalBytes, HumanCount};
use serde::{Deserialize, Serialize};

use crate::{
    config::recipe::Recipe, metrics::ClassificationReport,
    task::classification::batches::Accuracies, task::kind::TaskKind, trainable::parameters::Train,
    training::early_stopping::Best, training::event::Event,
};

/// Settings and results of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Recipe of the default settings.
    pub recipe: Recipe,
    /// What was learned.
    #[serde(default)]
    pub task: TaskKind,
    /// Which parameters were trained.
    #[serde(default)]
    pub train: Train,
    /// Folder of the base model.
    pub model: PathBuf,
    /// Files with the labeled or plain text.
    pub data: Vec<PathBuf>,
    /// Folder with all results.
    pub out: PathBuf,
    /// SHA-256 of the labeled text in hexadecimal; with several files, of their checksums.
    #[serde(default)]
    pub data_sha256: String,
    /// Digest of the weights of the base model.
    #[serde(default)]
    pub base_digest: String,
    /// Digest of the adapter whose training was continued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_digest: Option<String>,
    /// Device, `cpu` or `cuda:N`.
    pub device: String,
    /// Labels in the order of their class numbers.
    pub labels: Vec<String>,
    /// Examples of each split.
    #[serde(alias = "rows")]
    pub examples: SplitSizes,
    /// Counts of used and skipped rows of the data.
    #[serde(default)]
    pub counts: RowCounts,
    /// Examples of each class in each split.
    #[serde(default)]
    pub classes: Vec<ClassRows>,
    /// Texts that occur more than once, within a set and across sets.
    #[serde(default)]
    pub duplicates: Duplicates,
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
    /// Tokens trained on, repetitions included.
    pub tokens_seen: usize,
    /// Passes over the training set.
    pub epochs: f64,
    /// Mean cross-entropy on the validation set, in nats.
    pub validation_loss: f64,
    /// Perplexity on the validation set: e to the loss.
    pub validation_perplexity: f64,
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
            let average = test.macro_average;
            text += &format!(
                "test set: macro F1 {:.4}{}{}, expected calibration error {:.4}, loss {:.4}\n",
                average.f1,
                test.absent_classes().map_or(String::new(), |note| format!(" ({note})")),
                average.roc_auc.map_or(String::new(), |area| format!(", ROC AUC {area:.4}")),
                test.expected_calibration_error,
                test.mean_loss
            );
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
             on {}\n",
            HumanCount(self.trainable_parameters),
            HumanCount(frozen),
            HumanCount(self.steps as u64),
            self.seconds / 60.0,
            self.device,
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

    /// Examples and accuracies of the sets, beside the majority-class baseline.
    fn accuracy_table(&self) -> String {
        let head = ["split", "examples", "before (10 batches)", "accuracy after", "majority class"];
        let line = |[split, examples, before, after, majority]: [&str; 5]| {
            let line = format!("{split:<12}{examples:>10}{before:>22}{after:>17}{majority:>17}");
            format!("{}\n", line.trim_end())
        };
        let Self { examples, initial, accuracy, .. } = self;
        let majority = |of: fn(&Accuracies) -> Option<f64>| {
            self.baseline.as_ref().and_then(of).map_or(String::new(), percent)
        };
        let sets = [
            (
                "training",
                examples.train,
                Some((initial.train, accuracy.train)),
                majority(|baseline| Some(baseline.train)),
            ),
            (
                "validation",
                examples.validation,
                Some((initial.validation, accuracy.validation)),
                majority(|baseline| Some(baseline.validation)),
            ),
            (
                "test",
                examples.test,
                initial.test.zip(accuracy.test),
                majority(|baseline| baseline.test),
            ),
        ];
        let head =
            if self.baseline.is_some() { head } else { [head[0], head[1], head[2], head[3], ""] };
        let mut text = line(head);
        for (set, examples, accuracies, majority) in sets {
            let Some((before, after)) = accuracies else { continue };
            let (before, after) = (percent(before), percent(after));
            text += &line([set, &examples.to_string(), &before, &after, &majority]);
        }
        text
    }
}

fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

//! The report of a run: `report.json`, and a table for people.

use std::path::PathBuf;

use dataset::{ClassRows, RowCounts};
use serde::{Deserialize, Serialize};

use crate::{
    config::settings::Recipe, metrics::ClassificationReport, task::loaders::Accuracies,
    training::early_stopping::Best, training::event::Event,
};

/// What a run was and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where the defaults came from.
    pub recipe: Recipe,
    /// Folder of the base model.
    pub model: PathBuf,
    /// The labelled text.
    pub data: PathBuf,
    /// Folder with all results.
    pub out: PathBuf,
    /// sha256 of the labelled text, in hexadecimal; of several files, of their sums.
    #[serde(default)]
    pub data_sha256: String,
    /// sha256 of the base model's `config.json` and `model.safetensors`, one after the
    /// other; where its weights were drawn, of the first alone, or its name.
    #[serde(default)]
    pub model_sha256: String,
    /// Device that computed, `cpu` or `cuda:N`.
    pub device: String,
    /// Labels in the order of their class numbers.
    pub labels: Vec<String>,
    /// Rows of each part.
    pub rows: PartSizes,
    /// What became of the rows of the data.
    #[serde(default)]
    pub counts: RowCounts,
    /// Rows of each class in each part.
    #[serde(default)]
    pub classes: Vec<ClassRows>,
    /// Rows of each part that were cut to `max_length`.
    pub truncated: PartSizes,
    /// Longest row in tokens.
    pub max_length: usize,
    /// Numbers in the model and its head, without the adapter.
    pub total_parameters: u64,
    /// Numbers in the adapter.
    pub trainable_parameters: u64,
    /// Bytes of the adapter's weight file.
    pub adapter_bytes: u64,
    /// Optimizer steps.
    pub steps: usize,
    /// The best epoch on the validation part, where it was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// Accuracies of the new head before training, on the first batches.
    pub initial: Accuracies,
    /// Accuracies after training, on whole parts; of the training part without the rows that fill
    /// no batch, as the book computes it.
    pub accuracy: Accuracies,
    /// Measures on the test part, after training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<ClassificationReport>,
    /// Accuracies on a few batches after each epoch.
    pub epochs: Vec<EpochAccuracy>,
    /// Time of the training loop, its evaluations included, in seconds.
    pub seconds: f64,
}

/// A number for each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSizes {
    /// Of the training part.
    pub train: usize,
    /// Of the validation part.
    pub validation: usize,
    /// Of the test part.
    pub test: usize,
}

/// Accuracies on a few batches at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochAccuracy {
    /// From 1.
    pub epoch: usize,
    /// On training batches.
    pub train: f64,
    /// On validation batches.
    pub validation: f64,
}

impl EpochAccuracy {
    /// Those of a run's events.
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
    /// The report as a table and the places of the files.
    pub fn to_table(&self) -> String {
        let percent = |value: f64| format!("{:.2} %", 100.0 * value);
        let mut text = format!(
            "{:<12}{:>8}{:>22}{:>18}\n",
            "part", "rows", "before (10 batches)", "accuracy after"
        );
        for (part, rows, before, after) in [
            ("train", self.rows.train, self.initial.train, self.accuracy.train),
            ("validation", self.rows.validation, self.initial.validation, self.accuracy.validation),
            ("test", self.rows.test, self.initial.test, self.accuracy.test),
        ] {
            text += &format!("{part:<12}{rows:>8}{:>22}{:>18}\n", percent(before), percent(after));
        }
        if let Some(test) = &self.test {
            let average = test.macro_average;
            text += &format!(
                "test: macro F1 {:.4}{}, calibration error {:.4}, loss {:.4}\n",
                average.f1,
                average.roc_auc.map_or(String::new(), |area| format!(", ROC-AUC {area:.4}")),
                test.expected_calibration_error,
                test.mean_loss
            );
        }
        let trained = 100.0 * self.trainable_parameters as f64 / self.total_parameters as f64;
        text += &format!(
            "\n{} parameters trained beside {} frozen ones ({trained:.2} %), {} steps in {:.2} \
             minutes on {}\n",
            grouped(self.trainable_parameters),
            grouped(self.total_parameters),
            grouped(self.steps as u64),
            self.seconds / 60.0,
            self.device,
        );
        if let Some(best) = self.best {
            text += &format!(
                "best on validation: epoch {}, loss {:.4}, accuracy {}\n",
                best.epoch,
                best.loss,
                percent(best.accuracy)
            );
        }
        let adapter = self.out.join("adapter");
        let size = bytes(self.adapter_bytes);
        text += &format!("adapter: {} ({size})\n", adapter.display());
        text += &format!("everything else: {}\n", self.out.display());
        text
    }
}

/// A size of a file for people.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.2} MB", count as f64 / 1e6),
    }
}

/// A number with commas between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(2_666_528), "2,666,528");
        assert_eq!(grouped(124_441_346), "124,441,346");
    }
}

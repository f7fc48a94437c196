//! Events of a run, which are the lines of `metrics.jsonl`, in order.

use serde::{Deserialize, Serialize};

use crate::task::objective::LanguageMeasures;

/// Event of a run: one line of `metrics.jsonl`. Accuracies are from 0 to 1; for a language model
/// they are accuracies of the next token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Evaluation before training, on the first batches of each set.
    Initial {
        /// Accuracy on the training set.
        train_accuracy: f64,
        /// Accuracy on the validation set.
        validation_accuracy: f64,
        /// Accuracy on the test set, if the task has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        test_accuracy: Option<f64>,
    },
    /// Optimizer step.
    Step {
        /// Step, from 0, counted over all epochs.
        step: usize,
        /// Epoch, from 1.
        epoch: usize,
        /// Mean cross-entropy of the batch, before the step, in nats.
        loss: f64,
        /// Learning rate of the step.
        learning_rate: f64,
        /// Total gradient norm before clipping, if gradients are clipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f64>,
        /// Examples of the batch, as row numbers of `train.csv` from 0; for a language model the
        /// first token of each window.
        rows: Vec<usize>,
    },
    /// Text generated after a step.
    Sample {
        /// Step, from 0.
        step: usize,
        /// Text that was continued; none for the beginning of a text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
        /// Generated text.
        text: String,
    },
    /// Evaluation of a language model on the validation set.
    Tokens {
        /// Steps taken before.
        steps: usize,
        /// True for the whole validation set, false for its first batches.
        is_whole: bool,
        /// Measures on completions and on all tokens.
        #[serde(flatten)]
        measures: LanguageMeasures,
    },
    /// Losses on the first batches, after a step.
    Eval {
        /// Step, from 0.
        step: usize,
        /// Mean cross-entropy on training batches, in nats.
        train_loss: f64,
        /// Mean cross-entropy on validation batches, in nats.
        validation_loss: f64,
    },
    /// Accuracies on the first batches, after an epoch.
    Epoch {
        /// Epoch, from 1.
        epoch: usize,
        /// Accuracy on training batches.
        train_accuracy: f64,
        /// Accuracy on validation batches.
        validation_accuracy: f64,
    },
    /// Evaluation on the whole validation set after an epoch, for early stopping or the best
    /// epoch.
    Validation {
        /// Epoch, from 1.
        epoch: usize,
        /// Mean cross-entropy, in nats.
        loss: f64,
        /// Accuracy, from 0 to 1.
        accuracy: f64,
        /// True if the loss is the lowest so far.
        is_best: bool,
    },
    /// Evaluation after training, on whole sets; the training set without the examples that do
    /// not fill a batch, as in the book.
    Final {
        /// Accuracy on all full batches of the training set.
        train_accuracy: f64,
        /// Accuracy on the validation set.
        validation_accuracy: f64,
        /// Accuracy on the test set, if the task has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        test_accuracy: Option<f64>,
        /// Trainable parameters.
        trainable_parameters: u64,
        /// Parameters of the model and its head, without the adapter.
        total_parameters: u64,
        /// Duration of the training loop including its evaluations, in seconds.
        seconds: f64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::JsonLines;

    #[test]
    fn event_is_a_line_of_json_with_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut writer = JsonLines::create(&path).unwrap();
        let (learning_rate, gradient_norm, rows) = (0.1, None, vec![3, 1]);
        let step = Event::Step { step: 0, epoch: 1, loss: 0.5, learning_rate, gradient_norm, rows };
        writer.write(&step).unwrap();
        writer.write(&Event::Eval { step: 0, train_loss: 0.5, validation_loss: 1.0 }).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"event":"step","step":0,"epoch":1,"loss":0.5,"learning_rate":0.1,"rows":[3,1]}"#
        );
        assert!(lines[1].starts_with(r#"{"event":"eval","step":0,"#));
        assert_eq!(serde_json::from_str::<Event>(lines[0]).unwrap(), step);
    }
}

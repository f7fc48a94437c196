//! What happens in a run, and `metrics.jsonl`, which records it: one object a
//! line, in the order of the events.

use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`. Accuracies are from 0 to 1; of a language model, of the next token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The model with its new head, before any training, on the first batches
    /// of each part.
    Initial {
        /// On the training set.
        train_accuracy: f64,
        /// On the validation set.
        validation_accuracy: f64,
        /// On the test set, if the task has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        test_accuracy: Option<f64>,
    },
    /// One optimizer step.
    Step {
        /// From 0, over all epochs.
        step: usize,
        /// From 1.
        epoch: usize,
        /// Mean cross-entropy of the batch, before the step, in nats.
        loss: f64,
        /// Learning rate of the step.
        learning_rate: f64,
        /// Norm of the gradients before clipping, if they are clipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f64>,
        /// Examples of the batch: row numbers in `train.csv`, from 0.
        rows: Vec<usize>,
    },
    /// A text that the model wrote after a step.
    Sample {
        /// The step, from 0.
        step: usize,
        /// The text.
        text: String,
    },
    /// Losses on a few batches, after a step.
    Eval {
        /// The step, from 0.
        step: usize,
        /// Mean cross-entropy on training batches, in nats.
        train_loss: f64,
        /// Mean cross-entropy on validation batches, in nats.
        validation_loss: f64,
    },
    /// The end of an epoch, on a few batches.
    Epoch {
        /// From 1.
        epoch: usize,
        /// On training batches.
        train_accuracy: f64,
        /// On validation batches.
        validation_accuracy: f64,
    },
    /// The whole validation set at the end of an epoch, where the best epoch is
    /// looked for.
    Validation {
        /// From 1.
        epoch: usize,
        /// Mean cross-entropy of its rows, in nats.
        loss: f64,
        /// Accuracy, from 0 to 1.
        accuracy: f64,
        /// Whether no epoch before had a loss as low.
        is_best: bool,
    },
    /// The end of the run, on whole parts; of the training set without the rows that fill
    /// no batch, as the book computes it.
    Final {
        /// On all whole batches of the training set.
        train_accuracy: f64,
        /// On the validation set.
        validation_accuracy: f64,
        /// On the test set, if the task has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        test_accuracy: Option<f64>,
        /// Numbers in the adapter.
        trainable_parameters: u64,
        /// Numbers in the model and its head, without the adapter.
        total_parameters: u64,
        /// Time of the training loop, its evaluations included.
        seconds: f64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::JsonLines;

    #[test]
    fn an_event_is_a_line_that_says_which_it_is() {
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

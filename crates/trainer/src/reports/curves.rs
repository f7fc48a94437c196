//! The plots of a run, from its events.

use std::path::Path;

use crate::{
    error::Result,
    reports::plots::{Line, Plot},
    training::event::Event,
};

/// Writes `loss.{svg,png}` and `accuracy.{svg,png}` into `folder`.
pub(crate) fn write(
    events: &[Event],
    steps_per_epoch: usize,
    batch_size: usize,
    folder: &Path,
) -> Result<()> {
    let epochs_at = |step: usize| (step + 1) as f64 / steps_per_epoch as f64;
    let (mut losses, mut accuracies) = ([vec![], vec![]], [vec![], vec![]]);
    for event in events {
        match *event {
            Event::Eval { step, train_loss, validation_loss } => {
                losses[0].push((epochs_at(step), train_loss));
                losses[1].push((epochs_at(step), validation_loss));
            }
            Event::Initial { train_accuracy, validation_accuracy, .. } => {
                accuracies[0].push((0.0, train_accuracy));
                accuracies[1].push((0.0, validation_accuracy));
            }
            Event::Epoch { epoch, train_accuracy, validation_accuracy } => {
                accuracies[0].push((epoch as f64, train_accuracy));
                accuracies[1].push((epoch as f64, validation_accuracy));
            }
            Event::Step { .. } | Event::Validation { .. } | Event::Final { .. } => {}
        }
    }
    let epochs = accuracies[0].last().map_or(1.0, |&(epoch, _): &(f64, f64)| epoch.max(1.0));
    let draw = |name: &str, title, y_label, [training, validation]: [Vec<(f64, f64)>; 2]| {
        let lines = vec![
            Line { name: "training", points: training },
            Line { name: "validation", points: validation },
        ];
        let examples_per_epoch = (steps_per_epoch * batch_size) as f64;
        let y_range = if name == "loss" { 0.0..0.1 } else { 0.9..1.0 };
        Plot { title, y_label, lines, epochs, examples_per_epoch, y_range }.write(folder, name)
    };
    draw("loss", "Loss", "Mean cross-entropy (nats)", losses)?;
    draw("accuracy", "Accuracy", "Part classified rightly", accuracies)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_leaves_two_plots_in_two_forms() {
        let folder = tempfile::tempdir().unwrap();
        let events = [
            Event::Initial { train_accuracy: 0.5, validation_accuracy: 0.4, test_accuracy: 0.5 },
            Event::Eval { step: 0, train_loss: 0.7, validation_loss: 0.8 },
            Event::Eval { step: 5, train_loss: 0.2, validation_loss: 0.4 },
            Event::Epoch { epoch: 1, train_accuracy: 0.9, validation_accuracy: 0.8 },
        ];
        write(&events, 10, 8, folder.path()).unwrap();
        for name in ["loss.svg", "loss.png", "accuracy.svg", "accuracy.png"] {
            assert!(folder.path().join(name).metadata().unwrap().len() > 1000, "{name}");
        }
    }
}

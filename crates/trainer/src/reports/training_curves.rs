//! Plots of loss and accuracy over the epochs of a run.

use std::{ops::Range, path::Path};

use plotters::chart::SeriesLabelPosition;
use storage::write_atomic;

use crate::{
    error::Result,
    reports::plots::{Plot, Series, SeriesStyle},
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
            Event::Step { .. }
            | Event::Sample { .. }
            | Event::Tokens { .. }
            | Event::Validation { .. }
            | Event::Final { .. } => {}
        }
    }
    let epochs = accuracies[0].last().map_or(1.0, |&(epoch, _): &(f64, f64)| epoch.max(1.0));
    let plot = |title, y_label, shown: Range<f64>, [training, validation]: [Vec<(f64, f64)>; 2]| {
        let style = SeriesStyle::LineWithDots;
        let y_range = padded_range(shown, training.iter().chain(&validation));
        let training = Series { name: "training".to_owned(), points: training, style };
        let validation = Series { name: "validation".to_owned(), points: validation, style };
        Plot {
            title,
            x_label: "Epochs",
            y_label,
            x_range: 0.0..epochs,
            y_range,
            top_axis: Some(("Examples seen", (steps_per_epoch * batch_size) as f64)),
            series: vec![training, validation],
            legend: SeriesLabelPosition::MiddleRight,
            size: (900, 560),
        }
    };
    for (name, plot) in [
        ("loss", plot("Loss", "Mean cross-entropy (nats)", 0.0..0.1, losses)),
        ("accuracy", plot("Accuracy", "Accuracy", 0.9..1.0, accuracies)),
    ] {
        write_atomic(&folder.join(format!("{name}.svg")), plot.svg()?.as_bytes())?;
        write_atomic(&folder.join(format!("{name}.png")), &plot.png()?)?;
    }
    Ok(())
}

/// Extends a range to the values of all points, with some padding.
fn padded_range<'a>(shown: Range<f64>, points: impl Iterator<Item = &'a (f64, f64)>) -> Range<f64> {
    let values = points.map(|point| point.1).filter(|value| value.is_finite());
    let (low, high) = values
        .fold((shown.start, shown.end), |(low, high), value| (low.min(value), high.max(value)));
    let padding = 0.04 * (high - low).max(1e-6);
    low - padding..high + padding
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> [Event; 4] {
        [
            Event::Initial {
                train_accuracy: 0.5,
                validation_accuracy: 0.4,
                test_accuracy: Some(0.5),
            },
            Event::Eval { step: 0, train_loss: 0.7, validation_loss: 0.8 },
            Event::Eval { step: 5, train_loss: 0.2, validation_loss: 0.4 },
            Event::Epoch { epoch: 1, train_accuracy: 0.9, validation_accuracy: 0.8 },
        ]
    }

    #[test]
    fn run_leaves_two_plots_as_svg_and_png() {
        let folder = tempfile::tempdir().unwrap();
        write(&events(), 10, 8, folder.path()).unwrap();
        for name in ["loss.svg", "loss.png", "accuracy.svg", "accuracy.png"] {
            assert!(folder.path().join(name).metadata().unwrap().len() > 1000, "{name}");
        }
    }

    #[test]
    fn missing_folder_is_named() {
        let error = write(&events(), 10, 8, Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write /nowhere/loss.svg: "), "{error}");
    }
}

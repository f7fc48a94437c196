//! Plots of an evaluation of a language model: histogram of the loss, and loss by length.

use std::ops::Range;

use plotters::chart::SeriesLabelPosition;

use crate::{
    metrics::{LengthBin, LossBin},
    reports::plots::{Plot, Series, SeriesStyle},
};

/// Room at the end of an axis, as a factor of the largest value.
const ROOM: f64 = 1.08;
/// Room above a histogram for the legend, as such a factor.
const LEGEND_ROOM: f64 = 1.3;

/// Plots the histogram of the mean loss of examples, and the mean of evaluated tokens.
pub(super) fn histogram_plot(bins: &[LossBin], mean: f64) -> Plot {
    let examples: usize = bins.iter().map(|bin| bin.examples).sum();
    let percent = |bin: &LossBin| 100.0 * bin.examples as f64 / examples.max(1) as f64;
    let highest = LEGEND_ROOM * bins.iter().map(percent).fold(0.0, f64::max);
    // The outline of each bar.
    let bar = |bin: &LossBin| {
        let height = percent(bin);
        [(bin.low, 0.0), (bin.low, height), (bin.high, height), (bin.high, 0.0)]
    };
    let bars = Series {
        name: "examples".to_owned(),
        points: bins.iter().flat_map(bar).collect(),
        style: SeriesStyle::Area,
    };
    let low = bins.first().map_or(mean, |bin| bin.low.min(mean));
    let high = bins.last().map_or(mean, |bin| bin.high.max(mean));
    let room = 0.02 * (high - low).max(f64::MIN_POSITIVE);
    Plot {
        title: "Histogram of the loss",
        x_label: "Mean loss of an example (nats per token)",
        y_label: "Examples (%)",
        x_range: low - room..high + room,
        y_range: 0.0..highest,
        series: vec![bars, reference(mean, vec![(mean, 0.0), (mean, highest)])],
        legend: SeriesLabelPosition::UpperRight,
        ..blank()
    }
}

/// Plots the mean loss over the mean length of the examples of each bin, and the mean of evaluated tokens.
pub(super) fn length_plot(bins: &[LengthBin], mean: f64) -> Plot {
    let points: Vec<(f64, f64)> =
        bins.iter().map(|bin| (bin.mean_length(), bin.mean_loss())).collect();
    let from_zero = |values: &mut dyn Iterator<Item = f64>| -> Range<f64> {
        0.0..(ROOM * values.fold(0.0, f64::max)).max(f64::MIN_POSITIVE)
    };
    let x_range = from_zero(&mut points.iter().map(|point| point.0));
    let y_range = from_zero(&mut points.iter().map(|point| point.1).chain([mean]));
    let line = vec![(x_range.start, mean), (x_range.end, mean)];
    let style = SeriesStyle::LineWithDots;
    Plot {
        title: "Loss by length",
        x_label: "Evaluated tokens of an example",
        y_label: "Mean loss (nats per token)",
        x_range,
        y_range,
        series: vec![
            Series { name: "examples of similar length".to_owned(), points, style },
            reference(mean, line),
        ],
        legend: SeriesLabelPosition::LowerRight,
        ..blank()
    }
}

fn blank() -> Plot {
    Plot {
        title: "",
        x_label: "",
        y_label: "",
        x_range: 0.0..1.0,
        y_range: 0.0..1.0,
        top_axis: None,
        series: Vec::new(),
        legend: SeriesLabelPosition::UpperRight,
        size: (560, 460),
    }
}

fn reference(mean: f64, points: Vec<(f64, f64)>) -> Series {
    let name = format!("mean of evaluated tokens ({mean:.4})");
    Series { name, points, style: SeriesStyle::Reference }
}

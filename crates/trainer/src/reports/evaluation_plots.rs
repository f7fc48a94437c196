//! Plots of an evaluation of a classifier: ROC curves and reliability diagram.

use plotters::chart::SeriesLabelPosition;

use super::html::text::clean;
use crate::{
    metrics::{ClassificationReport, RocCurve},
    reports::plots::{COLORS, Plot, Series, SeriesStyle},
};

/// Most ROC curves in one plot.
pub(super) const MOST_CURVES: usize = COLORS.len();
/// Longest label in a legend, in characters.
const LONGEST_LABEL: usize = 24;

/// Plots ROC curves, at most [`MOST_CURVES`].
pub(super) fn roc_plot(curves: &[&RocCurve]) -> Plot {
    let series = |curve: &&RocCurve| {
        let points = curve.points.iter();
        Series {
            name: format!("{} (AUC {:.4})", shortened(&curve.label), curve.roc_auc),
            points: points.map(|at| (at.false_positive_rate, at.true_positive_rate)).collect(),
            style: SeriesStyle::Line,
        }
    };
    Plot {
        title: "ROC curve, each class versus the rest",
        x_label: "False positive rate",
        y_label: "True positive rate",
        series: curves.iter().map(series).chain([diagonal("chance")]).collect(),
        legend: SeriesLabelPosition::LowerRight,
        ..unit_square()
    }
}

/// Plots the reliability diagram: accuracy over confidence for every bin with examples.
pub(super) fn reliability_plot(report: &ClassificationReport) -> Plot {
    let bins = report.reliability.iter();
    let bins = Series {
        name: "confidence bins".to_owned(),
        points: bins.filter_map(|bin| Some((bin.confidence?, bin.accuracy?))).collect(),
        style: SeriesStyle::LineWithDots,
    };
    Plot {
        title: "Reliability diagram",
        x_label: "Confidence (highest predicted probability)",
        y_label: "Accuracy",
        series: vec![bins, diagonal("perfect calibration")],
        ..unit_square()
    }
}

/// Plot of values from 0 to 1 over values from 0 to 1.
fn unit_square() -> Plot {
    Plot {
        title: "",
        x_label: "",
        y_label: "",
        // With room for lines along the edges.
        x_range: -0.02..1.02,
        y_range: -0.02..1.02,
        top_axis: None,
        series: Vec::new(),
        legend: SeriesLabelPosition::UpperLeft,
        size: (560, 578),
    }
}

fn diagonal(name: &str) -> Series {
    let points = vec![(0.0, 0.0), (1.0, 1.0)];
    Series { name: name.to_owned(), points, style: SeriesStyle::Reference }
}

/// Shortens a label for a legend.
fn shortened(label: &str) -> String {
    let label = clean(label).replace(['\n', '\t'], " ");
    match label.char_indices().nth(LONGEST_LABEL) {
        Some((end, _)) => format!("{}…", &label[..end]),
        None => label,
    }
}

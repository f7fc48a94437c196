//! The two plots: whether probabilities can be believed, and how well classes are
//! told apart.

use std::cmp::Ordering;

use maud::{Markup, html};

use super::{
    chart::{Frame, at, down, length},
    tables::head,
    text::{clean, number, percent},
};
use crate::metrics::{ClassificationReport, ReliabilityBin, RocCurve};

/// Most curves in a plot; with more, none could be followed.
const MOST_CURVES: usize = 12;
/// Colours of the style sheet. A curve beyond the last has its colour again, dashed.
const COLORS: usize = 6;

/// The reliability diagram, and its numbers as a table.
pub(super) fn reliability(report: &ClassificationReport) -> Markup {
    let error = percent(report.expected_calibration_error);
    let description = format!(
        "For each range of the highest probability, the part of the rows that was classified \
         rightly. On the diagonal both are equal; the mean distance is {error}."
    );
    let frame = Frame {
        id: "reliability",
        title: "Reliability diagram",
        description: &description,
        x: "highest probability",
        y: "part classified rightly",
    };
    let filled = || report.reliability.iter().filter(|bin| bin.rows > 0);
    html! {
        figure {
            (frame.draw(&html! { @for bin in filled() { (bar(bin)) } }))
            figcaption {
                "Bars: the part that was right. Lines: the mean probability there. Expected \
                 calibration error " (error) "."
            }
            details {
                summary { "The numbers of the reliability diagram" }
                table {
                    (head(&["highest probability", "rows", "mean probability", "right"]))
                    tbody {
                        @for bin in filled() {
                            tr {
                                th scope="row" { (range(bin)) }
                                td { (bin.rows) }
                                td { (number(bin.confidence)) }
                                td { (number(bin.accuracy)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn range(bin: &ReliabilityBin) -> String {
    format!("{:.3} to {:.3}", bin.low, bin.high)
}

fn bar(bin: &ReliabilityBin) -> Markup {
    let (accuracy, confidence) = (bin.accuracy.unwrap_or(0.0), bin.confidence.unwrap_or(0.0));
    html! {
        g {
            title { (range(bin)) ": " (bin.rows) " rows, " (percent(accuracy)) " right" }
            rect.bar x=(at(bin.low)) y=(down(accuracy)) width=(length(bin.high - bin.low))
                height=(length(accuracy)) {}
            line.mean x1=(at(bin.low)) y1=(down(confidence)) x2=(at(bin.high))
                y2=(down(confidence)) {}
        }
    }
}

/// The ROC curves of all classes, or of those that are told apart worst.
pub(super) fn roc(curves: &[RocCurve]) -> Markup {
    let mut shown: Vec<&RocCurve> = curves.iter().collect();
    if shown.len() > MOST_CURVES {
        shown.sort_by(|a, b| a.roc_auc.partial_cmp(&b.roc_auc).unwrap_or(Ordering::Equal));
        shown.truncate(MOST_CURVES);
    }
    let areas: Vec<String> = shown
        .iter()
        .map(|curve| format!("{} {}", clean(&curve.label), number(Some(curve.roc_auc))))
        .collect();
    let description = format!(
        "For each class and every threshold of its probability, the part of its rows above the \
         threshold against that of other rows. Areas: {}.",
        areas.join(", ")
    );
    let frame = Frame {
        id: "roc",
        title: "ROC curves, each class against the rest",
        description: &description,
        x: "part of other rows taken for the class",
        y: "part of the class's rows found",
    };
    html! {
        figure {
            (frame.draw(&html! {
                @for (at, curve) in shown.iter().enumerate() {
                    polyline class=(style(at)) points=(points(curve)) {
                        title { (clean(&curve.label)) }
                    }
                }
            }))
            figcaption { "ROC curves, each class against the rest, and the areas below them." }
            ul.legend {
                @for (at, curve) in shown.iter().enumerate() {
                    li {
                        svg viewBox="0 0 40 10" aria-hidden="true" {
                            line class=(style(at)) x1="0" y1="5" x2="40" y2="5" {}
                        }
                        bdi { (clean(&curve.label)) } " " (number(Some(curve.roc_auc)))
                    }
                }
            }
            @if shown.len() < curves.len() {
                p.note {
                    "These are the " (shown.len()) " of " (curves.len())
                    " classes with the smallest areas."
                }
            }
        }
    }
}

/// Classes of the style sheet for the curve of a number.
fn style(curve: usize) -> String {
    format!("curve c{} d{}", curve % COLORS, curve / COLORS)
}

fn points(curve: &RocCurve) -> String {
    let point = |point: &crate::metrics::RocPoint| {
        format!("{},{}", at(point.false_positive_rate), down(point.true_positive_rate))
    };
    curve.points.iter().map(point).collect::<Vec<_>>().join(" ")
}

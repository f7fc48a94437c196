//! Plots of an evaluation of a classifier, and their numbers.

use maud::{Markup, PreEscaped, html};

use super::{
    page::head,
    text::{number, percent},
};
use crate::{
    metrics::{ClassificationReport, RocCurve},
    reports::{
        evaluation_plots::{MOST_CURVES, reliability_plot, roc_plot},
        plots::{Plot, PlotError},
    },
};

/// Reliability diagram, and its numbers as a table.
pub(super) fn reliability(report: &ClassificationReport) -> Result<Markup, PlotError> {
    let error = percent(report.expected_calibration_error);
    let description =
        format!("Expected calibration error {error}: the mean distance from the diagonal.");
    let plot = inline_svg(&reliability_plot(report), &description)?;
    Ok(html! {
        figure {
            (plot)
            figcaption { (description) }
            details {
                summary { "Numbers of the reliability diagram" }
                table {
                    (head(&["confidence", "examples", "mean confidence", "accuracy"]))
                    tbody {
                        @for bin in report.reliability.iter().filter(|bin| bin.examples > 0) {
                            tr {
                                th scope="row" { (format!("{:.3} to {:.3}", bin.low, bin.high)) }
                                td { (bin.examples) }
                                td { (number(bin.confidence)) }
                                td { (number(bin.accuracy)) }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// ROC curves of all classes, or of the classes with the smallest areas.
pub(super) fn roc(curves: &[RocCurve]) -> Result<Markup, PlotError> {
    let mut shown: Vec<&RocCurve> = curves.iter().collect();
    if shown.len() > MOST_CURVES {
        shown.sort_by(|a, b| a.roc_auc.total_cmp(&b.roc_auc));
        shown.truncate(MOST_CURVES);
    }
    let mut description = "True positive rate over false positive rate for every threshold of a \
                           class's probability."
        .to_owned();
    if shown.len() < curves.len() {
        description += &format!(
            " These are the {} of {} classes with the smallest areas under the curve (AUC).",
            shown.len(),
            curves.len()
        );
    }
    let plot = inline_svg(&roc_plot(&shown), &description)?;
    Ok(html! { figure { (plot) figcaption { (description) } } })
}

/// Returns a plot as part of the page.
pub(super) fn inline_svg(plot: &Plot, description: &str) -> Result<Markup, PlotError> {
    // HTML knows the namespace, which looks like an address.
    let svg = plot.svg()?.replacen(r#" xmlns="http://www.w3.org/2000/svg""#, "", 1);
    let label = format!("{}. {description}", plot.title);
    Ok(html! { div.plot role="img" aria-label=(label) { (PreEscaped(svg)) } })
}

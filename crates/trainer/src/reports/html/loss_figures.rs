//! Plots of an evaluation of a language model, and their numbers.

use maud::{Markup, html};

use super::{
    figures::inline_svg,
    page::head,
    text::{decimal, percent},
};
use crate::{
    metrics::{LanguageModelEvaluation, LengthBin, LossBin, by_length, histogram},
    reports::{
        loss_plots::{histogram_plot, length_plot},
        plots::PlotError,
    },
};

/// Histogram of the loss and loss by length, if the loss is finite.
pub(super) fn losses(evaluation: &LanguageModelEvaluation) -> Result<Markup, PlotError> {
    let (bins, by_length) = (histogram(&evaluation.scored), by_length(&evaluation.scored));
    if bins.is_empty() || !evaluation.loss.is_finite() {
        return Ok(html! { p { "No example has a finite loss." } });
    }
    let histogram = loss_histogram(&bins, evaluation.loss)?;
    let lengths = loss_by_length(&by_length, evaluation.loss)?;
    Ok(html! { div.figures { (histogram) (lengths) } })
}

/// Histogram of the loss of the examples, and its numbers as a table.
fn loss_histogram(bins: &[LossBin], mean: f64) -> Result<Markup, PlotError> {
    let examples: usize = bins.iter().map(|bin| bin.examples).sum();
    let fraction = |count: usize| count as f64 / examples.max(1) as f64;
    let description = "Fraction of the examples by the mean loss of their tokens. Examples far to the \
                       right may be unlike the training data, or have errors.";
    let plot = inline_svg(&histogram_plot(bins, mean), description)?;
    Ok(html! {
        figure {
            (plot)
            figcaption { (description) }
            details {
                summary { "Numbers of the histogram" }
                table {
                    (head(&["loss (nats)", "examples", "fraction"]))
                    tbody {
                        @for bin in bins.iter().filter(|bin| bin.examples > 0) {
                            tr {
                                th scope="row" { (format!("{:.2} to {:.2}", bin.low, bin.high)) }
                                td { (bin.examples) }
                                td { (percent(fraction(bin.examples))) }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// Loss by the length of examples, and its numbers as a table.
fn loss_by_length(bins: &[LengthBin], mean: f64) -> Result<Markup, PlotError> {
    let description = "Mean loss of the tokens of examples of similar length: at most ten points, of \
                       about equally many examples. Equal lengths share a point.";
    let plot = inline_svg(&length_plot(bins, mean), description)?;
    Ok(html! {
        figure {
            (plot)
            figcaption { (description) }
            details {
                summary { "Numbers of the loss by length" }
                table {
                    (head(&["tokens", "examples", "mean tokens", "loss (nats)"]))
                    tbody {
                        @for bin in bins {
                            tr {
                                th scope="row" { (bin.shortest) " to " (bin.longest) }
                                td { (bin.examples) }
                                td { (format!("{:.1}", bin.mean_length())) }
                                td { (decimal(bin.mean_loss())) }
                            }
                        }
                    }
                }
            }
        }
    })
}

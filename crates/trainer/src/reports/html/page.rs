//! HTML page around tables and plots.

use indicatif::HumanCount;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    figures, tables,
    text::{clean, number, percent},
};
use crate::{
    error::Result,
    metrics::{ClassificationReport, MisclassifiedExample, RocCurve},
};

const STYLE: &str = include_str!("style.css");
/// Forbids to fetch or run anything, whatever the texts contain.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Renders the page of an evaluation.
///
/// `facts` are names and values shown at the top, such as the adapter and the data. The
/// [`MOST_MISCLASSIFIED`](super::MOST_MISCLASSIFIED) misclassified examples with the highest
/// probability are shown and the others are counted.
///
/// # Errors
/// [`crate::Error::Plot`].
pub fn render(
    report: &ClassificationReport,
    facts: &[(String, String)],
    curves: &[RocCurve],
    misclassified: &[MisclassifiedExample],
) -> Result<String> {
    let title = match facts.first() {
        Some((_, value)) => format!("Evaluation of {}", clean(value)),
        None => "Evaluation of a classifier".to_owned(),
    };
    let reliability = figures::reliability(report)?;
    let roc = if curves.is_empty() { None } else { Some(figures::roc(curves)?) };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    @if !facts.is_empty() { (self::facts(facts)) }
                    (headline(report))
                    h2 { "Metrics of each class" }
                    (tables::classes(report))
                    h2 { "Confusion matrix" }
                    (tables::confusion(report))
                    h2 { "ROC curve and reliability diagram" }
                    div.figures {
                        @if let Some(roc) = roc { (roc) }
                        (reliability)
                    }
                    h2 { "Misclassified examples" }
                    (tables::misclassified(misclassified, report.misclassified))
                }
            }
        }
    };
    Ok(page.into_string())
}

fn facts(facts: &[(String, String)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts {
                dt { (clean(name)) }
                dd dir="auto" { (clean(value)) }
            }
        }
    }
}

/// Overall metrics.
fn headline(report: &ClassificationReport) -> Markup {
    let interval = report.accuracy_interval;
    let interval =
        format!("95 % confidence interval {} to {}", percent(interval.low), percent(interval.high));
    let correct = format!(
        "{} of {} examples correct",
        HumanCount(report.examples - report.misclassified),
        HumanCount(report.examples)
    );
    let numbers = [
        ("accuracy", percent(report.accuracy), vec![correct, interval]),
        (
            "majority class",
            percent(report.majority_class.accuracy),
            vec![format!("always predicting {}", clean(&report.majority_class.label))],
        ),
        ("macro F1", number(Some(report.macro_average.f1)), vec![]),
        ("weighted F1", number(Some(report.weighted_f1)), vec![]),
        ("macro ROC AUC", number(report.macro_average.roc_auc), vec![]),
        ("mean loss (nats)", format!("{:.4}", report.mean_loss), vec![]),
        ("expected calibration error", percent(report.expected_calibration_error), vec![]),
    ];
    html! {
        dl.headline {
            @for (name, value, more) in &numbers {
                div {
                    dt { (name) }
                    dd { (value) }
                    @for more in more { dd.more { (more) } }
                }
            }
        }
    }
}

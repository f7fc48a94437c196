//! The page around tables and plots.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    figures, tables,
    text::{clean, number, percent},
};
use crate::{
    metrics::{ClassificationReport, Mistake, RocCurve},
    reports::run_report::grouped,
};

const STYLE: &str = include_str!("style.css");
/// Nothing is fetched and nothing is run, whatever the texts say.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole page.
pub(super) fn page(
    report: &ClassificationReport,
    facts: &[(String, String)],
    curves: &[RocCurve],
    mistakes: &[Mistake],
) -> Markup {
    let title = match facts.first() {
        Some((_, value)) => format!("Evaluation of {}", clean(value)),
        None => "Evaluation of a classifier".to_owned(),
    };
    html! {
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
                    h2 { "Every class" }
                    (tables::classes(report))
                    h2 { "Confusion matrix" }
                    (tables::confusion(report))
                    h2 { "Curves" }
                    div.figures {
                        (figures::reliability(report))
                        @if !curves.is_empty() { (figures::roc(curves)) }
                    }
                    h2 { "Mistakes" }
                    (tables::mistakes(mistakes, report.mistakes()))
                }
            }
        }
    }
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

/// The numbers that are looked at first.
fn headline(report: &ClassificationReport) -> Markup {
    let interval = report.accuracy_interval;
    let interval = format!("95 % interval {} to {}", percent(interval.low), percent(interval.high));
    let right = format!(
        "{} of {} rows right",
        grouped(report.rows - report.mistakes()),
        grouped(report.rows)
    );
    let numbers = [
        ("accuracy", percent(report.accuracy), vec![right, interval]),
        ("mean F1 of classes", number(Some(report.macro_average.f1)), vec![]),
        ("F1, classes by their rows", number(Some(report.weighted_f1)), vec![]),
        ("mean ROC AUC of classes", number(report.macro_average.roc_auc), vec![]),
        ("mean loss (nats)", format!("{:.4}", report.mean_loss), vec![]),
        ("calibration error", percent(report.expected_calibration_error), vec![]),
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

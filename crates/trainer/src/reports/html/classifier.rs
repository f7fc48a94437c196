//! Page of an evaluation of a classifier.

use indicatif::HumanCount;
use maud::{Markup, html};

use super::{
    figures,
    page::{Metric, headline, page},
    tables,
    text::{clean, confidence_interval, number, percent},
};
use crate::{
    error::Result,
    metrics::{ClassificationReport, MisclassifiedExample, RocCurve},
};

/// Renders the page of an evaluation of a classifier.
///
/// `facts` are names and values shown at the top, such as the adapter and the data. The
/// [`MOST_EXAMPLES`](super::MOST_EXAMPLES) misclassified examples with the highest probability are shown
/// and the others are counted.
///
/// # Errors
/// [`crate::Error::Plot`].
pub fn render_classifier(
    report: &ClassificationReport,
    facts: &[(String, String)],
    curves: &[RocCurve],
    misclassified: &[MisclassifiedExample],
) -> Result<String> {
    let reliability = figures::reliability(report)?;
    let roc = if curves.is_empty() { None } else { Some(figures::roc(curves)?) };
    let results = html! {
        (overall(report))
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
    };
    Ok(page("a classifier", facts, &results))
}

/// Overall metrics.
fn overall(report: &ClassificationReport) -> Markup {
    let correct = format!(
        "{} of {} examples correct",
        HumanCount(report.examples - report.misclassified),
        HumanCount(report.examples)
    );
    let interval = confidence_interval(report.accuracy_interval);
    let majority = format!("always predicting {}", clean(&report.majority_class.label));
    let numbers = [
        ("accuracy", percent(report.accuracy), vec![correct, interval]),
        ("majority class", percent(report.majority_class.accuracy), vec![majority]),
        ("macro F1", number(Some(report.macro_average.f1)), vec![]),
        ("weighted F1", number(Some(report.weighted_f1)), vec![]),
        ("macro ROC AUC", number(report.macro_average.roc_auc), vec![]),
        ("mean loss (nats)", format!("{:.4}", report.mean_loss), vec![]),
        ("expected calibration error", percent(report.expected_calibration_error), vec![]),
    ];
    headline(&numbers.map(|(name, value, more)| Metric { name, value, more }))
}

//! Tables of an evaluation of a classifier: classes, confusion matrix, misclassified examples.

use maud::{Markup, html};

use super::{
    MOST_EXAMPLES,
    page::{head, wide},
    text::{clean, number, percent, text, whole_percent},
};
use crate::metrics::{ClassificationReport, MisclassifiedExample};

/// Opacity of a cell with all examples of its class; with more, its text would be hard to
/// read.
const MAX_OPACITY: f64 = 0.6;

/// Most confusions on a page.
const MOST_CONFUSIONS: usize = 100;

/// Precision, recall, F1, examples and ROC AUC of every class, and their means.
pub(super) fn classes(report: &ClassificationReport) -> Markup {
    let average = &report.macro_average;
    let table = html! {
        table {
            caption { "Each class versus the rest, and the unweighted mean of the classes with examples." }
            (head(&["class", "precision", "recall", "F1", "examples", "ROC AUC"]))
            tbody {
                @for class in &report.per_class {
                    tr {
                        th scope="row" dir="auto" { (clean(&class.label)) }
                        td { (number(class.precision)) }
                        td { (number(class.recall)) }
                        td { (number(class.f1)) }
                        td { (class.support) }
                        td { (number(class.roc_auc)) }
                    }
                }
            }
            tfoot {
                tr {
                    th scope="row" { "macro average" }
                    td { (number(Some(average.precision))) }
                    td { (number(Some(average.recall))) }
                    td { (number(Some(average.f1))) }
                    td { (report.examples) }
                    td { (number(average.roc_auc)) }
                }
            }
        }
    };
    html! {
        (wide("Metrics of each class", &table))
        p.note {
            "A dash marks an undefined value: precision if nothing was predicted as the class, \
             recall without examples of it. An undefined precision counts as 0 in the mean; an \
             undefined ROC AUC does not count."
        }
        @if let Some(absent) = report.absent_classes() { p.note { (clean(&absent)) } }
    }
}

/// Confusion matrix; the deeper a color, the larger the fraction of the class.
pub(super) fn confusion(report: &ClassificationReport) -> Markup {
    if report.confusion.is_empty() {
        return most_frequent_confusions(report);
    }
    let table = html! {
        table.heat {
            caption {
                "Confusion matrix (rows: true class, columns: predicted class). Percentages are \
                 fractions of the true class."
            }
            thead {
                tr {
                    th scope="col" { "true class" }
                    @for class in &report.per_class {
                        th scope="col" dir="auto" { (clean(&class.label)) }
                    }
                }
            }
            tbody {
                @for (index, class) in report.per_class.iter().enumerate() {
                    tr {
                        th scope="row" dir="auto" { (clean(&class.label)) }
                        @for (predicted, &count) in report.confusion[index].iter().enumerate() {
                            (cell(count, class.support, index == predicted))
                        }
                    }
                }
            }
        }
    };
    wide("Confusion matrix", &table)
}

/// Most frequent confusions, instead of a matrix of many classes.
fn most_frequent_confusions(report: &ClassificationReport) -> Markup {
    let table = html! {
        table.texts {
            caption { "Most frequent confusions." }
            (head(&["true class", "predicted class", "examples"]))
            tbody {
                @for confusion in report.confusions.iter().take(MOST_CONFUSIONS) {
                    tr {
                        td dir="auto" { (clean(&confusion.label)) }
                        td dir="auto" { (clean(&confusion.predicted)) }
                        td.number { (confusion.examples) }
                    }
                }
            }
        }
    };
    wide("Most frequent confusions", &table)
}

fn cell(count: u64, support: u64, is_correct: bool) -> Markup {
    let fraction = count as f64 / support.max(1) as f64;
    let share = format!("--share: {:.3}", MAX_OPACITY * fraction);
    let class = if is_correct { "correct" } else { "wrong" };
    html! {
        td class=(class) style=(share) { (count) @if count > 0 { small { (whole_percent(fraction)) } } }
    }
}

/// Misclassified examples, highest probability first. `all` is their number, which may be
/// more than the length of `examples`.
pub(super) fn misclassified(examples: &[MisclassifiedExample], all: u64) -> Markup {
    let mut worst: Vec<&MisclassifiedExample> = examples.iter().collect();
    // Stable, so that the page is too.
    worst.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    worst.truncate(MOST_EXAMPLES);
    let rest = all.max(examples.len() as u64) - worst.len() as u64;
    let table = html! {
        table.texts {
            caption { "Highest probability first." }
            (head(&["true class", "predicted class", "probability", "text"]))
            tbody { @for example in &worst { (misclassified_row(example)) } }
        }
    };
    html! {
        @if !worst.is_empty() { (wide("Misclassified examples", &table)) }
        @if worst.is_empty() && rest == 0 { p { "All examples were classified correctly." } }
        @else if rest > 0 { p.note { "And " (rest) " more." } }
    }
}

fn misclassified_row(example: &MisclassifiedExample) -> Markup {
    html! {
        tr {
            td dir="auto" { (clean(&example.label)) }
            td dir="auto" { (clean(&example.predicted)) }
            td.number { (percent(example.probability)) }
            td.text dir="auto" { (text(&example.text)) }
        }
    }
}

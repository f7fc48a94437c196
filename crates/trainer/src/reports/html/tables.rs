//! The tables: classes, confusions, mistakes.

use maud::{Markup, html};

use super::{
    MOST_MISTAKES,
    text::{beginning, clean, number, percent, whole_percent},
};
use crate::metrics::{ClassificationReport, Mistake};

/// How much of its colour a cell has if it holds all rows of its class; with more,
/// its text could not be read well, in the light or in the dark.
const DEEPEST: f64 = 0.6;

/// A table that may be wider than the page, and can be scrolled by keyboard then.
fn wide(name: &str, table: &Markup) -> Markup {
    html! { div.wide role="region" tabindex="0" aria-label=(name) { (table) } }
}

/// The names of columns.
pub(super) fn head(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}

/// Precision, recall, F1, rows and area of every class, and their means.
pub(super) fn classes(report: &ClassificationReport) -> Markup {
    let average = &report.macro_average;
    let table = html! {
        table {
            caption { "Each class against the rest, and the mean of all." }
            (head(&["class", "precision", "recall", "F1", "rows", "ROC AUC"]))
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
                    th scope="row" { "mean of classes" }
                    td { (number(Some(average.precision))) }
                    td { (number(Some(average.recall))) }
                    td { (number(Some(average.f1))) }
                    td { (report.rows) }
                    td { (number(average.roc_auc)) }
                }
            }
        }
    };
    html! {
        (wide("Every class", &table))
        p.note {
            "A dash stands for what is not defined: precision if no row was taken for the class, \
             recall if no row is of it. Such a value counts as 0 in the mean; an area that is not \
             defined does not count."
        }
    }
}

/// The confusion matrix; the deeper a colour, the larger the part of the class.
pub(super) fn confusion(report: &ClassificationReport) -> Markup {
    let table = html! {
        table.heat {
            caption {
                "Rows: the true class. Columns: what it was taken for. In percent: the part of \
                 the class."
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
                @for (of, class) in report.per_class.iter().enumerate() {
                    tr {
                        th scope="row" dir="auto" { (clean(&class.label)) }
                        @for (taken_for, &count) in report.confusion[of].iter().enumerate() {
                            (cell(count, class.support, of == taken_for))
                        }
                    }
                }
            }
        }
    };
    wide("Confusion matrix", &table)
}

fn cell(count: u64, support: u64, right: bool) -> Markup {
    let part = count as f64 / support.max(1) as f64;
    let share = format!("--share: {:.3}", DEEPEST * part);
    let class = if right { "right" } else { "wrong" };
    html! {
        td class=(class) style=(share) { (count) @if count > 0 { small { (whole_percent(part)) } } }
    }
}

/// The rows that were classified wrongly, those first of which the classifier was
/// most certain. `all` is how many there are, which may be more than are given.
pub(super) fn mistakes(mistakes: &[Mistake], all: u64) -> Markup {
    let mut worst: Vec<&Mistake> = mistakes.iter().collect();
    // The order of those of one probability stays, so that the page does.
    worst.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    worst.truncate(MOST_MISTAKES);
    let rest = all.max(mistakes.len() as u64) - worst.len() as u64;
    let table = html! {
        table.texts {
            caption { "The most certain first." }
            (head(&["true", "taken for", "probability", "text"]))
            tbody { @for mistake in &worst { (mistake_row(mistake)) } }
        }
    };
    html! {
        @if !worst.is_empty() { (wide("Mistakes", &table)) }
        @if worst.is_empty() && rest == 0 { p { "Every row was classified rightly." } }
        @else if rest > 0 { p.note { "And " (rest) " more that are not shown." } }
    }
}

fn mistake_row(mistake: &Mistake) -> Markup {
    let (text, more) = beginning(&mistake.text);
    html! {
        tr {
            td dir="auto" { (clean(&mistake.label)) }
            td dir="auto" { (clean(&mistake.predicted)) }
            td.number { (percent(mistake.probability)) }
            td.text dir="auto" {
                (text)
                @if more > 0 { " … " small { "(" (more) " more characters)" } }
            }
        }
    }
}

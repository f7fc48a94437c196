//! Pages of evaluations of classifiers.

use proptest::prelude::*;

use super::markup_check::parse;
use crate::{
    metrics::{Classification, ClassificationReport, MisclassifiedExample, RocCurve, RocPoint},
    reports::html::{
        MOST_EXAMPLES,
        text::{number, percent},
    },
};

pub(super) const SCRIPT: &str =
    "<script>alert(\"&'\")</script></td></table><img src=x onerror=alert(1)>";

/// Examples of three classes, each predicted as itself or the next, the last absent.
fn examples(labels: [&str; 3], count: usize) -> Classification {
    let mut seen = Classification::new(labels).unwrap();
    for row in 0..count {
        let probability = 0.4 + 0.5 * row as f64 / count as f64;
        let mut probabilities = [0.0, 0.0, 0.1];
        probabilities[usize::from(row % 5 == 0)] = probability;
        probabilities[usize::from(row % 5 != 0)] = 0.9 - probability;
        seen.push(usize::from(row % 7 == 0), &probabilities).unwrap();
    }
    seen
}

fn misclassified(probability: f64, text: &str) -> MisclassifiedExample {
    MisclassifiedExample {
        row: 0,
        label: "ham".to_owned(),
        predicted: "spam".to_owned(),
        probability,
        probability_of_label: 1.0 - probability,
        text: text.to_owned(),
    }
}

fn render(
    report: &ClassificationReport,
    facts: &[(String, String)],
    curves: &[RocCurve],
    misclassified: &[MisclassifiedExample],
) -> String {
    crate::reports::html::render_classifier(report, facts, curves, misclassified).unwrap()
}

fn facts() -> Vec<(String, String)> {
    [("adapter", "runs/a/adapter"), ("data", "data & more.tsv"), ("rows", "60")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

fn page() -> (ClassificationReport, String) {
    let seen = examples(["ham", "spam", "none"], 60);
    let report = seen.report().unwrap();
    let wrong = [misclassified(0.7, "one"), misclassified(0.9, "two"), misclassified(0.8, "three")];
    let page = render(&report, &facts(), &seen.roc_curves(), &wrong);
    (report, page)
}

#[test]
fn tags_are_balanced_and_nothing_is_fetched_or_executed() {
    check_nothing_is_fetched(&page().1);
}

/// Checks that a page fetches and executes nothing, and that its ids are unique.
pub(super) fn check_nothing_is_fetched(page: &str) {
    let found = parse(page).unwrap();
    for element in ["script", "img", "iframe", "link", "object", "a"] {
        assert!(!found.elements.iter().any(|name| name == element), "{element}");
    }
    for attribute in found.attributes {
        assert!(!["src", "href", "xlink:href"].contains(&attribute.as_str()), "{attribute}");
        assert!(!attribute.starts_with("on"), "{attribute}");
    }
    assert!(!page.contains("url(") && !page.contains("@import") && !page.contains("://"));
    let mut ids = found.ids.clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), found.ids.len(), "{ids:?}");
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn markup_in_texts_is_escaped() {
    let seen = examples([SCRIPT, "a\"b", "&amp;"], 60);
    let report = seen.report().unwrap();
    let facts = [(SCRIPT.to_owned(), SCRIPT.to_owned())];
    let bad = MisclassifiedExample {
        label: SCRIPT.to_owned(),
        predicted: SCRIPT.to_owned(),
        ..misclassified(0.5, SCRIPT)
    };
    let page = render(&report, &facts, &seen.roc_curves(), &[bad]);
    let found = parse(&page).unwrap();
    assert!(!found.elements.iter().any(|name| ["script", "img"].contains(&name.as_str())));
    assert!(!page.contains("<script") && !page.contains("<img"));
    let escaped = "&lt;script&gt;alert(&quot;&amp;'&quot;)&lt;/script&gt;";
    // Title, heading, fact (twice), class table, confusion matrix (twice), misclassified
    // example (3 times); the legend of the plot truncates it.
    assert!(page.matches(escaped).count() >= 10, "{}", page.matches(escaped).count());
    assert!(page.contains("&amp;amp;"));
}

#[test]
fn same_evaluation_gives_the_same_bytes() {
    assert!(page().1 == page().1);
}

#[test]
fn page_has_every_metric_of_the_report() {
    let (report, page) = page();
    let has = |text: String| assert!(page.contains(&text), "{text} is not in the page");
    let cell = |text: String| has(format!("<td>{text}</td>"));
    for class in &report.per_class {
        has(format!(">{}</th>", class.label));
        for value in [class.precision, class.recall, class.f1, class.roc_auc] {
            cell(number(value));
        }
        cell(class.support.to_string());
    }
    let average = report.macro_average;
    for value in [average.precision, average.recall, average.f1] {
        cell(number(Some(value)));
    }
    cell(number(average.roc_auc));
    for count in report.confusion.iter().flatten() {
        let end = if *count > 0 { "<small>" } else { "</td>" };
        has(format!("\">{count}{end}"));
    }
    for bin in report.reliability.iter().filter(|bin| bin.examples > 0) {
        cell(bin.examples.to_string());
        cell(number(bin.confidence));
        cell(number(bin.accuracy));
    }
    for value in [report.accuracy, report.expected_calibration_error] {
        has(format!("<dd>{}</dd>", percent(value)));
    }
    has(format!("<dd>{:.4}</dd>", report.mean_loss));
    has(format!("<dd>{:.4}</dd>", report.weighted_f1));
    let (low, high) = (report.accuracy_interval.low, report.accuracy_interval.high);
    has(format!("{} to {}", percent(low), percent(high)));
    has(format!("<dd>{}</dd>", percent(report.majority_class.accuracy)));
    has("absent from the data: &quot;none&quot;".to_owned());
    has(format!("{} of 60 examples correct", 60 - report.misclassified));
    for (name, value) in facts() {
        has(format!("<dt>{name}</dt><dd dir=\"auto\">{}</dd>", value.replace('&', "&amp;")));
    }
}

#[test]
fn undefined_metrics_are_dashes() {
    let (report, page) = page();
    assert_eq!(report.per_class[2].precision, None);
    let row = page.split("none</th>").nth(1).unwrap();
    assert!(row.starts_with("<td>–</td><td>–</td><td>–</td><td>0</td><td>–</td>"), "{row}");
}

#[test]
fn most_probable_misclassified_examples_come_first_and_others_are_counted() {
    let (report, page) = page();
    let at = |text: &str| page.find(&format!(">{text}</td>")).unwrap();
    assert!(at("two") < at("three") && at("three") < at("one"));
    let rest = report.misclassified - 3;
    assert!(rest > 0 && page.contains(&format!("And {rest} more.")));

    let seen = examples(["ham", "spam", "none"], 10);
    let many: Vec<MisclassifiedExample> =
        (0..MOST_EXAMPLES + 7).map(|at| misclassified(0.5, &format!("text {at}."))).collect();
    let page = render(&seen.report().unwrap(), &[], &[], &many);
    assert!(page.contains("And 7 more."));
    assert_eq!(page.matches(">text ").count(), MOST_EXAMPLES);
    assert!(page.contains("text 99.") && !page.contains("text 100."));
}

#[test]
fn page_without_misclassified_examples_and_curves() {
    let mut seen = Classification::new(["only"]).unwrap();
    seen.push(0, &[1.0]).unwrap();
    let page = render(&seen.report().unwrap(), &[], &seen.roc_curves(), &[]);
    let found = parse(&page).unwrap();
    assert!(page.contains("All examples were classified correctly."));
    assert_eq!(found.elements.iter().filter(|name| *name == "figure").count(), 1);
}

#[test]
fn curves_with_the_smallest_areas_are_plotted() {
    let point = |rate, threshold| RocPoint {
        false_positive_rate: rate,
        true_positive_rate: rate,
        threshold,
    };
    let curve = |class: u8| RocCurve {
        label: format!("class {class}"),
        roc_auc: 1.0 - f64::from(class) / 40.0,
        points: vec![point(0.0, None), point(1.0, Some(0.0))],
    };
    let curves: Vec<RocCurve> = (0..20).map(curve).collect();
    let report = examples(["ham", "spam", "none"], 10).report().unwrap();
    let page = render(&report, &[], &curves, &[]);
    parse(&page).unwrap();
    assert!(page.contains("These are the 8 of 20 classes with the smallest areas"));
    assert_eq!(page.matches("\nclass ").count(), 8);
    assert!(page.contains("\nclass 12 (AUC 0.7000)\n") && !page.contains("\nclass 11 (AUC"));
}

proptest! {
    #[test]
    fn no_text_breaks_the_markup(
        label in "\\PC{1,12}", value in any::<String>(), text in any::<String>()
    ) {
        let seen = examples([&label, "other label", "third label"], 20);
        let wrong = MisclassifiedExample { label: label.clone(), ..misclassified(0.5, &text) };
        let facts = [(text, value)];
        let page = render(&seen.report().unwrap(), &facts, &seen.roc_curves(), &[wrong]);
        let found = parse(&page);
        prop_assert!(found.is_ok(), "{:?}", found);
        prop_assert!(!page.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\t')));
    }
}

//! Whole pages.

use proptest::prelude::*;

use super::{
    MOST_MISTAKES, render,
    tags::check,
    text::{number, percent},
    write,
};
use crate::metrics::{Classification, ClassificationReport, Mistake, RocCurve, RocPoint};

const SCRIPT: &str = "<script>alert(\"&'\")</script></td></table><img src=x onerror=alert(1)>";

/// Rows of three classes, each taken for itself or the next, the last without rows.
fn seen(labels: [&str; 3], rows: usize) -> Classification {
    let mut seen = Classification::new(labels).unwrap();
    for row in 0..rows {
        let probability = 0.4 + 0.5 * row as f64 / rows as f64;
        let mut probabilities = [0.0, 0.0, 0.1];
        probabilities[usize::from(row % 5 == 0)] = probability;
        probabilities[usize::from(row % 5 != 0)] = 0.9 - probability;
        seen.push(usize::from(row % 7 == 0), &probabilities).unwrap();
    }
    seen
}

fn mistake(probability: f64, text: &str) -> Mistake {
    Mistake {
        row: 0,
        label: "ham".to_owned(),
        predicted: "spam".to_owned(),
        probability,
        probability_of_label: 1.0 - probability,
        text: text.to_owned(),
    }
}

fn facts() -> Vec<(String, String)> {
    [("adapter", "runs/a/adapter"), ("data", "data & more.tsv"), ("rows", "60")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

fn page() -> (ClassificationReport, String) {
    let seen = seen(["ham", "spam", "none"], 60);
    let report = seen.report().unwrap();
    let mistakes = [mistake(0.7, "one"), mistake(0.9, "two"), mistake(0.8, "three")];
    let page = render(&report, &facts(), &seen.roc_curves(), &mistakes);
    (report, page)
}

#[test]
fn tags_are_balanced_and_nothing_is_fetched_or_run() {
    let (_, page) = page();
    let found = check(&page).unwrap();
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
fn whatever_a_text_says_it_stays_a_text() {
    let seen = seen([SCRIPT, "a\"b", "&amp;"], 60);
    let report = seen.report().unwrap();
    let facts = [(SCRIPT.to_owned(), SCRIPT.to_owned())];
    let bad =
        Mistake { label: SCRIPT.to_owned(), predicted: SCRIPT.to_owned(), ..mistake(0.5, SCRIPT) };
    let page = render(&report, &facts, &seen.roc_curves(), &[bad]);
    let found = check(&page).unwrap();
    assert!(!found.elements.iter().any(|name| ["script", "img"].contains(&name.as_str())));
    assert!(!page.contains("<script") && !page.contains("<img"));
    let escaped = "&lt;script&gt;alert(&quot;&amp;'&quot;)&lt;/script&gt;";
    // Title, heading, fact (twice), three tables, curve, its legend and description.
    assert!(page.matches(escaped).count() >= 10, "{}", page.matches(escaped).count());
    assert!(page.contains("&amp;amp;"));
}

#[test]
fn the_same_evaluation_gives_the_same_bytes() {
    assert!(page().1 == page().1);
}

#[test]
fn every_number_of_the_report_is_there() {
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
    for bin in report.reliability.iter().filter(|bin| bin.rows > 0) {
        cell(bin.rows.to_string());
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
    has(format!("{} of 60 rows right", 60 - report.mistakes()));
    for (name, value) in facts() {
        has(format!("<dt>{name}</dt><dd dir=\"auto\">{}</dd>", value.replace('&', "&amp;")));
    }
}

#[test]
fn what_is_not_defined_is_a_dash() {
    let (report, page) = page();
    assert_eq!(report.per_class[2].precision, None);
    let row = page.split("none</th>").nth(1).unwrap();
    assert!(row.starts_with("<td>–</td><td>–</td><td>–</td><td>0</td><td>–</td>"), "{row}");
}

#[test]
fn the_worst_mistakes_come_first_and_the_rest_is_counted() {
    let (report, page) = page();
    let at = |text: &str| page.find(&format!(">{text}</td>")).unwrap();
    assert!(at("two") < at("three") && at("three") < at("one"));
    let rest = report.mistakes() - 3;
    assert!(rest > 0 && page.contains(&format!("And {rest} more that are not shown.")));

    let seen = seen(["ham", "spam", "none"], 10);
    let many: Vec<Mistake> =
        (0..MOST_MISTAKES + 7).map(|at| mistake(0.5, &format!("text {at}."))).collect();
    let page = render(&seen.report().unwrap(), &[], &[], &many);
    assert!(page.contains("And 7 more that are not shown."));
    assert_eq!(page.matches(">text ").count(), MOST_MISTAKES);
    assert!(page.contains("text 99.") && !page.contains("text 100."));
}

#[test]
fn without_mistakes_and_curves_there_is_a_page_still() {
    let mut seen = Classification::new(["only"]).unwrap();
    seen.push(0, &[1.0]).unwrap();
    let page = render(&seen.report().unwrap(), &[], &seen.roc_curves(), &[]);
    let found = check(&page).unwrap();
    assert!(page.contains("Every row was classified rightly."));
    assert_eq!(found.elements.iter().filter(|name| *name == "figure").count(), 1);
}

#[test]
fn of_many_curves_those_of_the_smallest_areas_are_drawn() {
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
    let report = seen(["ham", "spam", "none"], 10).report().unwrap();
    let page = render(&report, &[], &curves, &[]);
    check(&page).unwrap();
    assert_eq!(page.matches("<polyline").count(), 12);
    assert!(page.contains("These are the 12 of 20 classes with the smallest areas."));
    assert!(page.contains("<bdi>class 8</bdi> 0.8000") && !page.contains("<bdi>class 7</bdi>"));
}

#[test]
fn a_page_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evaluation.html");
    let seen = seen(["ham", "spam", "none"], 60);
    let (report, curves) = (seen.report().unwrap(), seen.roc_curves());
    write(&path, &report, &facts(), &curves, &[]).unwrap();
    let expected = render(&report, &facts(), &curves, &[]);
    assert!(std::fs::read_to_string(&path).unwrap() == expected);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let path = folder.path().join("nowhere").join("evaluation.html");
    let error = write(&path, &report, &facts(), &curves, &[]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write {}: ", path.display())), "{error}");
}

proptest! {
    #[test]
    fn no_text_breaks_the_page(
        label in "\\PC{1,12}", value in any::<String>(), text in any::<String>()
    ) {
        let seen = seen([&label, "other label", "third label"], 20);
        let wrong = Mistake { label: label.clone(), ..mistake(0.5, &text) };
        let facts = [(text, value)];
        let page = render(&seen.report().unwrap(), &facts, &seen.roc_curves(), &[wrong]);
        let found = check(&page);
        prop_assert!(found.is_ok(), "{:?}", found);
        prop_assert!(!page.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\t')));
    }
}

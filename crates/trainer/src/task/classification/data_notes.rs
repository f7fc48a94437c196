//! Notes about dropped rows, truncated texts, and surprising labels. Each is one line of bounded
//! length, whatever the number of rows and classes.

use dataset::{Duplicates, PreparedSplit, RowCounts, TokenizedSplit};

use crate::{
    config::{
        resolve::ResolvedRun,
        settings::{Balance, DataSettings},
    },
    label_list::quoted,
    reports::SplitSizes,
    training::observer::Observer,
};

/// Most classes in a note, and fewest examples of a class that need none.
const LISTED: usize = 10;

/// Usual names of the label column.
const COLUMN_NAMES: [&str; 3] = ["label", "labels", "class"];

/// Notes about rows, labels and sets.
pub(crate) fn note_data(prepared: &PreparedSplit, run: &ResolvedRun, observer: &mut dyn Observer) {
    let counts = &prepared.counts;
    let mut note = |note: Option<String>| {
        if let Some(note) = note {
            observer.notice(&note);
        }
    };
    note(skipped(counts.empty_text, "text", counts));
    note(skipped(counts.without_label, "label", counts));
    note(similar_labels(counts));
    note(singletons(counts));
    note(many_classes(counts));
    note(header_label(&prepared.split.labels, run.settings.data.label_column.as_deref()));
    note(balancing(prepared, &run.settings.data));
    note(missing_classes(prepared));
    note(conflicts(counts));
    note(duplicates(&prepared.split.duplicates()));
}

fn skipped(rows: usize, column: &str, counts: &RowCounts) -> Option<String> {
    let read = counts.read;
    (rows > 0).then(|| format!("skipped {rows} of {read} rows without a {column}"))
}

fn similar_labels(counts: &RowCounts) -> Option<String> {
    let first = counts.alike.first()?;
    let more = match counts.alike.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more such groups)"),
    };
    Some(format!(
        "the labels {} look alike{more}: they differ only in case, white space, Unicode form or \
         leading zeros, but are different classes; unify their spelling if they mean the same",
        quoted(first)
    ))
}

fn singletons(counts: &RowCounts) -> Option<String> {
    let labels = &counts.singletons;
    match labels.len() {
        0 => None,
        1 => Some(format!(
            "label {} has a single example, so it is in only one of the sets",
            quoted(labels)
        )),
        count => Some(format!(
            "{count} labels have a single example each, so they are in only one of the sets: {}",
            quoted(labels)
        )),
    }
}

/// Notes labels that may be identifiers or dates instead of classes.
fn many_classes(counts: &RowCounts) -> Option<String> {
    let (classes, examples) = (counts.examples.len(), counts.used());
    (classes > LISTED && examples / classes < LISTED).then(|| {
        format!(
            "{classes} classes for {examples} examples, fewer than {LISTED} for each on average; \
             name another column with --label-column if these labels are not classes"
        )
    })
}

/// Notes a label that is the name of its column.
fn header_label(labels: &[String], column: Option<&str>) -> Option<String> {
    let is_name = |label: &&String| {
        COLUMN_NAMES.into_iter().chain(column).any(|name| label.eq_ignore_ascii_case(name))
    };
    labels.iter().find(is_name).map(|label| {
        format!(
            "the label {} is the name of a column; remove repeated headers from the data",
            quoted(&[label])
        )
    })
}

/// Counts of each class before and after balancing.
fn balancing(prepared: &PreparedSplit, data: &DataSettings) -> Option<String> {
    if data.balance == Some(Balance::None) {
        return None;
    }
    let before = &prepared.counts.examples;
    let used: Vec<usize> = prepared
        .split
        .class_rows()
        .iter()
        .map(|class| match (&data.test_data, &data.validation_data) {
            (None, _) => class.train + class.validation + class.test,
            (Some(_), None) => class.train + class.validation,
            (Some(_), Some(_)) => class.train,
        })
        .collect();
    let all: usize = before.iter().sum();
    let dropped = all.saturating_sub(used.iter().sum());
    if dropped == 0 {
        return None;
    }
    let classes = prepared.split.labels.iter().zip(before.iter().zip(&used));
    let reduced: Vec<String> = classes
        .filter(|(_, (before, used))| before > used)
        .map(|(label, (before, used))| format!("{}: {before} to {used}", quoted(&[label])))
        .collect();
    let more = match reduced.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more classes"),
    };
    Some(format!(
        "undersampling drops {dropped} of {all} examples ({}{more}); --balance none keeps them",
        reduced[..reduced.len().min(LISTED)].join(", ")
    ))
}

/// Classes without an example in a set.
fn missing_classes(prepared: &PreparedSplit) -> Option<String> {
    let rows = prepared.split.class_rows();
    let sets = ["training", "validation", "test"];
    let missing: Vec<String> = sets
        .iter()
        .enumerate()
        .filter_map(|(set, name)| {
            let without: Vec<&String> = rows
                .iter()
                .filter(|class| [class.train, class.validation, class.test][set] == 0)
                .map(|class| &class.label)
                .collect();
            (!without.is_empty()).then(|| format!("{} in the {name} set", quoted(&without)))
        })
        .collect();
    (!missing.is_empty())
        .then(|| format!("classes without an example: {}; use --stratify", missing.join(", ")))
}

fn conflicts(counts: &RowCounts) -> Option<String> {
    let texts = match counts.conflicting_texts {
        0 => return None,
        1 => "1 text occurs".to_owned(),
        texts => format!("{texts} texts occur"),
    };
    Some(format!("{texts} with different labels; correct the labels, or remove all but one"))
}

fn duplicates(found: &Duplicates) -> Option<String> {
    let within = found.train + found.validation + found.test;
    let across = found.validation_in_train + found.test_in_train + found.test_in_validation;
    if within + across == 0 {
        return None;
    }
    let mut note = format!(
        "duplicate texts: {} within the training set, {} within the validation set, {} within the \
         test set; {} of the training set are also in the validation set, {} in the test set",
        found.train, found.validation, found.test, found.validation_in_train, found.test_in_train
    );
    if found.validation_in_train + found.test_in_train > 0 {
        note += "; accuracy on texts seen in training is too high";
    }
    Some(note)
}

/// Counts the truncated texts and notes them.
pub(crate) fn note_truncation(splits: &TokenizedSplit, observer: &mut dyn Observer) -> SplitSizes {
    let truncated = SplitSizes {
        train: splits.train.truncated(),
        validation: splits.validation.truncated(),
        test: splits.test.truncated(),
    };
    let all = truncated.train + truncated.validation + truncated.test;
    if all > 0 {
        observer.notice(&format!(
            "{all} {} longer than {} tokens and truncated: training {}, validation {}, test {}; the \
             longest has {} tokens",
            if all == 1 { "text is" } else { "texts are" },
            splits.max_length,
            truncated.train,
            truncated.validation,
            truncated.test,
            longest_text(splits),
        ));
    }
    truncated
}

/// Returns the number of tokens of the longest text before truncation.
pub(crate) fn longest_text(splits: &TokenizedSplit) -> usize {
    let sets = [&splits.train, &splits.validation, &splits.test];
    sets.map(|set| set.longest_before_truncation()).into_iter().max().unwrap_or(0)
}

//! How well an adapter does on labelled text that it was not trained on.

use std::{fs, path::Path};

use dataset::TableReader;
use serde::Serialize;
use serde_json::Value;

use crate::{
    error::{Error, Result, quoted},
    inference::predictor::{Classified, Predictor},
    metrics::{Classification, ClassificationReport, Mistake, RocCurve},
    reports::html,
    run::files::{write_json, write_jsonl},
};

/// Rows that are read at a time.
const ROWS: usize = 1024;

/// What an evaluation leaves in its folder.
const REPORT: &str = "evaluation.json";
const PAGE: &str = "evaluation.html";
const MISTAKES: &str = "mistakes.jsonl";

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The measures.
    #[serde(flatten)]
    pub report: ClassificationReport,
    /// Rows that were left out because they have no label.
    pub without_label: usize,
    /// Rows that were left out because they have no text.
    pub without_text: usize,
    /// The rows that were classified wrongly, the surest first.
    #[serde(skip)]
    pub mistakes: Vec<Mistake>,
    /// A curve for each class.
    #[serde(skip)]
    pub curves: Vec<RocCurve>,
}

/// Classifies the rows of a table that has labels and compares. `progress` is told
/// the rows that were read.
///
/// # Errors
/// [`Error::Dataset`] for a row that cannot be read, whose text is longer than the model's
/// context or whose label the adapter does not know, and for a table without a labelled row.
pub fn evaluate(
    predictor: &Predictor,
    table: &mut TableReader,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let labels = predictor.labels();
    let mut seen = Classification::new(labels.iter().cloned())?;
    let (mut without_label, mut without_text, mut mistakes) = (0, 0, Vec::new());
    let mut read = 0;
    while let Some(chunk) = table.next_chunk(ROWS)? {
        let (mut rows, mut classes, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for ((row, text), label) in chunk.rows().zip(chunk.texts()).zip(chunk.labels()) {
            let Some(label) = label else {
                without_label += 1;
                continue;
            };
            if text.trim().is_empty() {
                without_text += 1;
                continue;
            }
            rows.push(row);
            let class = class_of(labels, label).map_err(|reason| {
                let path = chunk.source().to_owned();
                dataset::Error::Row { path, row: row + 1, reason }
            })?;
            classes.push(class);
            texts.push(text.as_str());
        }
        let answers = predictor.predict(&texts).map_err(|error| {
            let path = chunk.source().to_owned();
            error.at(|text, reason| dataset::Error::Row { path, row: rows[text] + 1, reason })
        })?;
        for (((row, class), text), answer) in rows.into_iter().zip(classes).zip(texts).zip(answers)
        {
            seen.push(class, &answer.probabilities)?;
            if answer.label != labels[class] {
                mistakes.push(mistake(row, class, labels, text, &answer));
            }
        }
        read += chunk.len();
        progress(read);
    }
    if seen.rows() == 0 {
        let reason = format!(
            "there is nothing to evaluate on: of {read} rows {without_label} have no label and \
             {without_text} no text; name the columns with --text-column and --label-column"
        );
        let path = table.no_rows().source().to_owned();
        return Err(dataset::Error::Table { path, reason }.into());
    }
    // Stable: of equals the first in the file.
    mistakes.sort_by(|one, other| other.probability.total_cmp(&one.probability));
    Ok(Evaluation {
        report: seen.report()?,
        without_label,
        without_text,
        mistakes,
        curves: seen.roc_curves(),
    })
}

fn class_of(labels: &[String], label: &str) -> Result<usize, String> {
    labels.iter().position(|known| known == label).ok_or_else(|| {
        format!(
            "the adapter does not know the label {label:?}, but {}; take such rows out, or name the \
             right column with --label-column",
            quoted(labels)
        )
    })
}

fn mistake(
    row: usize,
    class: usize,
    labels: &[String],
    text: &str,
    answer: &Classified,
) -> Mistake {
    Mistake {
        row,
        label: labels[class].clone(),
        predicted: answer.label.clone(),
        probability: answer.confidence(),
        probability_of_label: answer.probabilities.get(class).copied().unwrap_or(0.0),
        text: text.to_owned(),
    }
}

/// Refuses a folder whose files of these names are not those of an evaluation, which may
/// be written over.
fn check_folder(folder: &Path) -> Result<()> {
    let report = fs::read(folder.join(REPORT)).unwrap_or_default();
    let report: Value = serde_json::from_slice(&report).unwrap_or_default();
    let is_ours = ["rows", "accuracy", "confusion"].iter().all(|name| report.get(name).is_some());
    match [REPORT, PAGE, MISTAKES].iter().find(|name| folder.join(name).exists()) {
        Some(name) if !is_ours => Err(Error::Config(format!(
            "{} is of no evaluation, for there is no {REPORT} of one beside it; give --out another \
             folder",
            folder.join(name).display()
        ))),
        _ => Ok(()),
    }
}

impl Evaluation {
    /// Writes `evaluation.json`, `evaluation.html` and `mistakes.jsonl` into a
    /// folder, which is made if missing. `facts` say what was evaluated, on what.
    ///
    /// # Errors
    /// [`Error::Write`]; [`Error::Config`] for a folder with files of these names that are
    /// none of an evaluation.
    pub fn write(&self, folder: &Path, facts: &[(String, String)]) -> Result<()> {
        check_folder(folder)?;
        fs::create_dir_all(folder)
            .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        // First what the folder is known by.
        write_json(&folder.join(REPORT), self)?;
        write_jsonl(&folder.join(MISTAKES), &self.mistakes)?;
        html::write(&folder.join(PAGE), &self.report, facts, &self.curves, &self.mistakes)
    }
}

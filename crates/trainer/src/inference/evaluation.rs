//! Evaluation of an adapter on labeled text.

use std::path::{Path, PathBuf};

use dataset::{LabelIndex, TableReader, is_empty_text, labels_of_set};
use serde::Serialize;
use storage::{write_atomic, write_json, write_json_lines};

use crate::{
    error::Result,
    inference::{
        evaluation_files::{MISCLASSIFIED, PAGE, REPORT, begin_evaluation},
        predictor::Predictor,
    },
    label_list::quoted,
    metrics::{Classification, ClassificationReport, MisclassifiedExample, RocCurve},
    reports::html,
};

/// Rows read at a time.
const ROWS: usize = 1024;

/// Result of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Metrics.
    #[serde(flatten)]
    pub report: ClassificationReport,
    /// Rows that were skipped because they have a text and no label.
    pub without_label: usize,
    /// Rows that were skipped because the text is empty ([`is_empty_text`]).
    pub without_text: usize,
    /// Notes on the data.
    #[serde(skip)]
    pub notes: Vec<String>,
    /// Misclassified examples, highest probability first.
    #[serde(skip)]
    pub misclassified: Vec<MisclassifiedExample>,
    /// ROC curve of each class.
    #[serde(skip)]
    pub curves: Vec<RocCurve>,
}

/// Classifies the labeled rows of a table and computes the metrics. `progress` is called with
/// the number of rows read.
///
/// # Errors
/// [`Error::Dataset`](crate::Error::Dataset) for a row that cannot be read, whose text is longer than the model's
/// context, or whose label is unknown to the adapter, and for a table without labeled rows.
pub fn evaluate(
    predictor: &Predictor,
    table: &mut TableReader,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let labels = predictor.labels();
    let known = LabelIndex::new(labels);
    let mut classification = Classification::new(labels.iter().cloned())?;
    let (mut without_label, mut without_text, mut misclassified) = (0, 0, Vec::new());
    let (mut read, mut notes, mut numbered) = (0, Vec::new(), ClassNumbers::default());
    while let Some(chunk) = table.next_chunk(ROWS)? {
        notes.extend(numbered.open(chunk.source()));
        let (mut rows, mut classes, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (text, label)) in chunk.texts().iter().zip(chunk.labels()).enumerate() {
            if is_empty_text(text) {
                without_text += 1;
                continue;
            }
            let Some(label) = label.as_ref().filter(|label| !label.trim().is_empty()) else {
                without_label += 1;
                continue;
            };
            let label = numbered.label(label);
            let class = known.class(label).ok_or_else(|| dataset::Error::UnknownLabel {
                path: chunk.source().to_owned(),
                position: chunk.position(index),
                label: label.to_owned(),
                of: "the adapter".to_owned(),
                labels: labels.to_vec(),
            })?;
            rows.push(index);
            classes.push(class);
            texts.push(text.as_str());
        }
        let answers = predictor
            .classify(&texts)
            .map_err(|error| error.at(|text, reason| chunk.error(rows[text], reason)))?;
        // None of the texts is empty, so each has an answer.
        for (((index, class), text), answer) in
            rows.into_iter().zip(classes).zip(texts).zip(answers.into_iter().flatten())
        {
            classification.push(class, &answer.probabilities)?;
            if answer.label != labels[class] {
                misclassified.push(MisclassifiedExample {
                    row: chunk.rows().start + index,
                    label: labels[class].clone(),
                    probability: answer.confidence(),
                    probability_of_label: answer.probabilities.get(class).copied().unwrap_or(0.0),
                    predicted: answer.label,
                    text: text.to_owned(),
                });
            }
        }
        read += chunk.len();
        progress(read);
    }
    if classification.examples() == 0 {
        let reason = if read == 0 {
            "nothing to evaluate on: the table has no rows".to_owned()
        } else {
            format!(
                "nothing to evaluate on: of {read} rows, {without_label} have no label and \
                 {without_text} no text; name the columns with --text-column and --label-column"
            )
        };
        let path = table.source().to_owned();
        return Err(dataset::Error::Table { path, reason }.into());
    }
    // Stable: ties keep the order of the file.
    misclassified.sort_by(|one, other| other.probability.total_cmp(&one.probability));
    let (report, curves) = (classification.report()?, classification.roc_curves());
    Ok(Evaluation { report, without_label, without_text, notes, misclassified, curves })
}

/// Class numbers in a set that a run has kept (`test.csv`), whose column `Label` is the book's.
#[derive(Default)]
struct ClassNumbers {
    source: PathBuf,
    /// Labels by class number; `None` for a file with labels.
    labels: Option<Vec<String>>,
}

impl ClassNumbers {
    /// Continues with another file. Returns a note if its labels are class numbers.
    fn open(&mut self, source: &Path) -> Option<String> {
        if self.source == source {
            return None;
        }
        self.source = source.to_owned();
        self.labels = labels_of_set(source);
        self.labels.as_ref().map(|labels| {
            format!(
                "{} is a set of a run: its labels are the class numbers of {}, from 0",
                source.display(),
                quoted(labels)
            )
        })
    }

    /// Returns the label for the cell of a row.
    fn label<'a>(&'a self, cell: &'a str) -> &'a str {
        let class = || self.labels.as_ref()?.get(cell.trim().parse::<usize>().ok()?);
        class().map_or(cell, String::as_str)
    }
}

impl Evaluation {
    /// Writes `evaluation.json`, `evaluation.html` and `misclassified.jsonl` into a folder,
    /// which is created if missing. `facts` are names and values that describe the
    /// evaluation.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage), [`Error::Plot`](crate::Error::Plot);
    /// [`AdapterError::ForeignEvaluation`](crate::inference::AdapterError::ForeignEvaluation) for a folder with files of these
    /// names that were not written by an evaluation.
    pub fn write(&self, folder: &Path, facts: &[(String, String)]) -> Result<()> {
        begin_evaluation(folder, &[REPORT, PAGE, MISCLASSIFIED])?;
        // First the file by which the folder is recognized.
        write_json(&folder.join(REPORT), self)?;
        write_json_lines(&folder.join(MISCLASSIFIED), &self.misclassified)?;
        let page = html::render_classifier(&self.report, facts, &self.curves, &self.misclassified)?;
        Ok(write_atomic(&folder.join(PAGE), page.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::inference::has_evaluation;

    #[test]
    fn files_are_written_completely() {
        let mut examples = Classification::new(["ham", "spam"]).unwrap();
        examples.push(0, &[0.9, 0.1]).unwrap();
        examples.push(1, &[0.6, 0.4]).unwrap();
        let (report, curves) = (examples.report().unwrap(), examples.roc_curves());
        let page = html::render_classifier(&report, &[], &curves, &[]).unwrap();
        let misclassified = Vec::new();
        let (without_label, without_text, notes) = (0, 0, Vec::new());
        let evaluation =
            Evaluation { report, without_label, without_text, notes, misclassified, curves };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        for is_there in [false, true] {
            assert_eq!(has_evaluation(&path).unwrap(), is_there);
            evaluation.write(&path, &[]).unwrap();
            assert!(fs::read_to_string(path.join(PAGE)).unwrap() == page);
            assert_eq!(fs::read_dir(&path).unwrap().count(), 3);
        }
        fs::remove_file(path.join(REPORT)).unwrap();
        let error = evaluation.write(&path, &[]).unwrap_err().to_string();
        assert!(error.contains(PAGE) && error.contains("--out"), "{error}");
        fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("file").join("new");
        let error = evaluation.write(&path, &[]).unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.contains("file"), "{error}");
    }
}

//! Classification of tables and streams of any size.

use dataset::{Added, Lines, TableReader, TableWriter};

use crate::{
    error::Result,
    inference::predictor::{Classified, Predictor},
};

/// Rows in memory at a time.
const ROWS: usize = 1024;

/// Lines in memory at a time.
const LINES: usize = 256;

/// Classifies the lines of a stream, one text per line, in their order, and calls `classified`
/// with each line and its prediction.
///
/// # Errors
/// [`Error::Dataset`](crate::Error::Dataset) for a line that cannot be read or is longer than
/// the model's context; errors of the model and of `classified`.
pub fn classify_lines(
    predictor: &Predictor,
    lines: &mut Lines,
    classified: &mut dyn FnMut(&str, &Classified) -> Result<()>,
) -> Result<()> {
    let (mut waiting, mut line, mut is_open) = (Vec::with_capacity(LINES), String::new(), true);
    while is_open {
        is_open = lines.next_text(&mut line)?;
        if is_open {
            waiting.push(std::mem::take(&mut line));
        }
        if is_open && waiting.len() < LINES {
            continue;
        }
        let first = lines.number() + 1 - waiting.len();
        let answers = predictor.classify(&waiting).map_err(|error| {
            let path = lines.name().to_owned();
            error.at(|text, reason| dataset::Error::Line { path, line: first + text, reason })
        })?;
        for (line, answer) in waiting.drain(..).zip(&answers) {
            classified(&line, answer)?;
        }
    }
    Ok(())
}

/// Classifies the rows of a table in their order and writes the table with the added columns
/// `predicted` and `confidence`, and with `probabilities` one `probability of <label>` for
/// each label. `progress` is called with the number of rows written.
///
/// Memory does not grow with the table.
///
/// # Errors
/// [`Error::Dataset`](crate::Error::Dataset) for a row that cannot be read or written, or
/// whose text is longer than the model's context; errors of the model.
pub fn classify_table(
    predictor: &Predictor,
    from: &mut TableReader,
    mut to: TableWriter,
    probabilities: bool,
    progress: &mut dyn FnMut(usize),
) -> Result<usize> {
    let mut rows = 0;
    while let Some(chunk) = from.next_chunk(ROWS)? {
        let answers = predictor.classify(chunk.texts()).map_err(|error| {
            let (path, first) = (chunk.source().to_owned(), chunk.rows().start + 1);
            error.at(|text, reason| dataset::Error::Row { path, row: first + text, reason })
        })?;
        to.write(&chunk, &columns(predictor.labels(), answers, probabilities))?;
        rows += chunk.len();
        progress(rows);
    }
    if rows == 0 {
        // An empty table has the columns too.
        to.write(&from.no_rows(), &columns(predictor.labels(), Vec::new(), probabilities))?;
    }
    to.finish()?;
    Ok(rows)
}

fn columns(
    labels: &[String],
    answers: Vec<Classified>,
    probabilities: bool,
) -> Vec<(String, Added)> {
    let confidence = answers.iter().map(Classified::confidence).collect();
    let mut added = vec![("confidence".to_owned(), Added::Floats(confidence))];
    if probabilities {
        added.extend(labels.iter().enumerate().map(|(class, label)| {
            let of_class = |answer: &Classified| answer.probabilities[class];
            let values = answers.iter().map(of_class).collect();
            (format!("probability of {label}"), Added::Floats(values))
        }));
    }
    let predicted = answers.into_iter().map(|answer| answer.label).collect();
    added.insert(0, ("predicted".to_owned(), Added::Strings(predicted)));
    added
}

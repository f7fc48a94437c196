//! Classification of tables and streams of any size.

use dataset::{Added, Chunk, Lines, TableReader, TableWriter};

use crate::{
    error::Result,
    inference::predictor::{Classified, Predictor},
};

/// Rows in memory at a time.
const ROWS: usize = 1024;

/// Names and cells of the columns that are added to some rows.
pub(super) type AddedColumns = Vec<(String, Added)>;

/// Lines in memory at a time.
const LINES: usize = 256;

/// Classifies the lines of a stream, one text per line, in their order, and calls `classified`
/// with each line and its prediction, which an empty line does not have.
///
/// # Errors
/// [`Error::Dataset`](crate::Error::Dataset) for a line that cannot be read or is longer than
/// the model's context; errors of the model and of `classified`.
pub fn classify_lines(
    predictor: &Predictor,
    lines: &mut Lines,
    classified: &mut dyn FnMut(&str, Option<&Classified>) -> Result<()>,
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
            classified(&line, answer.as_ref())?;
        }
    }
    Ok(())
}

/// Classifies the rows of a table in their order and writes the table with the added columns
/// `predicted` and `confidence`, and with `probabilities` one `probability of <label>` for
/// each label. The added cells of an empty text are empty. `progress` is called with the number
/// of rows written. Returns what was detected of the table and what may surprise, one sentence
/// each.
///
/// Memory does not grow with the table.
///
/// # Errors
/// [`Error::Dataset`](crate::Error::Dataset) for a row that cannot be read or written, or
/// whose text is longer than the model's context; errors of the model.
pub fn classify_table(
    predictor: &Predictor,
    from: &mut TableReader,
    to: TableWriter,
    probabilities: bool,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<String>> {
    let mut continues = |rows| {
        progress(rows);
        true
    };
    let notes = classify_while(predictor, from, to, probabilities, &mut continues)?;
    Ok(notes.unwrap_or_default())
}

/// Classifies the rows of a table as [`classify_table`], while `continues` returns true for the
/// number of rows written. Else it returns `None`, and a file that was to be written is not there.
pub(crate) fn classify_while(
    predictor: &Predictor,
    from: &mut TableReader,
    to: TableWriter,
    probabilities: bool,
    continues: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<String>>> {
    let mut added = |chunk: &Chunk| {
        let answers = predictor
            .classify(chunk.texts())
            .map_err(|error| error.at(|text, reason| chunk.error(text, reason)))?;
        Ok(columns(predictor.labels(), answers, probabilities))
    };
    copy_while(from, to, ROWS, &mut added, continues)
}

/// Copies a table with the columns that `added` computes of each `size` rows, or of none if the table
/// is empty, while `continues` returns true for the number of rows written. Returns the notes on the
/// table, or `None` if it stopped: then a file that was to be written is not there.
pub(super) fn copy_while(
    from: &mut TableReader,
    mut to: TableWriter,
    size: usize,
    added: &mut dyn FnMut(&Chunk) -> Result<AddedColumns>,
    continues: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<String>>> {
    let mut rows = 0;
    while let Some(chunk) = from.next_chunk(size)? {
        to.write(&chunk, &added(&chunk)?)?;
        rows += chunk.len();
        if !continues(rows) {
            return Ok(None);
        }
    }
    if rows == 0 {
        // An empty table has the columns too.
        let chunk = from.no_rows()?;
        to.write(&chunk, &added(&chunk)?)?;
    }
    let notes = to.finish()?;
    Ok(Some(from.take_notes().into_iter().chain(notes).collect()))
}

/// Gives a table the columns of `chunk`, which has no rows, and the added ones.
pub(crate) fn begin(
    predictor: &Predictor,
    to: &mut TableWriter,
    chunk: &Chunk,
    probabilities: bool,
) -> Result<()> {
    Ok(to.write(chunk, &columns(predictor.labels(), Vec::new(), probabilities))?)
}

fn columns(
    labels: &[String],
    answers: Vec<Option<Classified>>,
    probabilities: bool,
) -> AddedColumns {
    let confidence = |answer: &Option<Classified>| answer.as_ref().map(Classified::confidence);
    let confidence = answers.iter().map(confidence).collect();
    let mut added = vec![("confidence".to_owned(), Added::Floats(confidence))];
    if probabilities {
        added.extend(labels.iter().enumerate().map(|(class, label)| {
            let of_class =
                |answer: &Option<Classified>| Some(answer.as_ref()?.probabilities[class]);
            let values = answers.iter().map(of_class).collect();
            (format!("probability of {label}"), Added::Floats(values))
        }));
    }
    let predicted = answers.into_iter().map(|answer| answer.map(|answer| answer.label)).collect();
    added.insert(0, ("predicted".to_owned(), Added::Strings(predicted)));
    added
}

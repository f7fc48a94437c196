//! Completions of the prompts in a table.

use dataset::{Added, Chunk, TableReader, TableWriter};

use crate::{
    error::Result,
    inference::{
        generator::{Completion, GenerationRequest, Generator},
        table::{AddedColumns, copy_while},
    },
};

/// Batches in memory at a time.
const BATCHES: usize = 8;

/// Counts of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedRows {
    /// Rows.
    pub rows: usize,
    /// Rows whose prompt could not be continued.
    pub failed: usize,
    /// Reason of the first of these.
    pub reason: Option<String>,
    /// Notes on the format of the table and on what may surprise, one sentence each.
    pub notes: Vec<String>,
}

/// Continues the prompts of a table and writes the table with the added columns
/// `completion`, `finish_reason`, `new_tokens` and `error`. Of these, `error` alone has a value for
/// a row whose prompt cannot be made or continued. `progress` is called with the number of rows written.
///
/// The prompts are in the column named `column`, else they are made of all columns if the template of
/// the training reads some of them, else of the columns `messages`, `prompt`, or `instruction` and
/// `input`.
///
/// # Errors
/// [`Error::Dataset`](crate::Error::Dataset) for a row that cannot be read or written; errors of
/// [`Generator::generate`].
pub fn generate_table(
    generator: &Generator,
    from: &mut TableReader,
    to: TableWriter,
    column: Option<&str>,
    request: &GenerationRequest,
    progress: &mut dyn FnMut(usize),
) -> Result<GeneratedRows> {
    let mut result = GeneratedRows::default();
    let mut prompts = generator.of_table(column);
    let mut added = |chunk: &Chunk| {
        let outcomes = if chunk.is_empty() {
            Vec::new()
        } else {
            let (prompts, first) = (prompts.encode(chunk)?, result.rows as u64);
            generator.continue_rows(chunk, prompts, first, request)?
        };
        for reason in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            result.failed += 1;
            result.reason.get_or_insert_with(|| reason.clone());
        }
        result.rows += chunk.len();
        Ok(columns(&outcomes))
    };
    let mut continues = |rows| {
        progress(rows);
        true
    };
    let size = BATCHES.saturating_mul(request.batch_size.max(1));
    let notes = copy_while(from, to, size, &mut added, &mut continues)?;
    result.notes = notes.unwrap_or_default();
    result.notes.extend(generator.template_note());
    result.notes.extend(prompts.notes());
    Ok(result)
}

fn columns(outcomes: &[Result<Completion, String>]) -> AddedColumns {
    let of_completions = |cell: &dyn Fn(&Completion) -> String| {
        Added::Strings(outcomes.iter().map(|outcome| outcome.as_ref().ok().map(cell)).collect())
    };
    let new_tokens = |completion: &Completion| completion.new_tokens as i64;
    let new_tokens = outcomes.iter().map(|outcome| outcome.as_ref().ok().map(new_tokens));
    let errors = outcomes.iter().map(|outcome| outcome.as_ref().err().cloned());
    vec![
        ("completion".to_owned(), of_completions(&|completion| completion.text.clone())),
        ("finish_reason".to_owned(), of_completions(&|it| it.finish.name().to_owned())),
        ("new_tokens".to_owned(), Added::Integers(new_tokens.collect())),
        ("error".to_owned(), Added::Strings(errors.collect())),
    ]
}

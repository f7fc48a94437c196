//! Tokenizing the examples of a run, and notes about them.

use std::path::Path;

use dataset::{END_OF_TEXT, Example, PreparedSplit, TokenizedSet, TokenizedSplit, Tokenizer};
use gpt2_model::Gpt2Config;

use crate::{
    config::{recipe::Recipe, resolve::ResolvedRun},
    error::{Error, Result, too_long},
    reports::SplitSizes,
    training::observer::Observer,
};

/// Refuses the model in a folder if it lacks tokens of the tokenizer, which any text may
/// have, and every row is filled up with the last of them.
pub(crate) fn check_vocabulary(model: &Gpt2Config, folder: &Path) -> Result<()> {
    if model.vocab_size > i64::from(END_OF_TEXT) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{}: the model knows {} tokens (vocab_size), but GPT-2's tokenizer has {}; give a model \
         of GPT-2's vocabulary",
        folder.join("config.json").display(),
        model.vocab_size,
        END_OF_TEXT + 1
    )))
}

/// Tokenises the splits. Rows are cut to the longest training row, or to what was asked
/// for. Where nothing was, a row that is longer than the model's context is refused, of
/// the book's recipe one to train on alone, as in the book.
pub(crate) fn encode(
    prepared: &PreparedSplit,
    run: &ResolvedRun,
    context: usize,
) -> Result<TokenizedSplit> {
    let asked = run.settings.data.max_length;
    if let Some(asked) = asked.filter(|&asked| asked > context) {
        return Err(Error::Config(format!(
            "max-length is {asked}, but the model's context is {context} tokens (n_positions)"
        )));
    }
    let tokenizer = Tokenizer::gpt2();
    let split = &prepared.split;
    let [of_train, of_validation, of_test] = run.files();
    let check = |part: &TokenizedSet, rows: &[Example], file: &Path| {
        let Some((row, tokens)) = part.longer_than(context).filter(|_| asked.is_none()) else {
            return Ok(());
        };
        let reason = too_long(tokens, context, &format!("--max-length {context}"));
        let row = rows.get(row).map_or(0, |example| example.row + 1);
        Err(dataset::Error::Row { path: file.to_owned(), row, reason })
    };
    let train = TokenizedSet::new(&split.train, &tokenizer, asked);
    check(&train, &split.train, of_train)?;
    let max_length = asked.unwrap_or_else(|| train.longest());
    let part = |rows: &[Example], file: &Path| {
        let part = TokenizedSet::new(rows, &tokenizer, Some(max_length));
        if run.settings.recipe == Recipe::Default {
            check(&part, rows, file)?;
        }
        Ok::<_, Error>(part)
    };
    let validation = part(&split.validation, of_validation)?;
    let test = part(&split.test, of_test)?;
    Ok(TokenizedSplit { labels: split.labels.clone(), train, validation, test, max_length })
}

/// Says which rows are left out, and what of the classes may surprise.
pub(crate) fn note_rows(prepared: &PreparedSplit, observer: &mut dyn Observer) {
    let counts = &prepared.counts;
    for (count, what) in [(counts.empty_text, "text"), (counts.without_label, "label")] {
        if count > 0 {
            let read = counts.read;
            observer.notice(&format!("left out for want of a {what}: {count} of {read} rows"));
        }
    }
    if !counts.singletons.is_empty() {
        observer.notice(&format!(
            "label {} has a single example, so it is in only one of the sets",
            counts.singletons.join(", ")
        ));
    }
    for class in prepared.split.class_rows() {
        let sets =
            [("training", class.train), ("validation", class.validation), ("test", class.test)];
        let without: Vec<&str> =
            sets.iter().filter(|(_, rows)| *rows == 0).map(|(set, _)| *set).collect();
        if !without.is_empty() {
            observer.notice(&format!(
                "class {:?} has no example in the {} set; use --stratify",
                class.label,
                without.join(" and the ")
            ));
        }
    }
}

/// Says how many rows were cut.
pub(crate) fn note_truncation(splits: &TokenizedSplit, observer: &mut dyn Observer) -> SplitSizes {
    let truncated = SplitSizes {
        train: splits.train.truncated(),
        validation: splits.validation.truncated(),
        test: splits.test.truncated(),
    };
    let all = truncated.train + truncated.validation + truncated.test;
    if all > 0 {
        observer.notice(&format!(
            "{all} {} longer than {} tokens and truncated: training {}, validation {}, test {}",
            if all == 1 { "row is" } else { "rows are" },
            splits.max_length,
            truncated.train,
            truncated.validation,
            truncated.test
        ));
    }
    truncated
}

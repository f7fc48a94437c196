//! Tokenization of the examples of a run.

use dataset::{
    Example, PreparedSplit, SourceFile, TokenizedSet, TokenizedSplit, Tokenizer, locate,
};

use crate::{
    config::{
        error::SettingsError,
        recipe::Recipe,
        resolve::ResolvedRun,
        settings::{OnLongText, Settings},
    },
    error::{Error, Result, too_long},
};

/// Tokenizes the splits. Texts are truncated to the longest training text, or to
/// `max-length`, and at most to the model's context. With `on-long-text error` texts longer
/// than the context are refused; in the book's recipe only training texts, as in the book.
pub(crate) fn encode(
    prepared: &PreparedSplit,
    tokenizer: &Tokenizer,
    run: &ResolvedRun,
    context: usize,
) -> Result<TokenizedSplit> {
    let Settings { data, recipe, .. } = &run.settings;
    let given = data.max_length;
    if let Some(value) = given.filter(|&given| given > context) {
        return Err(SettingsError::LongerThanContext { value, context }.into());
    }
    let split = &prepared.split;
    let [of_train, of_validation, of_test] = prepared.sources.sets();
    let check = |set: &TokenizedSet, examples: &[Example], files: &[SourceFile]| {
        let Some((example, tokens)) = set.longer_than(context) else { return Ok(()) };
        let row = examples.get(example).map_or(0, |example| example.row);
        let (path, position) = locate(files, row);
        Err(dataset::Error::at(path, position, too_long(tokens, context)))
    };
    let refuses = data.on_long_text == OnLongText::Error;
    let train = TokenizedSet::new(&split.train, tokenizer, Some(given.unwrap_or(context)));
    if refuses {
        check(&train, &split.train, of_train)?;
    }
    let max_length = given.unwrap_or_else(|| train.longest());
    let set = |examples: &[Example], files: &[SourceFile]| {
        let set = TokenizedSet::new(examples, tokenizer, Some(max_length));
        if refuses && *recipe == Recipe::Default {
            check(&set, examples, files)?;
        }
        Ok::<_, Error>(set)
    };
    let validation = set(&split.validation, of_validation)?;
    let test = set(&split.test, of_test)?;
    Ok(TokenizedSplit { labels: split.labels.clone(), train, validation, test, max_length })
}

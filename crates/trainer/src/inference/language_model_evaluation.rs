//! Evaluation of a language model on texts, prompts with completions, or conversations.

use std::path::Path;

use dataset::{CompletionExamples, CompletionSet};
use gpt2_model::ArgumentError;
use regex::Regex;
use storage::{write_atomic, write_json, write_json_lines};

use crate::{
    config::{OnLongText, resolve::template_notes},
    error::Result,
    inference::{
        evaluation_files::{EXAMPLES, PAGE, REPORT, begin_evaluation},
        generator::{GenerationRequest, Generator},
        high_loss_examples::high_loss_examples,
    },
    metrics::{
        CheckedAnswer, LanguageModelEvaluation, ScoredExample, TokenMeasures, wilson_interval,
    },
    reports::html,
    task::language_model::{
        batch::LanguageModelBatch,
        evaluation::{TokenSums, measures, token_sums, total},
        lengths::length_notes,
        source::EVALUATION_TOKENS,
    },
};

/// Comparison of generated completions with the completions of the data.
#[derive(Clone, Debug)]
pub struct AnswerCheck {
    /// Settings of the generation.
    pub request: GenerationRequest,
    /// Part of a generated completion that is compared: its first group, or without groups the
    /// whole match. `None` compares the whole completion. White space around either text is
    /// ignored. The text of the data is compared as its tokens spell it.
    pub pattern: Option<Regex>,
}

impl LanguageModelEvaluation {
    /// Writes `evaluation.json`, `evaluation.html`, and `examples.jsonl` with a line per example, into a
    /// folder, which is created if missing. `facts` are names and values that describe the evaluation.
    ///
    /// # Errors
    /// As [`Evaluation::write`](crate::inference::Evaluation::write).
    pub fn write(&self, folder: &Path, facts: &[(String, String)]) -> Result<()> {
        begin_evaluation(folder, &[REPORT, PAGE, EXAMPLES])?;
        // First the file by which the folder is recognized.
        write_json(&folder.join(REPORT), self)?;
        write_json_lines(&folder.join(EXAMPLES), &self.scored)?;
        let page = html::render_language_model(self, facts)?;
        Ok(write_atomic(&folder.join(PAGE), page.as_bytes())?)
    }
}

/// Evaluates a language model on examples that were read as one set
/// ([`Generator::completion_files`]). Completions are generated unless `check` allows no new token.
/// `progress` is called with the number of examples.
///
/// # Errors
/// [`Error::Dataset`](crate::Error::Dataset) if no example can be evaluated, or with
/// [`OnLongText::Error`] for one that is longer than the model's context;
/// [`Error::Model`](crate::Error::Model) for damaged weights.
pub fn evaluate_language_model(
    generator: &Generator,
    examples: &CompletionExamples,
    check: &AnswerCheck,
    on_long_text: OnLongText,
    progress: &mut dyn FnMut(usize),
) -> Result<LanguageModelEvaluation> {
    let (model, tokenizer) = (generator.model(), generator.tokenizer());
    let context = model.config().n_positions as usize;
    let set = examples.tokenize_all(tokenizer, context)?;
    tokenizer.check()?;
    let mut notes = examples.notes().to_vec();
    notes.extend(format_notes(generator, examples));
    notes.extend(length_notes("evaluation", &set, [context; 2], on_long_text)?);
    let sums = sums_of_examples(generator, &set, progress)?;
    let has_prompt = examples.format().schema.has_prompt();
    let measured = total(&sums, has_prompt);
    let TokenMeasures { tokens, loss, perplexity, accuracy } = measured.main();
    if !measured.all.loss.is_finite() {
        let tokens = measured.all.tokens;
        return Err(gpt2_model::Error::from(ArgumentError::Logits { tokens }).into());
    }
    let mut scored: Vec<ScoredExample> = set
        .sequences
        .iter()
        .zip(&sums)
        .map(|(sequence, sums)| {
            let TokenMeasures { tokens, loss, accuracy, .. } = measures(sums);
            let place = sequence.place.to_string();
            ScoredExample { place, tokens, loss, token_accuracy: accuracy, answer: None }
        })
        .collect();
    if check.request.config.max_new_tokens > 0 {
        notes.extend(check_answers(generator, examples, &set, check, &mut scored)?);
    }
    let answers: Vec<bool> =
        scored.iter().filter_map(|it| Some(it.answer.as_ref()?.is_match)).collect();
    let correct = answers.iter().filter(|is_match| **is_match).count();
    let answers = (!answers.is_empty()).then_some(answers.len());
    Ok(LanguageModelEvaluation {
        examples: scored.len(),
        tokens,
        loss,
        perplexity,
        token_accuracy: accuracy,
        all_tokens: has_prompt.then_some(measured.all),
        truncated: set.truncated.len(),
        skipped: examples.skipped() + set.dropped.len(),
        answers,
        exact_match: answers.map(|answers| correct as f64 / answers as f64),
        exact_match_interval: answers
            .map(|answers| wilson_interval(correct as u64, answers as u64)),
        notes,
        highest_losses: high_loss_examples(&set, &scored, tokenizer),
        scored,
    })
}

/// Returns notes if the schema is not the schema of the training.
fn format_notes(generator: &Generator, examples: &CompletionExamples) -> Vec<String> {
    let Some(trained) = generator.format() else { return Vec::new() };
    let (format, before) = (examples.format(), trained.schema);
    if format.schema == before {
        return Vec::new();
    }
    let schema = format.schema;
    let mut notes = vec![format!(
        "the adapter was trained on data of the schema {before}, and this data has the schema {schema}"
    )];
    notes.extend(template_notes(format, trained, [false; 2]));
    notes
}

/// Returns the sums of each example of a set. Examples of similar length are computed together.
fn sums_of_examples(
    generator: &Generator,
    set: &CompletionSet,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<TokenSums>> {
    let sequences = &set.sequences;
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|&index| sequences[index].ids.len());
    let mut all = vec![TokenSums::default(); sequences.len()];
    let (mut batch, mut done) = (LanguageModelBatch::default(), 0);
    let mut rest = order.into_iter().peekable();
    while let Some(index) = rest.next() {
        batch.push(index, &sequences[index], false);
        let next = rest.peek().map(|&next| sequences[next].ids.len());
        if next.is_some_and(|next| batch.tokens() + next <= EVALUATION_TOKENS) {
            continue;
        }
        let batch = std::mem::take(&mut batch);
        for (&index, sums) in batch.examples.iter().zip(token_sums(generator.model(), &batch)?) {
            all[index] = sums;
        }
        done += batch.examples.len();
        progress(done);
    }
    Ok(all)
}

/// Generates the last completion of each example and compares it with the data. Returns a note on
/// prompts that leave no room for one.
fn check_answers(
    generator: &Generator,
    examples: &CompletionExamples,
    set: &CompletionSet,
    check: &AnswerCheck,
    scored: &mut [ScoredExample],
) -> Result<Option<String>> {
    let (tokenizer, context) =
        (generator.tokenizer(), generator.model().config().n_positions as usize);
    let mut prompts = Vec::new();
    let (mut expected, mut without) = (Vec::new(), 0);
    for (sequence, scored) in set.sequences.iter().zip(scored) {
        match examples.answer(sequence.example, tokenizer, context) {
            Some(answer) => {
                prompts.push(answer.prompt);
                expected.push((answer.text, scored));
            }
            None => without += 1,
        }
    }
    let generated = generator.continue_tokens(&prompts, 0, &check.request, None)?;
    for ((expected, scored), generated) in expected.into_iter().zip(generated) {
        let generated = generated?.text;
        let answer = match &check.pattern {
            None => Some(generated.as_str()),
            Some(pattern) => first_match(pattern, &generated),
        };
        // A tokenizer may change case and spaces, of which a generated text has nothing left.
        let comparable = tokenizer.decode(&tokenizer.encode(&expected));
        let is_match = answer.is_some_and(|answer| answer.trim() == comparable.trim());
        scored.answer = Some(CheckedAnswer { expected, generated, is_match });
    }
    let has_prompt = examples.format().schema.has_prompt();
    Ok((has_prompt && without > 0).then(|| {
        format!("{without} examples have an empty prompt, after which nothing was generated")
    }))
}

/// First group of the first match, or without groups the match.
fn first_match<'a>(pattern: &Regex, text: &'a str) -> Option<&'a str> {
    let found = pattern.captures(text)?;
    let group = if pattern.captures_len() > 1 { found.get(1) } else { found.get(0) };
    group.map(|group| group.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_group_or_whole_match() {
        let found = |pattern: &str| first_match(&Regex::new(pattern).unwrap(), "So #### 42.");
        assert_eq!(found(r"#### (\d+)"), Some("42"));
        assert_eq!(found(r"\d+"), Some("42"));
        assert_eq!(found("x"), None);
        assert_eq!(found("(x)|4"), None);
    }
}

//! Evaluation of a language model on texts, or on prompts and completions.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use dataset::Lines;
use gpt2_model::{ArgumentError, tensor::integers};
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    inference::generator::{GenerationRequest, Generator},
    task::language_model::output_head,
};

/// Text to evaluate a language model on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextExample {
    /// Text that is given, and not evaluated.
    pub prompt: Option<String>,
    /// Text that is evaluated: the whole text, or the completion of the prompt.
    pub text: String,
}

/// Fields of a line.
#[derive(Deserialize)]
struct Fields {
    text: Option<String>,
    prompt: Option<String>,
    completion: Option<String>,
}

/// Reads examples from JSON Lines: objects with a `text`, or with a `prompt` and a `completion`.
/// `-` is standard input.
///
/// # Errors
/// [`Error::Dataset`](crate::Error::Dataset) names the line at fault.
pub fn read_text_examples(files: &[PathBuf]) -> Result<Vec<TextExample>> {
    let mut examples = Vec::new();
    for path in files {
        let source: Box<dyn Read + Send> = if path.to_str() == Some("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).map_err(storage::Error::read(path))?)
        };
        let (mut lines, mut line) = (Lines::new(source, path.clone()), String::new());
        while lines.next_text(&mut line)? {
            if line.trim().is_empty() {
                continue;
            }
            let fail =
                |reason| dataset::Error::Line { path: path.clone(), line: lines.number(), reason };
            let fields: Fields =
                serde_json::from_str(&line).map_err(|error| fail(error.to_string()))?;
            examples.push(match fields {
                Fields { prompt: Some(prompt), completion: Some(text), .. } => {
                    TextExample { prompt: Some(prompt), text }
                }
                Fields { text: Some(text), .. } => TextExample { prompt: None, text },
                _ => {
                    let expected = "expected the field text, or prompt and completion";
                    return Err(fail(expected.to_owned()).into());
                }
            });
        }
    }
    Ok(examples)
}

/// Comparison of generated completions with the completions of the data.
#[derive(Clone, Debug)]
pub struct AnswerCheck {
    /// Settings of the generation.
    pub request: GenerationRequest,
    /// Part of a generated completion that is compared: its first group, or without groups the
    /// whole match. `None` compares the whole completion. White space around either text is
    /// ignored.
    pub pattern: Option<Regex>,
}

/// Result of an evaluation of a language model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LanguageModelEvaluation {
    /// Evaluated examples.
    pub examples: usize,
    /// Evaluated tokens: of completions, or of texts without the first token, which nothing
    /// precedes; and the end-of-text token after each.
    pub tokens: usize,
    /// Mean cross-entropy of these tokens in nats.
    pub loss: f64,
    /// Exponential of the loss.
    pub perplexity: f64,
    /// Fraction of these tokens that are the most probable one.
    pub token_accuracy: f64,
    /// Examples that are longer than the model's context and were truncated.
    pub truncated: usize,
    /// Examples that were skipped: without tokens to evaluate, or with a prompt that is empty or
    /// fills the model's context.
    pub skipped: usize,
    /// Generated completions that were compared with the completions of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<usize>,
    /// Fraction of these that are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_match: Option<f64>,
}

/// Sums over tokens.
#[derive(Default)]
struct Sums {
    loss: f64,
    correct: f64,
    tokens: usize,
}

/// Evaluates a language model. `progress` is called with the number of examples.
///
/// # Errors
/// [`Error::Dataset`](crate::Error::Dataset) if no example can be evaluated,
/// [`Error::Model`](crate::Error::Model) for damaged weights.
pub fn evaluate_language_model(
    generator: &Generator,
    examples: &[TextExample],
    check: &AnswerCheck,
    progress: &mut dyn FnMut(usize),
) -> Result<LanguageModelEvaluation> {
    let mut result = LanguageModelEvaluation::default();
    let (mut sums, mut with_prompt) = (Sums::default(), Vec::new());
    for (number, example) in (1..).zip(examples) {
        let is_evaluated = add_example(generator, example, &mut sums, &mut result)?;
        if is_evaluated && example.prompt.is_some() {
            with_prompt.push(example);
        }
        progress(number);
    }
    if result.examples == 0 {
        let reason = format!(
            "nothing to evaluate on: of {} examples, {} were skipped, because they have no tokens \
             to evaluate or a prompt that is empty or fills the model's context",
            examples.len(),
            result.skipped
        );
        return Err(dataset::Error::Table { path: PathBuf::from("--data"), reason }.into());
    }
    if !sums.loss.is_finite() {
        return Err(gpt2_model::Error::from(ArgumentError::Logits { tokens: sums.tokens }).into());
    }
    result.tokens = sums.tokens;
    result.loss = sums.loss / sums.tokens as f64;
    result.perplexity = result.loss.exp();
    result.token_accuracy = sums.correct / sums.tokens as f64;
    if !with_prompt.is_empty() && check.request.config.max_new_tokens > 0 {
        let correct = correct_answers(generator, &with_prompt, check)?;
        result.answers = Some(with_prompt.len());
        result.exact_match = Some(correct as f64 / with_prompt.len() as f64);
    }
    Ok(result)
}

/// Adds the tokens of an example. Returns false if it is skipped.
fn add_example(
    generator: &Generator,
    example: &TextExample,
    sums: &mut Sums,
    result: &mut LanguageModelEvaluation,
) -> Result<bool> {
    let _no_grad = tch::no_grad_guard();
    let model = generator.model();
    let context = model.config().n_positions as usize;
    let prompt = example.prompt.as_ref().map(|it| generator.prompt_ids(it)).transpose()?;
    let mut ids = prompt.unwrap_or_default();
    let given = ids.len();
    ids.extend(generator.tokenizer().encode(&example.text).into_iter().map(i64::from));
    let is_unusable = example.prompt.is_some() && (given == 0 || given >= context);
    ids.extend(model.config().end_of_text());
    // Nothing precedes the first token.
    let first = given.max(1);
    if is_unusable || ids.len() <= first {
        result.skipped += 1;
        return Ok(false);
    }
    // The last token is predicted and not read.
    if ids.len() > context + 1 {
        ids.truncate(context + 1);
        result.truncated += 1;
    }
    let (read, device) = (&ids[..ids.len() - 1], model.device());
    let hidden = model.forward(&integers(read, device)?.f_view([1, -1])?)?;
    let hidden =
        hidden.f_squeeze_dim(0)?.f_narrow(0, first as i64 - 1, (ids.len() - first) as i64)?;
    let targets = integers(&ids[first..], device)?;
    let (loss, correct) = output_head::evaluate(model.output_embedding()?, &hidden, &targets)?;
    sums.loss += loss;
    sums.correct += correct;
    sums.tokens += ids.len() - first;
    result.examples += 1;
    Ok(true)
}

/// Generates completions and counts the ones that equal the completions of the data.
fn correct_answers(
    generator: &Generator,
    examples: &[&TextExample],
    check: &AnswerCheck,
) -> Result<usize> {
    let prompts: Vec<&str> =
        examples.iter().filter_map(|example| example.prompt.as_deref()).collect();
    let completions = generator.generate(&prompts, 0, &check.request, None)?;
    let is_correct = |(example, text): (&&TextExample, &str)| {
        let answer = match &check.pattern {
            None => Some(text),
            Some(pattern) => first_match(pattern, text),
        };
        answer.is_some_and(|answer| answer.trim() == example.text.trim())
    };
    let texts = completions.iter().map(|it| it.as_ref().map_or("", |it| it.text.as_str()));
    Ok(examples.iter().zip(texts).filter(|pair| is_correct(*pair)).count())
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

    #[test]
    fn examples_are_texts_or_prompts_with_completions() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data.jsonl");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_text_examples(std::slice::from_ref(&file))
        };
        let text = "{\"text\": \"a\"}\n\n{\"prompt\": \"p\", \"completion\": \"c\", \"id\": 3}\n";
        let example = |prompt: Option<&str>, text: &str| TextExample {
            prompt: prompt.map(str::to_owned),
            text: text.to_owned(),
        };
        assert_eq!(read(text).unwrap(), [example(None, "a"), example(Some("p"), "c")]);
        for (line, says) in [
            ("{\"prompt\": \"p\"}", "expected the field text, or prompt and completion"),
            ("{\"text\": 3}", "expected a string"),
            ("text", "expected"),
        ] {
            let error = read(&format!("{text}{line}\n")).unwrap_err().to_string();
            assert!(error.contains("line 4") && error.contains(says), "{error}");
        }
    }
}

//! `gpt2-lora evaluate` with a language model.

use anyhow::{Result, bail};
use dataset::{CompletionColumns, Schema};
use gpt2_model::GenerateConfig;
use trainer::{
    Generator,
    inference::{AnswerCheck, GenerationRequest, evaluate_language_model},
    metrics::LanguageModelEvaluation,
    terminal::{Counter, print},
};

use crate::{evaluate::EvaluateArgs, shared_args::print_notes};

/// Maximum number of new tokens of a generated answer.
const NEW_TOKENS: usize = 128;

pub fn run(args: &EvaluateArgs) -> Result<()> {
    args.refuse(
        ["a language model", "classifiers"],
        &[
            ("--labels", !args.adapter.labels.is_empty()),
            ("--label-column", args.label_column.is_some()),
        ],
    )?;
    let replaced = args.check_out()?;
    let mut options =
        Generator::options().device(args.adapter.compute.apply()?).dtype(args.prediction.dtype);
    if let Some(base) = &args.adapter.model {
        options = options.base(base);
    }
    let generator = options.load(&args.adapter.adapter)?;
    print_notes(generator.notes());
    let columns = CompletionColumns {
        text: args.table.text_column.clone(),
        prompt: args.prompt_column.clone(),
        completion: args.completion_column.clone(),
    };
    let table = args.table.options(args.format, None);
    let examples = generator.completion_files(args.data.clone(), table, columns).read_all()?;
    let schema = examples.format().schema;
    let generates =
        [("--match", args.pattern.is_some()), ("--max-new-tokens", args.max_new_tokens.is_some())];
    let without_effect = generates.iter().find(|(_, is_given)| *is_given);
    if let (Schema::Text, Some((option, _))) = (schema, without_effect) {
        bail!("{option} has no effect: the data has no prompts with completions; leave it out");
    }
    let max_new_tokens = args.max_new_tokens.unwrap_or(NEW_TOKENS);
    if args.pattern.is_some() && max_new_tokens == 0 {
        bail!("--match has no effect with --max-new-tokens 0; leave one of them out");
    }
    let config = GenerateConfig { max_new_tokens, ..GenerateConfig::default() };
    let request = GenerationRequest { config, ..GenerationRequest::default() };
    let check = AnswerCheck { request, pattern: args.pattern.clone() };
    let mut counter = Counter::new("examples evaluated");
    let mut progress = |examples| counter.set(examples);
    let on_long_text = args.prediction.on_long_text;
    let evaluation =
        evaluate_language_model(&generator, &examples, &check, on_long_text, &mut progress)?;
    drop(counter);
    print_notes(&evaluation.notes);
    if let Some(out) = &args.out {
        evaluation.write(out, &facts(&generator, args, &check, &evaluation))?;
        print_notes(replaced);
    }
    Ok(print(&evaluation, args.json, |evaluation| text(evaluation, args))?)
}

/// Names and values for the page.
fn facts(
    generator: &Generator,
    args: &EvaluateArgs,
    check: &AnswerCheck,
    evaluation: &LanguageModelEvaluation,
) -> Vec<(String, String)> {
    let mut facts = args.facts(generator.base(), evaluation.examples);
    for (name, count) in
        [("examples skipped", evaluation.skipped), ("examples truncated", evaluation.truncated)]
    {
        if count > 0 {
            facts.push((name.to_owned(), count.to_string()));
        }
    }
    if evaluation.answers.is_some() {
        let limit = check.request.config.max_new_tokens;
        facts.push(("generated completions".to_owned(), format!("at most {limit} tokens, greedy")));
        if let Some(pattern) = &check.pattern {
            facts.push(("compared by --match".to_owned(), pattern.to_string()));
        }
    }
    facts
}

fn text(evaluation: &LanguageModelEvaluation, args: &EvaluateArgs) -> String {
    let LanguageModelEvaluation { examples, tokens, loss, perplexity, token_accuracy, .. } =
        evaluation;
    let mut text = format!(
        "examples        {examples}\n\
         tokens          {tokens}\n\
         loss            {loss:.4}\n\
         perplexity      {perplexity:.2}\n\
         token accuracy  {:.2}%\n",
        100.0 * token_accuracy
    );
    if let Some(all) = &evaluation.all_tokens {
        text += &format!(
            "all tokens      perplexity {:.2}, token accuracy {:.2}%, {} tokens\n",
            all.perplexity,
            100.0 * all.accuracy,
            all.tokens
        );
    }
    if let (Some(answers), Some(exact_match), Some(interval)) =
        (evaluation.answers, evaluation.exact_match, evaluation.exact_match_interval)
    {
        text += &format!(
            "exact match     {:.2}% of {answers} answers (95% confidence interval {:.2}% to {:.2}%)\n",
            100.0 * exact_match,
            100.0 * interval.low,
            100.0 * interval.high
        );
    }
    if evaluation.truncated > 0 {
        text += &format!("{} examples were truncated to the context\n", evaluation.truncated);
    }
    if evaluation.skipped > 0 {
        text += &format!(
            "{} examples were skipped: an empty or missing text, completion or \
             answer, or a prompt that fills the context\n",
            evaluation.skipped
        );
    }
    if let Some(out) = &args.out {
        text += &format!("report: {}\n", out.join("evaluation.html").display());
    }
    text
}

//! `gpt2-lora evaluate` with a language model.

use anyhow::Result;
use gpt2_model::GenerateConfig;
use trainer::{
    Generator,
    inference::{
        AnswerCheck, GenerationRequest, LanguageModelEvaluation, evaluate_language_model,
        read_text_examples,
    },
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
            ("--text-column", args.table.text_column.is_some()),
            ("--out", args.out.is_some()),
        ],
    )?;
    let mut options =
        Generator::options().device(args.adapter.compute.apply()?).dtype(args.prediction.dtype);
    if let Some(base) = &args.adapter.model {
        options = options.base(base);
    }
    let generator = options.load(&args.adapter.adapter)?;
    print_notes(generator.notes());
    let examples = read_text_examples(&dataset::expand(&args.data)?)?;
    let max_new_tokens = args.max_new_tokens.unwrap_or(NEW_TOKENS);
    let config = GenerateConfig { max_new_tokens, ..GenerateConfig::default() };
    let request = GenerationRequest { config, ..GenerationRequest::default() };
    let check = AnswerCheck { request, pattern: args.pattern.clone() };
    let mut counter = Counter::new("examples evaluated");
    let mut progress = |examples| counter.set(examples);
    let evaluation = evaluate_language_model(&generator, &examples, &check, &mut progress)?;
    drop(counter);
    if args.pattern.is_some() && evaluation.answers.is_none() {
        print_notes(["--match has no effect: the data has no prompts with completions"]);
    }
    Ok(print(&evaluation, args.json, text)?)
}

fn text(evaluation: &LanguageModelEvaluation) -> String {
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
    if let (Some(answers), Some(exact_match)) = (evaluation.answers, evaluation.exact_match) {
        text += &format!("exact match     {:.2}% of {answers} answers\n", 100.0 * exact_match);
    }
    if evaluation.truncated > 0 {
        text += &format!("{} examples were truncated to the context\n", evaluation.truncated);
    }
    if evaluation.skipped > 0 {
        text += &format!(
            "{} examples were skipped: nothing to evaluate, or a prompt that is empty or fills the \
             context\n",
            evaluation.skipped
        );
    }
    text
}

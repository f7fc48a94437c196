//! Page of an evaluation of a language model.

use indicatif::HumanCount;
use maud::{Markup, html};

use super::{
    loss_figures,
    page::{Metric, head, headline, page, wide},
    text::{UNDEFINED, clean, confidence_interval, decimal, percent, perplexity, text},
};
use crate::{
    error::Result,
    metrics::{HighLossExample, LanguageModelEvaluation, TokenMeasures},
};

/// Renders the page of an evaluation of a language model.
///
/// `facts` are names and values shown at the top, such as the adapter and the data.
///
/// # Errors
/// [`crate::Error::Plot`].
pub fn render_language_model(
    evaluation: &LanguageModelEvaluation,
    facts: &[(String, String)],
) -> Result<String> {
    let losses = loss_figures::losses(evaluation)?;
    let results = html! {
        (overall(evaluation))
        h2 { "Measures" }
        (measures(evaluation))
        h2 { "Loss of the examples" }
        (losses)
        h2 { "Examples with the highest loss" }
        (highest_losses(evaluation))
    };
    Ok(page("a language model", facts, &results))
}

/// Overall metrics.
fn overall(evaluation: &LanguageModelEvaluation) -> Markup {
    let metric = |name, value, more| Metric { name, value, more };
    let of = if has_prompt(evaluation) { "of completions" } else { "of texts" };
    let tokens = format!("{of}, {} tokens", HumanCount(evaluation.tokens as u64));
    let mut metrics = vec![
        metric("perplexity", perplexity(evaluation.perplexity), vec![tokens]),
        metric("mean loss (nats)", decimal(evaluation.loss), vec![]),
        metric("token accuracy", percent(evaluation.token_accuracy), vec![]),
    ];
    if let (Some(answers), Some(exact_match)) = (evaluation.answers, evaluation.exact_match) {
        let mut more = vec![format!("of {} generated completions", HumanCount(answers as u64))];
        more.extend(evaluation.exact_match_interval.map(confidence_interval));
        metrics.push(metric("exact match", percent(exact_match), more));
    }
    headline(&metrics)
}

/// Returns whether examples have prompts, apart from which completions are measured.
fn has_prompt(evaluation: &LanguageModelEvaluation) -> bool {
    evaluation.all_tokens.is_some()
}

/// Measures of completions and of all tokens.
fn measures(evaluation: &LanguageModelEvaluation) -> Markup {
    let main = TokenMeasures {
        tokens: evaluation.tokens,
        loss: evaluation.loss,
        perplexity: evaluation.perplexity,
        accuracy: evaluation.token_accuracy,
    };
    let rows = match evaluation.all_tokens {
        Some(all) => vec![("completions", main), ("all tokens", all)],
        None => vec![("all tokens", main)],
    };
    let table = html! {
        table {
            caption {
                "The loss is the mean cross-entropy of a token, the perplexity e to the loss, and the \
                 token accuracy the fraction of tokens that are the most probable one."
            }
            (head(&["evaluated", "tokens", "loss (nats)", "perplexity", "token accuracy"]))
            tbody {
                @for (name, measures) in &rows {
                    tr {
                        th scope="row" { (name) }
                        td { (measures.tokens) }
                        td { (decimal(measures.loss)) }
                        td { (perplexity(measures.perplexity)) }
                        td { (percent(measures.accuracy)) }
                    }
                }
            }
        }
    };
    wide("Measures", &table)
}

/// Examples with the highest loss; the others are counted.
fn highest_losses(evaluation: &LanguageModelEvaluation) -> Markup {
    let examples = &evaluation.highest_losses;
    let rest = evaluation.examples.saturating_sub(examples.len());
    let is_checked = evaluation.answers.is_some();
    let table = html! {
        table.texts {
            caption { "Highest loss first." }
            thead {
                tr {
                    @for name in ["place", "tokens", "loss (nats)", "token accuracy"] {
                        th scope="col" { (name) }
                    }
                    @if is_checked { th scope="col" { "match" } }
                    th scope="col" { "text" }
                }
            }
            tbody {
                @for example in examples {
                    (example_row(example, is_checked, has_prompt(evaluation)))
                }
            }
        }
    };
    html! {
        (wide("Examples with the highest loss", &table))
        @if rest > 0 { p.note { "And " (rest) " more in examples.jsonl." } }
    }
}

fn example_row(example: &HighLossExample, is_checked: bool, has_prompt: bool) -> Markup {
    let HighLossExample { scored, prompt, completion } = example;
    let answer = scored.answer.as_ref();
    // The completion of the data has not lost anything to the tokenizer or the context.
    let completion = answer.map_or(completion, |answer| &answer.expected);
    let is_match = answer.map_or(UNDEFINED, |answer| if answer.is_match { "yes" } else { "no" });
    html! {
        tr {
            td.place dir="auto" { (clean(&scored.place)) }
            td.number { (scored.tokens) }
            td.number { (decimal(scored.loss)) }
            td.number { (percent(scored.token_accuracy)) }
            @if is_checked { td { (is_match) } }
            td.text {
                @if has_prompt {
                    dl.stack {
                        (labeled("prompt", prompt))
                        (labeled("completion", completion))
                        @if let Some(answer) = answer { (labeled("generated", &answer.generated)) }
                    }
                } @else {
                    div dir="auto" { (text(completion)) }
                }
            }
        }
    }
}

fn labeled(name: &str, value: &str) -> Markup {
    html! {
        dt { (name) }
        dd dir="auto" { @if value.is_empty() { small { "(empty)" } } @else { (text(value)) } }
    }
}

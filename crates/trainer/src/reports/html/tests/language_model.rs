//! Pages of evaluations of language models.

use proptest::prelude::*;
use serde_json::Value;

use super::{
    classifier::{SCRIPT, check_nothing_is_fetched},
    markup_check::parse,
};
use crate::{
    metrics::{
        CheckedAnswer, HighLossExample, LanguageModelEvaluation, ScoredExample, TokenMeasures,
        wilson_interval,
    },
    reports::html::{MOST_EXAMPLES, render_language_model},
};

fn scored(index: usize, loss: f64) -> ScoredExample {
    let place = format!("data.jsonl, line {}", index + 1);
    ScoredExample { place, tokens: 3 + index % 7, loss, token_accuracy: 0.25, answer: None }
}

/// Examples with a loss from 1 to 3 nats, the first ones with a text.
fn evaluation(examples: usize) -> LanguageModelEvaluation {
    let loss = |index: usize| 3.0 - 2.0 * index as f64 / examples as f64;
    let scored: Vec<ScoredExample> = (0..examples).map(|at| scored(at, loss(at))).collect();
    let text = |scored: &ScoredExample| HighLossExample {
        scored: scored.clone(),
        prompt: format!("prompt of {}.", scored.place),
        completion: format!("completion of {}.", scored.place),
    };
    let highest_losses = scored.iter().take(MOST_EXAMPLES).map(text).collect();
    let (loss, tokens) = (2.0_f64.ln() * 3.0, 6 * examples);
    LanguageModelEvaluation {
        examples,
        tokens,
        loss,
        perplexity: loss.exp(),
        token_accuracy: 0.3125,
        scored,
        highest_losses,
        ..LanguageModelEvaluation::default()
    }
}

/// Gives an evaluation prompts, and generated completions of all examples with a text.
fn with_answers(mut evaluation: LanguageModelEvaluation, text: &str) -> LanguageModelEvaluation {
    let (loss, tokens) = (2.5, 3 * evaluation.tokens);
    evaluation.all_tokens =
        Some(TokenMeasures { tokens, loss, perplexity: loss.exp(), accuracy: 0.21 });
    evaluation.answers = Some(evaluation.highest_losses.len());
    evaluation.exact_match = Some(1.0 / evaluation.highest_losses.len() as f64);
    evaluation.exact_match_interval =
        Some(wilson_interval(1, evaluation.highest_losses.len() as u64));
    for (index, example) in evaluation.highest_losses.iter_mut().enumerate() {
        let (expected, generated) = (format!("expected {text}"), format!("generated {text}"));
        let answer = CheckedAnswer { expected, generated, is_match: index == 0 };
        example.scored.answer = Some(answer);
    }
    evaluation
}

fn render(evaluation: &LanguageModelEvaluation, facts: &[(&str, &str)]) -> String {
    let facts: Vec<(String, String)> =
        facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    render_language_model(evaluation, &facts).unwrap()
}

#[test]
fn page_has_the_numbers_of_the_json_file() {
    let evaluation = with_answers(evaluation(40), "text");
    let page = render(&evaluation, &[("adapter", "runs/a/adapter"), ("data", "a & b.jsonl")]);
    check_nothing_is_fetched(&page);
    let json: Value = serde_json::to_value(&evaluation).unwrap();
    let number = |place: &str| json.pointer(place).and_then(Value::as_f64).unwrap();
    let percent = |place: &str| format!("{:.2} %", 100.0 * number(place));
    let row = |name: &str, of: &str, accuracy: &str| {
        format!(
            "<th scope=\"row\">{name}</th><td>{}</td><td>{:.4}</td><td>{:.2}</td><td>{}</td>",
            json.pointer(&format!("{of}/tokens")).unwrap(),
            number(&format!("{of}/loss")),
            number(&format!("{of}/perplexity")),
            percent(accuracy)
        )
    };
    let (low, high) = (percent("/exact_match_interval/low"), percent("/exact_match_interval/high"));
    for text in [
        row("completions", "", "/token_accuracy"),
        row("all tokens", "/all_tokens", "/all_tokens/accuracy"),
        format!("<dt>perplexity</dt><dd>{:.2}</dd>", number("/perplexity")),
        format!("<dt>exact match</dt><dd>{}</dd>", percent("/exact_match")),
        format!("95 % confidence interval {low} to {high}"),
        "of 40 generated completions".to_owned(),
        "<h1>Evaluation of runs/a/adapter</h1>".to_owned(),
        "<dd dir=\"auto\">a &amp; b.jsonl</dd>".to_owned(),
        "\nMean loss of an example (nats per token)\n".to_owned(),
        "\nEvaluated tokens of an example\n".to_owned(),
        format!("\nmean of evaluated tokens ({:.4})\n", number("/loss")),
    ] {
        assert!(page.contains(&text), "{text} is not in the page");
    }
    assert_eq!(page.matches("<polygon").count(), 1);
    assert_eq!(page.matches("<td>yes</td>").count(), 1);
    assert_eq!(page.matches("<td>no</td>").count(), 39);
    assert!(page == render(&evaluation, &[("adapter", "runs/a/adapter"), ("data", "a & b.jsonl")]));
}

#[test]
fn examples_without_a_text_are_counted_and_long_texts_are_truncated() {
    let mut evaluation = evaluation(MOST_EXAMPLES + 7);
    evaluation.highest_losses[3].completion = "é".repeat(2005);
    let page = render(&evaluation, &[]);
    assert_eq!(page.matches("<td class=\"place\"").count(), MOST_EXAMPLES);
    assert!(page.contains("And 7 more in examples.jsonl."));
    assert!(
        page.contains(&format!(">{} … <small>(5 more characters)</small></div>", "é".repeat(2000)))
    );
    // Texts have no prompt, and nothing was generated.
    assert!(page.contains("Evaluation of a language model") && page.contains("of texts"));
    for word in ["<dt>prompt</dt>", "completion</dt>", "exact match", ">match</th>"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(!render(&self::evaluation(5), &[]).contains("more in examples.jsonl"));
}

#[test]
fn markup_in_texts_is_escaped() {
    let mut evaluation = with_answers(evaluation(2), SCRIPT);
    for example in &mut evaluation.highest_losses {
        example.scored.place = SCRIPT.to_owned();
        example.prompt = SCRIPT.to_owned();
    }
    evaluation.highest_losses[0].scored.answer = None;
    evaluation.highest_losses[0].completion = SCRIPT.to_owned();
    let page = render(&evaluation, &[(SCRIPT, SCRIPT)]);
    check_nothing_is_fetched(&page);
    // Title, heading, fact (twice); two places, two prompts and completions, a generated one.
    assert_eq!(page.matches("&lt;script&gt;alert(&quot;&amp;'&quot;)&lt;/script&gt;").count(), 11);
    // No completion was generated for the first example.
    assert!(page.contains("<td>–</td>") && page.contains("<dt>generated</dt>"));
    evaluation.highest_losses[0].completion.clear();
    assert!(render(&evaluation, &[]).contains("<dd dir=\"auto\"><small>(empty)</small></dd>"));
}

#[test]
fn extreme_losses_have_a_page() {
    for losses in [&[][..], &[0.0], &[2.0; 5], &[1e-9, 700.0], &[1e30; 2], &[f64::NAN]] {
        let scored: Vec<ScoredExample> =
            losses.iter().enumerate().map(|(at, loss)| scored(at, *loss)).collect();
        let loss = losses.first().copied().unwrap_or(f64::NAN);
        let evaluation = LanguageModelEvaluation { scored, loss, ..evaluation(1) };
        let page = render(&evaluation, &[]);
        check_nothing_is_fetched(&page);
        let plots = if loss.is_finite() { 2 } else { 0 };
        assert_eq!(page.matches("<figure>").count(), plots, "{losses:?}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_markup(place in any::<String>(), text in any::<String>()) {
        let mut evaluation = with_answers(evaluation(1), &text);
        evaluation.highest_losses[0].scored.place = place.clone();
        evaluation.highest_losses[0].prompt = text.clone();
        let page = render(&evaluation, &[(&text, &place)]);
        let found = parse(&page);
        prop_assert!(found.is_ok(), "{:?}", found);
        prop_assert!(!page.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\t')));
    }
}

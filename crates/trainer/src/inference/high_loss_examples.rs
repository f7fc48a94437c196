//! Texts of the examples that a language model predicts worst.

use dataset::{CompletionSet, Sequence, Tokenizer};

use crate::{
    metrics::{HighLossExample, ScoredExample},
    reports::html::MOST_EXAMPLES,
};

/// Returns the examples with the highest loss, at most [`MOST_EXAMPLES`], highest first. `scored` are the
/// results of the sequences of `set`.
pub(super) fn high_loss_examples(
    set: &CompletionSet,
    scored: &[ScoredExample],
    tokenizer: &Tokenizer,
) -> Vec<HighLossExample> {
    let mut examples: Vec<(&Sequence, &ScoredExample)> = set.sequences.iter().zip(scored).collect();
    // Stable: ties keep the order of the data.
    examples.sort_by(|one, other| other.1.loss.total_cmp(&one.1.loss));
    examples.truncate(MOST_EXAMPLES);
    let with_text = |(sequence, scored): (&Sequence, &ScoredExample)| {
        let [prompt, completion] = prompt_and_completion(sequence, tokenizer);
        HighLossExample { scored: scored.clone(), prompt, completion }
    };
    examples.into_iter().map(with_text).collect()
}

/// Returns the text before the last learned tokens, and the text of these, without the end-of-text
/// tokens around both.
fn prompt_and_completion(sequence: &Sequence, tokenizer: &Tokenizer) -> [String; 2] {
    let is_end = |id: &u32| tokenizer.ends_of_text().contains(id);
    let last = sequence.is_learned.iter().rposition(|is_learned| *is_learned);
    let learned = &sequence.is_learned[..last.map_or(0, |last| last + 1)];
    let first = learned.iter().rposition(|is_learned| !is_learned).map_or(0, |before| before + 1);
    let (prompt, rest) = sequence.ids.split_at(first);
    let completion = &rest[..learned.len() - first];
    let prompt = &prompt[prompt.iter().take_while(|id| is_end(id)).count()..];
    let ends = completion.iter().rev().take_while(|id| is_end(id)).count();
    let completion = &completion[..completion.len() - ends];
    [tokenizer.decode(prompt), tokenizer.decode(completion)]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use dataset::CompletionFiles;
    use serde_json::{Value, json};

    use super::*;

    fn examples(rows: &[Value], losses: &[f64]) -> Vec<HighLossExample> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.jsonl");
        fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
        let files = CompletionFiles { paths: vec![path], ..CompletionFiles::default() };
        let set = files.read_all().unwrap().tokenize_all(&files.tokenizer, 1024).unwrap();
        let scored = |(index, loss): (usize, &f64)| {
            let place = index.to_string();
            ScoredExample { place, tokens: 1, loss: *loss, token_accuracy: 0.0, answer: None }
        };
        let scored: Vec<ScoredExample> = losses.iter().enumerate().map(scored).collect();
        high_loss_examples(&set, &scored, &files.tokenizer)
    }

    #[test]
    fn completion_is_the_last_learned_text() {
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        let messages = [
            message("user", "Hello"),
            message("assistant", "Hi."),
            message("user", "How are you?"),
            message("assistant", "Well."),
        ];
        let texts = |row: Value| {
            let example = examples(&[row], &[1.0]).remove(0);
            [example.prompt, example.completion]
        };
        assert_eq!(texts(json!({"text": "A text."})), ["", "A text."]);
        assert_eq!(texts(json!({"prompt": "Q:", "completion": " yes"})), ["Q:", " yes"]);
        let [prompt, completion] = texts(json!({"messages": messages}));
        assert!(prompt.contains("Hello") && prompt.contains("Hi."), "{prompt}");
        assert!(prompt.contains("How are you?") && !prompt.contains("Well."), "{prompt}");
        assert_eq!(completion.trim(), "Well.");
    }

    #[test]
    fn highest_losses_come_first_and_ties_keep_their_order() {
        let losses = [&[1.0, 3.0, 2.0, 3.0][..], &[0.5; MOST_EXAMPLES]].concat();
        let row = |index| json!({"text": format!("text {index}")});
        let rows: Vec<Value> = (0..losses.len()).map(row).collect();
        let found = examples(&rows, &losses);
        assert_eq!(found.len(), MOST_EXAMPLES);
        for (example, index) in found.iter().zip([1, 3, 2, 0, 4, 5]) {
            assert_eq!(example.scored.place, index.to_string());
            assert_eq!(example.completion, format!("text {index}"));
        }
    }
}

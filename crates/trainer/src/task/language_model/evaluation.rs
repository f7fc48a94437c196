//! Perplexity and token accuracy of a language model.

use distributed::Group;
use gpt2_model::{Gpt2, tensor::integers};

use crate::{
    error::{Error, Result},
    metrics::TokenMeasures,
    task::{
        language_model::{batch::LanguageModelBatch, output_head},
        objective::LanguageMeasures,
    },
};

/// Sums over the tokens of a sequence: losses in nats, correct predictions and number of the targets in
/// the loss, then of the others.
pub(crate) type TokenSums = [f64; 6];

/// Returns the measures of three sums.
pub(crate) fn measures(sums: &[f64]) -> TokenMeasures {
    let [loss, correct, tokens] = [0, 1, 2].map(|index| sums.get(index).copied().unwrap_or(0.0));
    let (loss, accuracy) = (loss / tokens, correct / tokens);
    TokenMeasures { tokens: tokens as usize, loss, perplexity: loss.exp(), accuracy }
}

/// Returns the sums of each sequence of a batch, with the full softmax.
pub(crate) fn token_sums(model: &Gpt2, batch: &LanguageModelBatch) -> Result<Vec<TokenSums>> {
    let _no_grad = tch::no_grad_guard();
    let device = model.device();
    let hidden = model.token_states(&batch.packed(device)?, None)?;
    let targets = integers(&batch.targets, device)?;
    let (losses, correct) = output_head::evaluate(model.output_embedding()?, &hidden, &targets)?;
    let mut tokens = losses.into_iter().zip(correct).zip(&batch.is_learned);
    let of_sequence = |&length: &i64| {
        let mut sums = TokenSums::default();
        for ((loss, correct), is_learned) in tokens.by_ref().take(length as usize) {
            let sums = if *is_learned { &mut sums[..3] } else { &mut sums[3..] };
            sums.iter_mut().zip([loss, correct, 1.0]).for_each(|(sum, value)| *sum += value);
        }
        sums
    };
    Ok(batch.lengths.iter().map(of_sequence).collect())
}

/// Returns the measures of sequences. Targets in the loss are measured as completions if the data
/// `has_prompt`.
pub(crate) fn total<'a>(
    sequences: impl IntoIterator<Item = &'a TokenSums>,
    has_prompt: bool,
) -> LanguageMeasures {
    let mut sums = TokenSums::default();
    for sequence in sequences {
        sums.iter_mut().zip(sequence).for_each(|(sum, value)| *sum += value);
    }
    let all = [0, 1, 2].map(|index| sums[index] + sums[index + 3]);
    LanguageMeasures { completions: has_prompt.then(|| measures(&sums)), all: measures(&all) }
}

/// Evaluates next-token prediction on batches, which the processes of `group` share.
pub(crate) fn evaluate(
    model: &Gpt2,
    batches: impl Iterator<Item = LanguageModelBatch>,
    has_prompt: bool,
    group: &Group,
) -> Result<LanguageMeasures> {
    let parts = group.map(batches, |batch| {
        let sums = token_sums(model, &batch)?;
        Ok::<_, Error>(sums.into_iter().flatten().collect())
    })?;
    Ok(total(parts.iter().flat_map(|part| part.as_chunks().0), has_prompt))
}

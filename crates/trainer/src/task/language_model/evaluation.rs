//! Perplexity and token accuracy of a language model.

use distributed::Group;
use gpt2_model::{Gpt2, tensor::integers};
use tch::Tensor;

use crate::{
    error::{Error, Result},
    task::{
        language_model::{batch::LanguageModelBatch, output_head},
        objective::{LanguageMeasures, TokenMeasures},
    },
};

/// Sums of the losses in nats, correct predictions, and tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Sums([f64; 3]);

impl Sums {
    fn add(&mut self, other: &[f64]) {
        self.0.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
    }

    fn measures(self) -> TokenMeasures {
        let [loss, correct, tokens] = self.0;
        let (loss, accuracy) = (loss / tokens, correct / tokens);
        TokenMeasures { tokens: tokens as usize, loss, perplexity: loss.exp(), accuracy }
    }
}

/// Evaluates next-token prediction with the full softmax on batches, which the processes of `group`
/// share. Targets in the loss are measured as completions if the data `has_prompt`.
pub(crate) fn evaluate(
    model: &Gpt2,
    batches: impl Iterator<Item = LanguageModelBatch>,
    has_prompt: bool,
    group: &Group,
) -> Result<LanguageMeasures> {
    let _no_grad = tch::no_grad_guard();
    let parts = group.map(batches, |batch| {
        let device = model.device();
        let hidden = model.token_states(&batch.packed(device)?, None)?;
        let targets = integers(&batch.targets, device)?;
        let mut sums = Vec::new();
        for learned in [true, false] {
            let positions = batch.positions(learned);
            let at = integers(&positions, device)?;
            let select = |values: &Tensor| values.f_index_select(0, &at);
            let (loss, correct) = output_head::evaluate(
                model.output_embedding()?,
                &select(&hidden)?,
                &select(&targets)?,
            )?;
            sums.extend([loss, correct, positions.len() as f64]);
        }
        Ok::<_, Error>(sums)
    })?;
    let (mut completions, mut all) = (Sums::default(), Sums::default());
    for sums in &parts {
        let (of_completions, of_prompts) = sums.split_at(3.min(sums.len()));
        completions.add(of_completions);
        all.add(of_completions);
        all.add(of_prompts);
    }
    let completions = has_prompt.then(|| completions.measures());
    Ok(LanguageMeasures { completions, all: all.measures() })
}

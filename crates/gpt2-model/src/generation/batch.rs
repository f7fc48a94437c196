//! Generation for many prompts, a batch at a time.

use std::ops::ControlFlow;

use crate::{
    engine::decoder::KernelDecoder,
    error::{ArgumentError, Result},
    generation::{
        decoder::{Decoder, NewTokens, read_prompts},
        logits::penalize_repetition,
        sampling::Sampler,
        settings::GenerateConfig,
        stopping::{FinishReason, check_prompt, room},
        torch_decoder::TorchDecoder,
    },
    model::gpt2::Gpt2,
};

/// Text generated for a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// New token ids, without a stop token.
    pub tokens: Vec<i64>,
    /// Reason for which the text ends.
    pub finish: FinishReason,
}

/// Text to continue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<i64>,
    /// Number that seeds the random generator of the prompt, for example its row in a file.
    pub number: u64,
}

/// Prompt that is continued.
struct Row<C> {
    /// Index of the prompt.
    index: usize,
    cache: C,
    /// Prompt and new tokens.
    text: Vec<i64>,
    prompt: usize,
    /// Maximum number of new tokens.
    room: usize,
    sampler: Sampler,
}

/// Caller's function, which is called with the index of a prompt and each new token, and may end
/// the text.
type OnToken<'a> = &'a mut dyn FnMut(usize, i64) -> ControlFlow<()>;

/// Continues `prompt` (token ids) and returns the new token ids; `on_token` is
/// called with each as soon as it is known.
///
/// # Errors
/// As [`generate_batch`].
pub fn generate(
    model: &Gpt2,
    prompt: &[i64],
    config: &GenerateConfig,
    mut on_token: impl FnMut(i64),
) -> Result<Vec<i64>> {
    let mut on_token = |_: usize, token: i64| {
        on_token(token);
        ControlFlow::Continue(())
    };
    let prompts = [Prompt { ids: prompt.to_vec(), number: 0 }];
    let generated = generate_batch(model, &prompts, config, 1, &mut on_token)?;
    Ok(generated.into_iter().next().map_or_else(Vec::new, |generated| generated.tokens))
}

/// Continues prompts of any lengths, up to `batch_size` at a time, and returns the new tokens of
/// each. A finished text makes room for the next prompt. `on_token` is called with the index of a
/// prompt and each of its tokens as soon as it is known, and may end the text after it.
///
/// The text of a prompt does not depend on the other prompts or the size of a batch. On the CPU
/// with plain float32 layers its logits do not either, bit for bit; on other devices and in other
/// formats they may be rounded differently.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a setting outside its range or logits that are
/// NaN or infinite, and the errors of [`check_prompt`].
pub fn generate_batch(
    model: &Gpt2,
    prompts: &[Prompt],
    config: &GenerateConfig,
    batch_size: usize,
    on_token: OnToken<'_>,
) -> Result<Vec<Generated>> {
    config.check()?;
    if batch_size == 0 {
        return Err(ArgumentError::BatchSize.into());
    }
    for prompt in prompts {
        check_prompt(model.config(), &prompt.ids)?;
    }
    let _no_grad = tch::no_grad_guard();
    let job = Job { model, prompts, config, batch_size };
    match KernelDecoder::new(model)? {
        Some(decoder) => job.run(decoder, on_token),
        None => job.run(TorchDecoder::new(model), on_token),
    }
}

/// Prompts, and how they are continued.
pub(super) struct Job<'a> {
    pub model: &'a Gpt2,
    pub prompts: &'a [Prompt],
    pub config: &'a GenerateConfig,
    pub batch_size: usize,
}

impl Job<'_> {
    pub fn run<D: Decoder>(&self, mut decoder: D, on_token: OnToken<'_>) -> Result<Vec<Generated>> {
        let mut finished: Vec<Option<Generated>> = self.prompts.iter().map(|_| None).collect();
        let (mut active, mut waiting) = (Vec::new(), 0..self.prompts.len());
        loop {
            let count = self.batch_size - active.len();
            let mut new = waiting
                .by_ref()
                .take(count)
                .map(|index| self.row(index, &decoder))
                .collect::<Result<Vec<_>>>()?;
            if new.is_empty() && active.is_empty() {
                break;
            }
            let mut ends: Vec<Option<FinishReason>> = Vec::with_capacity(active.len());
            if !active.is_empty() {
                ends = self.step(&mut decoder, &mut active, on_token)?;
            }
            ends.extend(self.begin(&mut decoder, &mut new, on_token)?);
            active.append(&mut new);
            let rows = std::mem::take(&mut active);
            for (row, end) in rows.into_iter().zip(ends) {
                match end {
                    None => active.push(row),
                    Some(finish) => {
                        let tokens = row.text[row.prompt..].to_vec();
                        finished[row.index] = Some(Generated { tokens, finish });
                    }
                }
            }
        }
        // Every prompt was taken from those that wait, and left the batch.
        Ok(finished.into_iter().flatten().collect())
    }

    fn row<D: Decoder>(&self, index: usize, decoder: &D) -> Result<Row<D::Cache>> {
        let Prompt { ids: prompt, number } = &self.prompts[index];
        let room = room(self.model.config(), prompt, self.config.max_new_tokens);
        Ok(Row {
            index,
            cache: decoder.cache(prompt.len() + room)?,
            text: prompt.clone(),
            prompt: prompt.len(),
            room,
            sampler: Sampler::new(self.config.sampling, *number),
        })
    }

    /// Computes the first token of each row. Returns the reasons for which rows end.
    fn begin<D: Decoder>(
        &self,
        decoder: &mut D,
        rows: &mut [Row<D::Cache>],
        on_token: OnToken<'_>,
    ) -> Result<Vec<Option<FinishReason>>> {
        let mut ends = vec![Some(FinishReason::Length); rows.len()];
        if self.config.max_new_tokens == 0 {
            return Ok(ends);
        }
        let mut all_logits = Vec::with_capacity(rows.len());
        let mut prompts: Vec<_> = rows
            .iter_mut()
            .map(|row| NewTokens { cache: &mut row.cache, ids: &row.text })
            .collect();
        read_prompts(decoder, &mut prompts, &mut |_, logits| {
            all_logits.push(logits.to_vec());
            Ok(())
        })?;
        for ((row, logits), end) in rows.iter_mut().zip(&mut all_logits).zip(&mut ends) {
            *end = self.advance(row, logits, on_token)?;
        }
        Ok(ends)
    }

    /// Computes the next token of each row. Returns the reasons for which rows end.
    fn step<D: Decoder>(
        &self,
        decoder: &mut D,
        rows: &mut [Row<D::Cache>],
        on_token: OnToken<'_>,
    ) -> Result<Vec<Option<FinishReason>>> {
        let mut sequences: Vec<_> = rows
            .iter_mut()
            .map(|row| NewTokens { cache: &mut row.cache, ids: &row.text[row.text.len() - 1..] })
            .collect();
        let mut logits = decoder.logits(&mut sequences, true)?;
        let vocabulary = logits.len() / rows.len();
        let rows = rows.iter_mut().zip(logits.chunks_mut(vocabulary));
        rows.map(|(row, logits)| self.advance(row, logits, on_token)).collect()
    }

    /// Adds the next token to a row, given its logits `[vocab]`. Returns the reason for which the
    /// row ends.
    fn advance<C>(
        &self,
        row: &mut Row<C>,
        logits: &mut [f32],
        on_token: OnToken<'_>,
    ) -> Result<Option<FinishReason>> {
        if !kernels::is_finite(logits) {
            return Err(ArgumentError::Logits { tokens: row.text.len() }.into());
        }
        penalize_repetition(logits, &row.text, self.config.repetition_penalty);
        let token = row.sampler.choose(logits) as i64;
        if self.config.stop_tokens.contains(&token) {
            return Ok(Some(FinishReason::StopToken));
        }
        row.text.push(token);
        if on_token(row.index, token).is_break() {
            return Ok(Some(FinishReason::Interrupted));
        }
        let is_full = row.text.len() - row.prompt >= row.room;
        Ok(is_full.then_some(FinishReason::Length))
    }
}

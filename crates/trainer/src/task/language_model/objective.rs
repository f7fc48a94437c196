//! Cross-entropy of the next token, and its gradients.

use gpt2_model::{Arithmetic, DType, FrozenHead, Gpt2, tensor::integers};
use kernels::Precision;
use tch::{Kind, Tensor};

use crate::{
    error::{Error, Result},
    task::{
        language_model::{batch::LanguageModelBatch, output_head},
        objective::Objective,
    },
};

/// Mean cross-entropy of the next tokens of a batch.
#[derive(Debug)]
pub struct LanguageModelObjective<'a> {
    model: &'a Gpt2,
    /// Data type of the matrix products of the head.
    kind: Kind,
    /// Head on the CPU kernels, if it is frozen and the model uses them.
    frozen_head: Option<FrozenHead>,
    micro_batch_size: usize,
}

impl<'a> LanguageModelObjective<'a> {
    /// Creates the objective of a model, without micro-batches. The matrix products of the head are
    /// computed in `dtype`.
    ///
    /// # Errors
    /// An error of the model if it has no language-model head, and any libtorch error.
    pub fn new(model: &'a Gpt2, dtype: DType) -> Result<Self> {
        give_gradient(model.token_embedding())?;
        let output = model.output_embedding()?;
        give_gradient(output)?;
        let is_frozen = !output.requires_grad() && model.arithmetic() == Arithmetic::Kernels;
        let precision = match dtype {
            DType::Float32 => Some(Precision::Float32),
            DType::Bfloat16 => Some(Precision::BFloat16),
            DType::Float16 => None,
        };
        let precision = precision.filter(|_| is_frozen);
        let frozen_head =
            precision.map(|precision| FrozenHead::new(output, precision)).transpose()?;
        Ok(Self { model, kind: dtype.kind(), frozen_head, micro_batch_size: usize::MAX })
    }

    /// Computes batches of more than `size` sequences in micro-batches of that size.
    #[must_use]
    pub fn micro_batches_of(self, size: usize) -> Self {
        Self { micro_batch_size: size, ..self }
    }
}

/// Gives a trainable embedding a gradient of zeros, to which the objective adds.
fn give_gradient(embedding: &Tensor) -> Result<()> {
    if embedding.requires_grad() && !embedding.f_grad()?.defined() {
        let nothing = embedding.f_narrow(0, 0, 1)?.f_sum(Kind::Float)?;
        nothing.f_mul_scalar(0.0)?.f_backward()?;
    }
    Ok(())
}

impl Objective for LanguageModelObjective<'_> {
    type Batch = LanguageModelBatch;

    fn micro_batches(&self, batch: &LanguageModelBatch) -> Option<Vec<LanguageModelBatch>> {
        let is_large = batch.lengths.len() > self.micro_batch_size;
        is_large.then(|| batch.micro_batches(self.micro_batch_size))
    }

    fn weight(&self, batch: &LanguageModelBatch) -> f64 {
        batch.learned() as f64
    }

    fn backward(&self, batch: &LanguageModelBatch, factor: f64) -> Result<Tensor> {
        let (model, device) = (self.model, self.model.device());
        let output = model.output_embedding()?;
        let positions = if batch.learned() == batch.tokens() {
            None
        } else {
            Some(integers(&batch.positions(true), device)?)
        };
        let targets = integers(&batch.learned_targets(), device)?;
        let head = |hidden: &Tensor| {
            if let (Some(head), None) = (&self.frozen_head, &batch.candidates) {
                return Ok(head.backward(hidden, &targets, factor)?);
            }
            let mut gradient = output.requires_grad().then(|| output.f_grad()).transpose()?;
            let (gradient, candidates) = (gradient.as_mut(), batch.candidates.as_deref());
            let (kind, hidden) = (self.kind, hidden);
            Ok::<_, Error>(output_head::backward(
                output, gradient, hidden, &targets, candidates, kind, factor,
            )?)
        };
        let loss = model.backward_tokens(&batch.packed(device)?, positions.as_ref(), head)?;
        Ok(loss.f_view([0i64; 0])?)
    }
}

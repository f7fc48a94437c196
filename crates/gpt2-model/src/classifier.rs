//! GPT-2 with a classification head on one pooled token.

use std::path::Path;

use rand_core::Rng;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::{
    arithmetic::Arithmetic,
    error::{Error, Result},
    init,
    linear::{Linear, LinearLayer, LinearSlot},
    model::{Gpt2, at_positions},
    packed::PackedRows,
    weights,
};

/// Name of the head, as in the Hugging Face layout.
const SCORE: &str = "score";

/// Which position of a padded row speaks for the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The last position of the row, padding or not. The result depends on how
    /// far the row is padded.
    LastPosition,
    /// The last real token. Attention is causal, so padding changes nothing.
    LastToken,
}

/// GPT-2 with a linear classification head, `score`.
#[derive(Debug)]
pub struct Gpt2Classifier {
    body: Gpt2,
    score: Box<dyn LinearLayer>,
}

impl Gpt2Classifier {
    /// A body with a new head for `classes` classes, drawn from `rng` as
    /// PyTorch's `nn.Linear` is: weight `[classes, dim]`, then bias `[classes]`.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is not at least one class.
    pub fn new<R: Rng + ?Sized>(body: Gpt2, classes: usize, rng: &mut R) -> Result<Self> {
        if classes == 0 {
            return Err(Error::Argument("a classifier needs at least one class".to_owned()));
        }
        let score = init::linear(rng, body.config().n_embd, classes as i64, body.device())?;
        Ok(Self { body, score: Box::new(score) })
    }

    /// The head's weight `[classes, dim]` of a classifier in the Hugging Face layout,
    /// if the model in a folder is one: what
    /// [`Gpt2::load`] passes over.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Format`] name the file at fault.
    pub fn head_of(folder: &Path, body: &Gpt2) -> Result<Option<Tensor>> {
        let path = folder.join("model.safetensors");
        weights::load_score(&path, body.config().n_embd, body.device())
    }

    /// A body with a given head, weight `[classes, dim]`.
    pub fn with_head(body: Gpt2, score: Box<dyn LinearLayer>) -> Self {
        Self { body, score }
    }

    /// The same model with a head that has no bias.
    #[must_use]
    pub fn without_bias(self) -> Self {
        let weight = self.score.weight().shallow_clone();
        Self { score: Box::new(Linear::new(weight, None)), ..self }
    }

    /// The parts of the model.
    pub fn into_parts(self) -> (Gpt2, Box<dyn LinearLayer>) {
        (self.body, self.score)
    }

    /// The model below the head.
    pub fn body(&self) -> &Gpt2 {
        &self.body
    }

    pub(crate) fn score(&self) -> &dyn LinearLayer {
        self.score.as_ref()
    }

    /// Token ids `[batch, width]`, padded on the right, and the real tokens of
    /// each row `[batch]` (at least one) → logits `[batch, classes]`.
    ///
    /// # Errors
    /// [`Error::TooLong`] if a row is longer than the context, [`Error::Torch`]
    /// if libtorch refuses.
    pub fn forward(&self, ids: &Tensor, lengths: &Tensor, pooling: Pooling) -> Result<Tensor> {
        let (_, width) = ids.size2()?;
        let positions = match pooling {
            Pooling::LastPosition => lengths.f_full_like(width - 1)?,
            Pooling::LastToken => lengths.f_sub_scalar(1)?,
        };
        match self.body.arithmetic() {
            arithmetic @ Arithmetic::Fused => {
                Ok(self.score.forward(&self.body.forward_at(ids, &positions)?, arithmetic)?)
            }
            // The head sees every position: its gradients are sums over all of
            // them, mostly of zeros, and cut into blocks accordingly.
            arithmetic @ Arithmetic::Stepwise => {
                let hidden = self.body.forward(ids)?;
                let logits = self.score.forward(&hidden, arithmetic)?;
                Ok(at_positions(&logits, &positions)?)
            }
        }
    }

    /// Packed rows → logits `[rows, classes]`, pooled at the last token of each:
    /// what [`Gpt2Classifier::forward`] gives with [`Pooling::LastToken`], rounding
    /// apart, without computing padding. Always [`Arithmetic::Fused`].
    ///
    /// # Errors
    /// As [`Gpt2Classifier::forward`].
    pub fn forward_packed(&self, rows: &PackedRows) -> Result<Tensor> {
        Ok(self.score.forward(&self.body.forward_last(rows)?, Arithmetic::Fused)?)
    }

    /// Puts a plain layer in the place of every linear layer that is not one, with
    /// the same outputs ([`LinearLayer::merged`]).
    ///
    /// # Errors
    /// Whatever libtorch refuses, for want of memory for example.
    pub fn merge(&mut self) -> Result<()> {
        self.visit_linears(&mut |slot| {
            let merged = slot.layer.merged()?;
            *slot.layer = Box::new(merged);
            Ok(())
        })
    }

    /// Calls `visit` with every linear layer, in the order they are computed,
    /// the head last.
    ///
    /// # Errors
    /// Whatever `visit` returns; the first error ends the visit.
    pub fn visit_linears<E>(
        &mut self,
        visit: &mut dyn FnMut(LinearSlot<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.body.visit_linears(visit)?;
        visit(LinearSlot { name: SCORE, outputs: &[], layer: &mut self.score })
    }

    /// As [`Gpt2::visit_modules`], and the head.
    pub(crate) fn visit_modules(
        &self,
        visit: &mut dyn FnMut(String, String, Vec<(String, Tensor)>),
    ) {
        self.body.visit_modules(visit);
        visit(SCORE.to_owned(), self.score.describe(), self.score.parameters());
    }

    /// Every parameter with its name, the head's included.
    pub fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let mut all = self.body.named_parameters();
        let head = self.score.parameters().into_iter();
        all.extend(head.map(|(name, value)| (format!("{SCORE}.{name}"), value)));
        all
    }
}

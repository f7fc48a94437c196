//! GPT-2 classifier: a head on the hidden state of one token.

use std::path::Path;

use gpt2_config::{Gpt2Config, HEAD_WEIGHT};
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::{
    error::{ArgumentError, Result},
    model::{
        arithmetic::Arithmetic,
        gpt2::{Gpt2, at_positions},
        initialization,
        linear::{Linear, LinearLayer, LinearSlot},
        packed::PackedRows,
    },
    weights::read,
};

/// Token whose hidden state is classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The last position of the row, padding or not. The result depends on the width
    /// that the row is padded to.
    LastPosition,
    /// The last real token. Attention is causal, so padding has no effect.
    LastToken,
}

/// GPT-2 with a linear classification head, `score`.
#[derive(Debug)]
pub struct Gpt2Classifier {
    body: Gpt2,
    score: Box<dyn LinearLayer>,
}

impl Gpt2Classifier {
    /// Name of the head in the Hugging Face layout.
    pub const HEAD: &str = "score";

    /// Names of the head's weight and bias.
    pub const HEAD_TENSORS: [&str; 2] = [HEAD_WEIGHT, "score.bias"];

    /// Adds a new head for `classes` classes, drawn from `rng` like PyTorch's
    /// `nn.Linear`: weight `[classes, dim]`, then bias `[classes]`.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if there is not at least one class.
    pub fn new<R: Rng + ?Sized>(body: Gpt2, classes: usize, rng: &mut R) -> Result<Self> {
        if classes == 0 {
            return Err(ArgumentError::NoClass.into());
        }
        let score =
            initialization::linear(rng, body.config().n_embd, classes as i64, body.device())?;
        let score = score.with_arithmetic(body.arithmetic());
        Ok(Self { body: body.without_lm_head(), score: Box::new(score) })
    }

    /// Reads the head's weight `[classes, dim]` of a classifier in the Hugging Face
    /// layout, which [`Gpt2::load`] ignores, if the model in a folder has one.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) or [`Error::Format`](crate::Error::Format) name the
    /// file at fault.
    pub fn head_of(folder: &Path, body: &Gpt2) -> Result<Option<Tensor>> {
        read::load_head(folder, body.config().n_embd, body.device())
    }

    /// Returns whether a model folder has a classification head.
    ///
    /// # Errors
    /// As [`Gpt2Classifier::head_of`].
    pub fn has_head(folder: &Path) -> Result<bool> {
        let config = Gpt2Config::from_file(&folder.join("config.json"))?;
        Ok(read::load_head(folder, config.n_embd, Device::Cpu)?.is_some())
    }

    /// Adds a given head with a weight `[classes, dim]`.
    pub fn with_head(body: Gpt2, score: Box<dyn LinearLayer>) -> Self {
        Self { body: body.without_lm_head(), score }
    }

    /// Removes the bias of the head.
    #[must_use]
    pub fn without_bias(self) -> Self {
        let weight = self.score.weight().shallow_clone();
        let score = Linear::new(weight, None).with_arithmetic(self.body.arithmetic());
        Self { score: Box::new(score), ..self }
    }

    /// Returns the body and the head.
    pub fn into_parts(self) -> (Gpt2, Box<dyn LinearLayer>) {
        (self.body, self.score)
    }

    /// Body of the model.
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
    /// [`Error::TooLong`](crate::Error::TooLong) if a row is longer than the context,
    /// [`Error::Torch`](crate::Error::Torch) if libtorch refuses.
    pub fn forward(&self, ids: &Tensor, lengths: &Tensor, pooling: Pooling) -> Result<Tensor> {
        let (_, width) = ids.size2()?;
        let positions = match pooling {
            Pooling::LastPosition => lengths.f_full_like(width - 1)?,
            Pooling::LastToken => lengths.f_sub_scalar(1)?,
        };
        match self.body.arithmetic() {
            Arithmetic::Fused | Arithmetic::Kernels => {
                Ok(self.score.forward(&self.body.forward_at(ids, &positions)?)?)
            }
            // The head is applied to every position: its gradients are sums over all of
            // them, mostly zeros, and computed in blocks accordingly.
            Arithmetic::Stepwise => {
                let logits = self.score.forward(&self.body.forward(ids)?)?;
                Ok(at_positions(&logits, &positions)?)
            }
        }
    }

    /// Packed rows → logits `[rows, classes]`, pooled at the last token of each: the
    /// result of [`Gpt2Classifier::forward`] with [`Pooling::LastToken`] up to rounding,
    /// without computing padding. Attention is fused, whatever the model's arithmetic.
    ///
    /// # Errors
    /// As [`Gpt2Classifier::forward`].
    pub fn forward_packed(&self, rows: &PackedRows) -> Result<Tensor> {
        Ok(self.score.forward(&self.body.forward_last(rows)?)?)
    }

    /// Replaces every linear layer by a plain one with the same outputs
    /// ([`LinearLayer::merged`]), and frees the activations of the last training step.
    pub fn merge(&mut self) -> Result<()> {
        self.body.merge()?;
        let merged = self.score.merged()?.with_arithmetic(self.body.arithmetic());
        self.score = Box::new(merged);
        Ok(())
    }

    /// Calls `visit` with every linear layer, in the order of computation, the head
    /// last.
    ///
    /// # Errors
    /// The first error that `visit` returns; it ends the visit.
    pub fn visit_linears<E>(
        &mut self,
        visit: &mut dyn FnMut(LinearSlot<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.body.visit_linears(visit)?;
        let arithmetic = self.body.arithmetic();
        visit(LinearSlot { name: Self::HEAD, outputs: &[], arithmetic, layer: &mut self.score })
    }

    /// [`Gpt2::visit_modules`], then the head.
    pub(crate) fn visit_modules(
        &self,
        visit: &mut dyn FnMut(String, String, Vec<(String, Tensor)>),
    ) {
        self.body.visit_modules(visit);
        visit(Self::HEAD.to_owned(), self.score.describe(), self.score.parameters());
    }

    /// Returns every parameter with its name, the head included.
    pub fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let mut all = self.body.named_parameters();
        let head = self.score.parameters().into_iter();
        all.extend(head.map(|(name, value)| (format!("{}.{name}", Self::HEAD), value)));
        all
    }
}

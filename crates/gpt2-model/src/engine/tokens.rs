//! Hidden states of tokens of packed sequences, for the language-model head.

use tch::{Kind, Tensor};

use super::Outputs;
use crate::{
    error::{Error, Result},
    model::{arithmetic::Arithmetic, gpt2::Gpt2, packed::PackedRows},
    tensor::float_values,
};

impl Gpt2 {
    /// Packed rows → hidden states after the final layer norm, without gradients: of the tokens at
    /// `positions` (indices of tokens of the batch, int64), `[positions, dim]`, or of all tokens,
    /// `[tokens, dim]`.
    ///
    /// # Errors
    /// As [`Gpt2::forward`]; [`Error::Kernels`] if the model's arithmetic cannot compute it.
    pub fn token_states(&self, rows: &PackedRows, positions: Option<&Tensor>) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let output = if self.uses_kernels() {
            let pass = self.kernel_pass(rows, Outputs::All, false)?;
            self.kernel_outputs(rows, &pass, &mut self.workspace().lock(), false)?
        } else {
            let tokens = Tensor::f_embedding(&self.wte, rows.ids(), -1, false, false)?;
            self.packed_outputs(&tokens, rows)?
        };
        self.normalized_at(&output, positions)
    }

    /// Adds the gradients of a loss of the hidden states of [`Gpt2::token_states`] to all parameters
    /// that require one, and returns the loss. `head` computes the loss from the hidden states, and
    /// its gradient with respect to them. A trainable token embedding must have a gradient already,
    /// to which the gradient of the embedded tokens is added after `head`.
    ///
    /// # Errors
    /// As [`Gpt2::token_states`], and any error of `head`.
    pub fn backward_tokens<E: From<Error>>(
        &self,
        rows: &PackedRows,
        positions: Option<&Tensor>,
        head: impl FnOnce(&Tensor) -> Result<(Tensor, Tensor), E>,
    ) -> Result<Tensor, E> {
        if !self.uses_kernels() {
            return self.backward_by_autograd(rows, positions, head);
        }
        let pass = self.kernel_pass(rows, Outputs::All, true)?;
        let shards = &mut self.workspace().lock();
        let output = self.kernel_outputs(rows, &pass, shards, true)?;
        let output = output.f_set_requires_grad(true).map_err(Error::from)?;
        let hidden = self.normalized_at(&output, positions)?;
        let (loss, gradient) = head(&hidden)?;
        propagate(&hidden, &gradient)?;
        let gradient = output.f_grad().map_err(Error::from)?;
        pass.backward(shards, &float_values(&gradient)?)?;
        Ok(loss)
    }

    pub(super) fn backward_by_autograd<E: From<Error>>(
        &self,
        rows: &PackedRows,
        positions: Option<&Tensor>,
        head: impl FnOnce(&Tensor) -> Result<(Tensor, Tensor), E>,
    ) -> Result<Tensor, E> {
        let tokens = self.embedded_leaf(rows)?;
        let hidden = self.normalized_at(&self.packed_outputs(&tokens, rows)?, positions)?;
        let (loss, gradient) = head(&hidden)?;
        if hidden.requires_grad() {
            propagate(&hidden, &gradient)?;
        }
        self.add_embedded_gradient(&tokens, rows)?;
        Ok(loss)
    }

    /// Embedded tokens `[tokens, dim]` as a leaf: its gradient has a row per token of the batch,
    /// while the gradient of the table would have a row per token of the vocabulary.
    fn embedded_leaf(&self, rows: &PackedRows) -> Result<Tensor> {
        let tokens = self.wte.f_detach()?.f_index_select(0, rows.ids())?;
        Ok(tokens.f_set_requires_grad(self.wte.requires_grad())?)
    }

    fn add_embedded_gradient(&self, tokens: &Tensor, rows: &PackedRows) -> Result<()> {
        if self.wte.requires_grad() {
            let _no_grad = tch::no_grad_guard();
            let _ = self.wte.f_grad()?.f_index_add_(0, rows.ids(), &tokens.f_grad()?)?;
        }
        Ok(())
    }

    /// Embedded tokens `[tokens, dim]` → outputs of the last block, `[tokens, dim]`.
    fn packed_outputs(&self, tokens: &Tensor, rows: &PackedRows) -> Result<Tensor> {
        rows.check_context(self.config.n_positions)?;
        let dim = self.config.n_embd;
        if let (Arithmetic::Stepwise, [run]) = (self.arithmetic, rows.runs()) {
            // Attention of packed rows is fused; rows of one length do not need it.
            let size = [run.rows, run.length, dim];
            return Ok(self.run_embedded(&tokens.f_view(size)?)?.f_view([-1, dim])?);
        }
        let mut hidden = tokens.f_add(&self.wpe.f_index_select(0, rows.positions())?)?;
        for block in &self.blocks {
            hidden = block.forward_packed(&hidden, rows)?;
        }
        Ok(hidden)
    }

    fn normalized_at(&self, output: &Tensor, positions: Option<&Tensor>) -> Result<Tensor> {
        match positions {
            None => self.normalize(output),
            Some(positions) => self.normalize(&output.f_index_select(0, positions)?),
        }
    }
}

/// Propagates the gradient of hidden states: the scalar `Σ hidden · gradient` has the same gradients
/// as the loss.
fn propagate(hidden: &Tensor, gradient: &Tensor) -> Result<()> {
    Ok(hidden.f_mul(gradient)?.f_sum(Kind::Float)?.f_backward()?)
}

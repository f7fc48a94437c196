//! Forward and backward pass of packed sequences on the CPU kernels of the `kernels` crate.
//!
//! It computes the transformer blocks of a model with frozen weights and trainable low-rank
//! terms. Sequences are distributed over threads, longest first; each thread computes its own
//! from the first block to the last, and the gradients are added in the order of the threads.
//! The result depends on the number of shards, not on when the threads run. Embeddings, the
//! final norm, the head and the loss are libtorch's.

mod block;
mod buffer;
mod linear;
pub(crate) mod panels;
mod pass;
mod shard;
mod unsupported;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{TchError, Tensor};

use self::{pass::Pass, shard::Shard};
pub use self::unsupported::Unsupported;
use crate::{
    classifier::Gpt2Classifier,
    error::Result,
    model::{gpt2::Gpt2, packed::PackedRows},
    tensor::float_values,
};

/// Work memory of the threads, kept from pass to pass.
#[derive(Debug, Default)]
pub(crate) struct Workspace(Mutex<Vec<Shard>>);

impl Workspace {
    fn lock(&self) -> MutexGuard<'_, Vec<Shard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gpt2Classifier {
    /// Packed rows → logits `[rows, classes]` as [`Gpt2Classifier::forward_packed`], without
    /// gradients.
    ///
    /// # Errors
    /// As [`Gpt2Classifier::forward_packed`]; [`Error::Kernels`](crate::Error::Kernels) if the
    /// model's arithmetic cannot compute it.
    pub fn predict_packed(&self, rows: &PackedRows) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let body = self.body();
        let Some(pass) = body.kernel_pass(rows)? else { return self.forward_packed(rows) };
        let output = body.kernel_outputs(rows, &pass, &mut body.workspace().lock(), false)?;
        Ok(self.score().forward(&body.normalize(&output)?)?)
    }

    /// Returns the loss that `loss` computes from the logits `[rows, classes]` of
    /// [`Gpt2Classifier::forward_packed`], and adds its gradients to all parameters that
    /// require one.
    ///
    /// # Errors
    /// As [`Gpt2Classifier::predict_packed`], and any error of `loss`.
    pub fn backward_packed(
        &self,
        rows: &PackedRows,
        loss: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Tensor> {
        let body = self.body();
        let Some(pass) = body.kernel_pass(rows)? else {
            let loss = loss(&self.forward_packed(rows)?)?;
            loss.f_backward()?;
            return Ok(loss.f_detach()?);
        };
        let shards = &mut body.workspace().lock();
        let output = body.kernel_outputs(rows, &pass, shards, true)?.f_set_requires_grad(true)?;
        let loss = loss(&self.score().forward(&body.normalize(&output)?)?)?;
        loss.f_backward()?;
        pass.backward(shards, &float_values(&output.f_grad()?)?)?;
        Ok(loss.f_detach()?)
    }
}

impl Gpt2 {
    /// A pass over `rows`, or `None` if libtorch computes them: if the model does not use the
    /// kernels, or if the rows cannot be distributed evenly.
    fn kernel_pass(&self, rows: &PackedRows) -> Result<Option<Pass>> {
        if !self.uses_kernels() {
            return Ok(None);
        }
        let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
        Pass::new(self, rows, threads)
    }

    /// Outputs of the last block at the last token of each row, `[rows, dim]`.
    fn kernel_outputs(
        &self,
        rows: &PackedRows,
        pass: &Pass,
        shards: &mut Vec<Shard>,
        keeps_activations: bool,
    ) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let embedded = float_values(&self.embed_packed(rows)?)?;
        let outputs = pass.forward(shards, &embedded, keeps_activations)?;
        Ok(Tensor::f_from_slice(&outputs)?.f_view([-1, self.config().n_embd])?)
    }
}

#[cfg(test)]
mod tests;

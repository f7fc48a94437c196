//! Forward and backward pass of packed sequences on the CPU kernels of the `kernels` crate.
//!
//! It computes the transformer blocks of a model with frozen weights and trainable low-rank
//! terms. Sequences are distributed over threads, longest first; each thread computes its own
//! from the first block to the last. Where they cannot be distributed evenly, as a single long
//! sequence, threads share the rows and heads of each operation. Gradients are added in a tree that
//! depends on the batch alone, so the result does not depend on the number of threads. The
//! cross-entropy of a frozen language-model head is in `head.rs`; embeddings, the final norm, and any
//! other head and loss are libtorch's.

mod attention;
mod block;
mod buffer;
pub(crate) mod decoder;
mod distribution;
mod head;
mod linear;
pub(crate) mod panels;
mod pass;
mod profile;
mod shard;
mod team;
mod tokens;
mod tree;
mod unsupported;

use std::sync::{Mutex, MutexGuard, PoisonError};

use kernels::Isa;
use tch::{Kind, TchError, Tensor};

pub use self::{
    head::FrozenHead,
    profile::{Cost, KernelProfile},
    unsupported::Unsupported,
};
use self::{
    pass::{Outputs, Pass},
    shard::Shard,
};
use crate::{
    classifier::Gpt2Classifier,
    error::Result,
    model::{arithmetic::Arithmetic, block::Block, gpt2::Gpt2, packed::PackedRows},
    tensor::float_values,
};

/// Work memory of the threads, kept from pass to pass.
#[derive(Debug, Default)]
pub(crate) struct Workspace(Mutex<Vec<Shard>>);

impl Workspace {
    fn lock(&self) -> MutexGuard<'_, Vec<Shard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the profile since the last call.
    fn take_profile(&self) -> KernelProfile {
        let mut sum = KernelProfile::default();
        for shard in self.lock().iter_mut() {
            sum += std::mem::take(shard.profile_mut());
        }
        sum
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
        if !body.uses_kernels() {
            return self.forward_packed(rows);
        }
        let pass = body.kernel_pass(rows, Outputs::Last, false)?;
        let output = body.kernel_outputs(rows, &pass, &mut body.workspace().lock(), false)?;
        Ok(self.score().forward(&body.normalize(&output)?)?)
    }

    /// As [`Gpt2::take_kernel_profile`].
    pub fn take_kernel_profile(&self) -> KernelProfile {
        self.body().take_kernel_profile()
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
        if !body.uses_kernels() {
            let loss = loss(&self.forward_packed(rows)?)?;
            loss.f_backward()?;
            return Ok(loss.f_detach()?);
        }
        let pass = body.kernel_pass(rows, Outputs::Last, true)?;
        let shards = &mut body.workspace().lock();
        let output = body.kernel_outputs(rows, &pass, shards, true)?.f_set_requires_grad(true)?;
        let loss = loss(&self.score().forward(&body.normalize(&output)?)?)?;
        loss.f_backward()?;
        pass.backward(shards, &float_values(&output.f_grad()?)?)?;
        Ok(loss.f_detach()?)
    }
}

impl Gpt2 {
    /// Returns the fastest arithmetic that computes the model: the CPU kernels if they support
    /// the model and this CPU has the vector instructions that they are written for.
    pub fn preferred_arithmetic(&self) -> Arithmetic {
        let isa = Isa::detect();
        let linears = self.blocks.iter().flat_map(Block::linears);
        let is_half = linears.into_iter().any(|(_, layer)| layer.weight().kind() == Kind::BFloat16);
        let is_faster = if is_half { isa.multiplies_bf16() } else { isa != Isa::PORTABLE };
        if is_faster && self.check_kernels().is_ok() {
            Arithmetic::Kernels
        } else {
            Arithmetic::Fused
        }
    }

    /// Returns time and operations of the CPU kernels since the last call.
    pub fn take_kernel_profile(&self) -> KernelProfile {
        self.workspace().take_profile()
    }

    /// A pass over `rows`, with gradients if `trains`.
    fn kernel_pass(&self, rows: &PackedRows, outputs: Outputs, trains: bool) -> Result<Pass<'_>> {
        let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
        Pass::new(self, rows, threads, outputs, trains)
    }

    /// Outputs of the last block, `[rows, dim]` or `[tokens, dim]`.
    fn kernel_outputs(
        &self,
        rows: &PackedRows,
        pass: &Pass<'_>,
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

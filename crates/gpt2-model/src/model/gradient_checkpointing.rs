//! Gradient checkpointing (Chen et al. 2016, *Training Deep Nets with Sublinear
//! Memory Cost*): the forward pass keeps only the input of each block; the backward
//! pass computes each block again.

use tch::{Kind, TchError, Tensor};

use crate::{
    classifier::Gpt2Classifier,
    error::Result,
    model::{gpt2::Gpt2, packed::PackedRows},
};

/// Inputs of the blocks and output of the last one.
struct Checkpoints {
    inputs: Vec<Tensor>,
    /// `[rows, dim]`, a leaf that accumulates a gradient.
    output: Tensor,
}

impl Gpt2Classifier {
    /// Returns the loss that `loss` computes from the logits `[rows, classes]` of
    /// [`Gpt2Classifier::forward_packed`], and adds its gradients to all parameters that
    /// require one, with the memory of one block at a time.
    ///
    /// # Errors
    /// As [`Gpt2Classifier::forward_packed`], and any error of `loss`.
    pub fn backward_checkpointed(
        &self,
        rows: &PackedRows,
        loss: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Tensor> {
        let body = self.body();
        let checkpoints = body.checkpoints(rows)?;
        let hidden = body.normalize(&checkpoints.output)?;
        let loss = loss(&self.score().forward(&hidden)?)?;
        loss.f_backward()?;
        body.backward_blocks(&checkpoints, rows)?;
        Ok(loss.f_detach()?)
    }
}

impl Gpt2 {
    fn checkpoints(&self, rows: &PackedRows) -> Result<Checkpoints> {
        let _no_grad = tch::no_grad_guard();
        let mut hidden = self.embed_packed(rows)?;
        let mut inputs = Vec::new();
        for block in 0..self.block_count() {
            let output = self.packed_block(block, &hidden, rows)?;
            inputs.push(std::mem::replace(&mut hidden, output));
        }
        Ok(Checkpoints { inputs, output: hidden.f_set_requires_grad(true)? })
    }

    /// Propagates the gradient of the last block's output down to the lowest block with
    /// trainable parameters, or to the embeddings.
    fn backward_blocks(&self, checkpoints: &Checkpoints, rows: &PackedRows) -> Result<()> {
        let trains_embeddings = self.wte.requires_grad() || self.wpe.requires_grad();
        let trains = |block: &usize| trains_embeddings || self.block_trains(*block);
        let Some(lowest) = (0..self.block_count()).find(trains) else { return Ok(()) };
        let mut gradient = checkpoints.output.f_grad()?;
        let inputs = checkpoints.inputs.iter().enumerate().skip(lowest).rev();
        for (block, input) in inputs {
            let continues = block > lowest || trains_embeddings;
            let input = input.f_detach()?.f_set_requires_grad(continues)?;
            backward(&self.packed_block(block, &input, rows)?, &gradient)?;
            if continues {
                gradient = input.f_grad()?;
            }
        }
        if trains_embeddings {
            backward(&self.embed_packed(rows)?, &gradient)?;
        }
        Ok(())
    }
}

/// Propagates the gradient of `output`: the scalar `Σ output · gradient` has the same
/// gradients in the parameters as the loss.
fn backward(output: &Tensor, gradient: &Tensor) -> Result<()> {
    Ok(output.f_mul(gradient)?.f_sum(Kind::Float)?.f_backward()?)
}

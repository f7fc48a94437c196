//! Gradient checkpointing (Chen et al. 2016, *Training Deep Nets with Sublinear
//! Memory Cost*): forward keeps what goes into each block and nothing of what
//! happens inside; backward computes a block again when its turn comes.

use tch::{Kind, TchError, Tensor};

use crate::{
    arithmetic::Arithmetic, classifier::Gpt2Classifier, error::Result, model::Gpt2,
    packed::PackedRows,
};

/// What goes into each block, and what comes out of the last one.
struct Checkpoints {
    inputs: Vec<Tensor>,
    /// `[rows, dim]`, a leaf that collects a gradient.
    output: Tensor,
}

impl Gpt2Classifier {
    /// The loss that `loss` makes of the logits `[rows, classes]`, which are those
    /// of [`Gpt2Classifier::forward_packed`], and its gradients in all parameters
    /// that require one, with the memory of one block at a time.
    ///
    /// # Errors
    /// As [`Gpt2Classifier::forward_packed`], and whatever `loss` returns.
    pub fn backward_checkpointed(
        &self,
        rows: &PackedRows,
        loss: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Tensor> {
        let body = self.body();
        let checkpoints = body.checkpoints(rows)?;
        let hidden = body.normalise(&checkpoints.output)?;
        let loss = loss(&self.score().forward(&hidden, Arithmetic::Fused)?)?;
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

    /// From the gradient of the last block's output, block by block down to the
    /// lowest that has something to train.
    fn backward_blocks(&self, checkpoints: &Checkpoints, rows: &PackedRows) -> Result<()> {
        let trains = |block: &usize| self.block_trains(*block);
        let Some(lowest) = (0..self.block_count()).find(trains) else { return Ok(()) };
        let mut gradient = checkpoints.output.f_grad()?;
        let inputs = checkpoints.inputs.iter().enumerate().skip(lowest).rev();
        for (block, input) in inputs {
            let input = input.f_detach()?.f_set_requires_grad(block > lowest)?;
            let output = self.packed_block(block, &input, rows)?;
            // Its gradient by the parameters is that of the loss.
            output.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
            if block > lowest {
                gradient = input.f_grad()?;
            }
        }
        Ok(())
    }
}

//! A model that learns to tell the next token: one training step, and evaluation.

use dataset::{WindowBatch, stream_windows};
use gpt2_model::Gpt2;
use tch::{Kind, TchError, Tensor};

use super::{
    checkpoint::Checkpoint,
    head,
    precision::{Precision, Switch},
    sampled::Candidates,
};
use crate::{
    adamw::{AdamW, AdamWConfig},
    error::Result,
    evaluate::scalar,
};

/// Tokens in a batch of an evaluation.
const EVALUATION_TOKENS: usize = 8192;

/// A model, all of whose parameters are trained, and its optimizer.
#[derive(Debug)]
pub(crate) struct Learner {
    pub model: Gpt2,
    pub optimizer: AdamW,
    parameters: Vec<(String, Tensor)>,
    precision: Precision,
    switch: Switch,
    clip: f64,
}

/// What a step was like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Mean cross-entropy before it, in nats.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
}

impl Learner {
    /// Weight decay takes from matrices alone, not from biases and layer norms.
    pub fn new(
        mut model: Gpt2,
        adamw: AdamWConfig,
        clip: f64,
        precision: Precision,
    ) -> Result<Self> {
        let switch = Switch::install(&mut model)?;
        let parameters = model.named_parameters();
        for (_, parameter) in &parameters {
            let _ = parameter.f_set_requires_grad(true)?;
        }
        let decayed = parameters.iter().map(|(_, value)| (value.shallow_clone(), value.dim() > 1));
        let optimizer = AdamW::with_decay(decayed, adamw)?;
        // Gives the token embedding a gradient, which is added to by hand below.
        let nothing = model.token_embedding().f_narrow(0, 0, 1)?.f_sum(Kind::Float)?;
        nothing.f_mul_scalar(0.0)?.f_backward()?;
        Ok(Self { model, optimizer, parameters, precision, switch, clip })
    }

    /// Every parameter with its name.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Goes back to where a checkpoint was taken.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.restore(&self.parameters, &mut self.optimizer)
    }

    /// Takes one step on a batch.
    pub fn step(&mut self, batch: &WindowBatch, candidates: Option<&Candidates>) -> Result<Step> {
        self.optimizer.zero_grad()?;
        self.switch.set(self.precision);
        let embedding = self.model.token_embedding();
        let device = self.model.device();
        let dim = self.model.config().n_embd;
        let ids = Tensor::f_from_slice(&batch.ids)?.f_to_device(device)?;
        let targets = Tensor::f_from_slice(&batch.targets)?.f_to_device(device)?;

        // The embedding is a leaf of its own here. Its gradient has a row for each
        // token of the batch; that of the table would have one for each of the
        // vocabulary.
        let embedded = embedding.f_detach()?.f_index_select(0, &ids)?;
        let size = [batch.rows() as i64, batch.width as i64, dim];
        let embedded = embedded.f_view(size)?.f_set_requires_grad(true)?;
        let hidden = self.model.forward_embedded(&embedded)?.f_view([-1, dim])?;
        let mut gradient = embedding.f_grad()?;
        let (loss, by_hidden) = head::backward(
            embedding,
            &mut gradient,
            &hidden,
            &targets,
            candidates,
            self.precision,
        )?;
        // Its gradient by what is below is that of the loss.
        hidden.f_mul(&by_hidden)?.f_sum(Kind::Float)?.f_backward()?;
        let _ = gradient.f_index_add_(0, &ids, &embedded.f_grad()?.f_view([-1, dim])?)?;

        let gradient_norm = self.clip_gradients()?;
        self.optimizer.step()?;
        Ok(Step { loss, gradient_norm })
    }

    /// Scales all gradients down to a common norm of at most `clip` (Pascanu et al.
    /// 2013) and returns what it was.
    fn clip_gradients(&self) -> Result<f64, TchError> {
        let _no_grad = tch::no_grad_guard();
        let mut gradients = Vec::new();
        let mut norms = Vec::new();
        for (_, parameter) in &self.parameters {
            let gradient = parameter.f_grad()?;
            norms.push(gradient.f_norm()?);
            gradients.push(gradient);
        }
        let norm = scalar(&Tensor::f_stack(&norms, 0)?.f_norm()?)?;
        if norm > self.clip {
            for gradient in &mut gradients {
                let _ = gradient.f_mul_scalar_(self.clip / norm)?;
            }
        }
        Ok(norm)
    }

    /// The mean cross-entropy of a stream's tokens, as [`evaluate`].
    pub fn evaluate(&self, stream: &[u32], context: usize) -> Result<f64> {
        self.exact();
        evaluate(&self.model, stream, context)
    }

    /// From here on, until the next step, the model computes in float32.
    pub fn exact(&self) {
        self.switch.set(Precision::Float32);
    }
}

/// The mean cross-entropy, in nats, of all tokens of a stream but the first, over
/// the whole vocabulary: the model reads windows of `context` tokens, each after
/// the one before.
pub(crate) fn evaluate(model: &Gpt2, stream: &[u32], context: usize) -> Result<f64> {
    let _no_grad = tch::no_grad_guard();
    let (mut sum, mut count) = (0.0, 0);
    let rows = (EVALUATION_TOKENS / context).max(1);
    for batch in stream_windows(stream, context, rows) {
        let size = [batch.rows() as i64, batch.width as i64];
        let ids = Tensor::f_from_slice(&batch.ids)?.f_view(size)?.f_to_device(model.device())?;
        let targets = Tensor::f_from_slice(&batch.targets)?.f_to_device(model.device())?;
        let hidden = model.forward(&ids)?.f_view([-1, model.config().n_embd])?;
        sum += head::nll(model.token_embedding(), &hidden, &targets)?;
        count += batch.targets.len();
    }
    Ok(sum / count as f64)
}

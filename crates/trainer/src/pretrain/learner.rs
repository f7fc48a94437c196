//! A model that learns to tell the next token: one training step, and evaluation.

use dataset::{WindowBatch, stream_windows};
use gpt2_model::Gpt2;
use tch::{Kind, Tensor};

use super::{
    checkpoint::Checkpoint,
    head,
    precision::{Precision, Switch},
    sampled::Candidates,
};
use crate::{
    error::Result,
    training::adamw::{AdamW, AdamWConfig, Treatment},
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
        let treated = parameters.iter().map(|(_, value)| {
            (value.shallow_clone(), Treatment { decays: value.dim() > 1, ..Treatment::default() })
        });
        let optimizer = AdamW::with(treated, adamw)?;
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

        let gradient_norm = self.optimizer.clip(self.clip)?;
        self.optimizer.step()?;
        Ok(Step { loss, gradient_norm })
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

#[cfg(test)]
mod tests {
    use dataset::TorchRng;
    use gpt2_model::Gpt2Config;
    use rand_core::Rng;
    use tch::Device;

    use super::*;

    const SHAPE: &str =
        r#"{"vocab_size": 31, "n_positions": 6, "n_embd": 8, "n_layer": 2, "n_head": 2}"#;

    fn model() -> Gpt2 {
        let model = Gpt2::random(&Gpt2Config::from_json(SHAPE).unwrap(), 4, Device::Cpu).unwrap();
        // Greater weights than are drawn, so that every part of the model matters.
        // Not from libtorch's generator, which other tests draw from at the same time.
        let mut rng = TorchRng::manual_seed(2);
        for (_, mut value) in model.named_parameters() {
            let unit = |_| (rng.next_u32() as f32 / u32::MAX as f32 - 0.5) * 1.04;
            let noise: Vec<f32> = (0..value.numel()).map(unit).collect();
            let _ = value.f_add_(&Tensor::from_slice(&noise).view_as(&value)).unwrap();
        }
        model
    }

    /// Nothing is learnt, so that a step leaves the model and its gradients.
    fn learner(clip: f64, precision: Precision) -> Learner {
        let adamw = AdamWConfig { lr: 0.0, ..AdamWConfig::default() };
        Learner::new(model(), adamw, clip, precision).unwrap()
    }

    fn batch() -> WindowBatch {
        let stream: Vec<u32> = (0..25).map(|place| place * place % 31).collect();
        stream_windows(&stream, 6, 4).next().unwrap()
    }

    /// Loss and gradients by libtorch, with the tied embedding used twice.
    fn by_autograd(batch: &WindowBatch) -> (f64, Vec<(String, Tensor)>) {
        let model = model();
        let parameters = model.named_parameters();
        for (_, value) in &parameters {
            let _ = value.set_requires_grad(true);
        }
        let ids = Tensor::from_slice(&batch.ids).view([4, 6]);
        let logits = model.lm_logits(&ids).unwrap().view([-1, 31]);
        let loss = logits.cross_entropy_for_logits(&Tensor::from_slice(&batch.targets));
        loss.backward();
        let gradients = parameters.into_iter().map(|(name, value)| (name, value.grad()));
        (loss.double_value(&[]), gradients.collect())
    }

    #[track_caller]
    fn compare(learner: &Learner, theirs: &[(String, Tensor)], factor: f64, tolerance: f64) {
        assert_eq!(learner.parameters().len(), theirs.len());
        for ((name, value), (other, gradient)) in learner.parameters().iter().zip(theirs) {
            assert_eq!(name, other);
            let difference = (value.grad() - gradient * factor).norm().double_value(&[]);
            // The keys' bias changes no attention: its gradient is only rounding.
            let size = factor * gradient.norm().double_value(&[]) + 1e-3 * factor;
            assert!(difference <= tolerance * size, "{name} is off by {difference} of {size}");
        }
    }

    #[test]
    fn a_step_follows_the_gradient_of_autograd() {
        let batch = batch();
        let (loss, gradients) = by_autograd(&batch);
        let mut learner = learner(f64::INFINITY, Precision::Float32);
        // The second time with gradients of the first one there.
        for _ in 0..2 {
            let step = learner.step(&batch, None).unwrap();
            assert!((step.loss - loss).abs() < 1e-5 * loss, "{} and {loss}", step.loss);
            compare(&learner, &gradients, 1.0, 1e-4);
            let squares = gradients.iter().map(|(_, gradient)| gradient.norm().double_value(&[]));
            let norm = squares.map(|norm| norm * norm).sum::<f64>().sqrt();
            assert!((step.gradient_norm / norm - 1.0).abs() < 1e-4, "{step:?} and {norm}");
        }
        // The batch is a stream of its own.
        let mut stream: Vec<u32> = vec![batch.ids[0] as u32];
        stream.extend(batch.targets.iter().map(|&target| target as u32));
        let evaluated = learner.evaluate(&stream, 6).unwrap();
        assert!((evaluated - loss).abs() < 1e-5 * loss, "{evaluated} and {loss}");
    }

    #[test]
    fn long_gradients_are_scaled_down() {
        let batch = batch();
        let (_, gradients) = by_autograd(&batch);
        let mut learner = learner(0.01, Precision::Float32);
        let step = learner.step(&batch, None).unwrap();
        assert!(step.gradient_norm > 0.01, "{step:?}");
        compare(&learner, &gradients, 0.01 / step.gradient_norm, 1e-4);
    }

    #[test]
    fn in_bfloat16_a_step_is_nearly_the_same() {
        let batch = batch();
        let (loss, gradients) = by_autograd(&batch);
        let mut learner = learner(f64::INFINITY, Precision::Bfloat16);
        let step = learner.step(&batch, None).unwrap();
        assert!((step.loss / loss - 1.0).abs() < 0.02, "{} and {loss}", step.loss);
        compare(&learner, &gradients, 1.0, 0.1);
        // Evaluations are exact in any case.
        let stream: Vec<u32> = batch.ids.iter().map(|&id| id as u32).collect();
        let exact = evaluate(&model(), &stream, 6).unwrap();
        assert_eq!(learner.evaluate(&stream, 6).unwrap(), exact);
    }
}

//! Cross-entropy of a frozen language-model head, with its gradient, on the CPU kernels.
//!
//! The head is an attention whose keys and values are the output embedding `w`: the gradient of the
//! cross-entropy with respect to a hidden state is `Σ p_v w_v - w_target`. So, as in online softmax
//! (Milakov and Gimelshein 2018) and FlashAttention (Dao et al. 2022), one pass over blocks of the
//! vocabulary sums up `Σ exp(logit_v) w_v`, and logits of more than a block never exist.

use std::{borrow::Cow, ops::Range, sync::OnceLock};

use kernels::{
    Isa, Matrix, MatrixMut, PackedWeights, Precision, RunningSoftmax, Scratch, Write, multiply,
    resize,
};
use tch::{Device, Kind, Tensor};

use super::team::{divide, on_threads};
use crate::{
    error::{Error, Result},
    tensor::{float_slice, float_values},
};

/// Tokens of the vocabulary in a block: two blocks of the inner dimension of a product, or one of
/// AMX.
const BLOCK: usize = 768;

/// Most hidden states that a thread computes at a time: their logits of a block and their gradients
/// fit a second-level cache.
const ROWS: usize = 256;

/// Frozen output embedding of a language model, and the cross-entropy of its logits.
#[derive(Debug)]
pub struct FrozenHead {
    /// `[vocab, dim]`, float32 on the CPU.
    embedding: Tensor,
    precision: Precision,
    /// Blocks of the embedding in bfloat16, packed when they are first used.
    panels: OnceLock<Vec<Panels>>,
}

/// A block of the embedding in bfloat16.
#[derive(Debug)]
struct Panels {
    /// `[dim, tokens]`, for the logits.
    logits: PackedWeights,
    /// `[tokens, dim]`, for the gradient.
    gradient: PackedWeights,
}

/// Output embedding as products read it.
#[derive(Clone, Copy)]
struct Weights<'a> {
    isa: Isa,
    /// `[vocab, dim]`
    embedding: Matrix<'a>,
    rows: &'a [f32],
    panels: Option<&'a [Panels]>,
}

/// Hidden states of a thread, and what is computed for them.
struct States<'a> {
    /// `[states, dim]`
    hidden: &'a [f32],
    targets: &'a [usize],
    /// `[states, dim]`
    gradient: &'a mut [f32],
    /// Cross-entropy of each state, in nats.
    losses: &'a mut [f64],
}

/// Work memory of a thread.
#[derive(Default)]
struct Work {
    /// Logits of a block, then their exponentials.
    logits: Vec<f32>,
    scratch: Scratch,
}

impl FrozenHead {
    /// Creates the head of an output embedding `[vocab, dim]`, whose products are computed in
    /// `precision`.
    ///
    /// # Errors
    /// Any libtorch error, for example if memory runs out.
    pub fn new(embedding: &Tensor, precision: Precision) -> Result<Self> {
        let embedding = embedding.f_detach()?.f_to_device(Device::Cpu)?;
        let embedding = embedding.f_to_kind(Kind::Float)?.f_contiguous()?;
        Ok(Self { embedding, precision, panels: OnceLock::new() })
    }

    /// Computes `factor` times the mean cross-entropy, in nats, `[1]`, and its gradient with respect
    /// to `hidden`, `[tokens, dim]`; `targets` is `[tokens]`. The bits of a row of the gradient
    /// depend neither on the other rows, apart from their number, nor on the number of threads.
    ///
    /// # Errors
    /// [`Error::Kernel`] if shapes do not fit or a target is not in the vocabulary, and
    /// [`Error::OutOfMemory`].
    pub fn backward(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        factor: f64,
    ) -> Result<(Tensor, Tensor)> {
        let (count, width) = (hidden.size2()?.0 as usize, hidden.size2()?.1 as usize);
        let vocabulary = self.embedding.size2()?.0 as usize;
        let targets = target_places(targets, vocabulary)?;
        let hidden = match float_slice(hidden) {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(float_values(hidden)?),
        };
        let rows = float_slice(&self.embedding).unwrap_or_default();
        let weights = Weights {
            isa: Isa::detect(),
            embedding: Matrix::new(rows, vocabulary, width)?,
            rows,
            panels: self.panels()?,
        };
        let (mut gradient, mut losses) = (Vec::new(), Vec::new());
        resize(&mut gradient, count * width, 0.0)?;
        resize(&mut losses, count, 0.0)?;
        let factor = factor / count as f64;
        let states = States {
            hidden: &hidden,
            targets: &targets,
            gradient: &mut gradient,
            losses: &mut losses,
        };
        let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
        on_threads(states.divided(threads, width), |states| {
            let mut work = Work::default();
            let pieces = states.targets.len().div_ceil(ROWS);
            for piece in states.divided(pieces, width) {
                weights.cross_entropy(piece, factor, &mut work)?;
            }
            Ok(())
        })?;
        let loss = Tensor::f_from_slice(&[(losses.iter().sum::<f64>() * factor) as f32])?;
        let gradient = Tensor::f_from_slice(&gradient)?.f_view([count as i64, width as i64])?;
        Ok((loss, gradient))
    }

    /// Packed blocks, in bfloat16 only: in float32, packing a block takes little of the time of its
    /// products, and a packed copy would take twice the memory of the embedding.
    fn panels(&self) -> Result<Option<&[Panels]>> {
        if self.precision == Precision::Float32 {
            return Ok(None);
        }
        if let Some(panels) = self.panels.get() {
            return Ok(Some(panels));
        }
        let (vocabulary, width) = self.embedding.size2()?;
        let rows = float_slice(&self.embedding).unwrap_or_default();
        let embedding = Matrix::new(rows, vocabulary as usize, width as usize)?;
        let pack = |block: Range<usize>| {
            let (isa, precision) = (Isa::detect(), self.precision);
            let block = embedding.rows(block)?;
            Ok(Panels {
                logits: PackedWeights::pack(isa, precision, &block.transposed())?,
                gradient: PackedWeights::pack(isa, precision, &block)?,
            })
        };
        let panels = blocks(vocabulary as usize).map(pack).collect::<Result<Vec<_>>>()?;
        Ok(Some(self.panels.get_or_init(|| panels)))
    }
}

/// Blocks of the vocabulary.
fn blocks(vocabulary: usize) -> impl Iterator<Item = Range<usize>> {
    (0..vocabulary).step_by(BLOCK).map(move |first| first..vocabulary.min(first + BLOCK))
}

/// Targets as places in the vocabulary.
fn target_places(targets: &Tensor, vocabulary: usize) -> Result<Vec<usize>> {
    let targets = Vec::<i64>::try_from(targets)?;
    let place = |target: i64| match usize::try_from(target) {
        Ok(place) if place < vocabulary => Ok(place),
        _ => Err(Error::from(kernels::Error::Setting {
            what: "target of a language model",
            expected: "a token of the vocabulary",
            got: target as usize,
        })),
    };
    targets.into_iter().map(place).collect()
}

impl<'a> States<'a> {
    /// Consecutive states, divided evenly.
    fn divided(self, pieces: usize, width: usize) -> impl Iterator<Item = States<'a>> {
        let Self { hidden, targets, mut gradient, mut losses } = self;
        divide(targets.len(), pieces).map(move |range| {
            let (of_gradient, rest) =
                std::mem::take(&mut gradient).split_at_mut(range.len() * width);
            gradient = rest;
            let (of_losses, rest) = std::mem::take(&mut losses).split_at_mut(range.len());
            losses = rest;
            States {
                hidden: &hidden[range.start * width..range.end * width],
                targets: &targets[range],
                gradient: of_gradient,
                losses: of_losses,
            }
        })
    }
}

impl Weights<'_> {
    /// Computes the cross-entropy of states, and `factor` times its gradient.
    ///
    /// The target is left out of the sums. Of the difference `d` of the logarithms of the other
    /// exponentials' sum and the target's, the loss is `ln(1 + exp(d))` and the target's distance
    /// from probability 1 is the sigmoid of `d`: nothing cancels where the target is likely, also in
    /// bfloat16.
    fn cross_entropy(&self, states: States<'_>, factor: f64, work: &mut Work) -> Result<()> {
        let States { hidden, targets, gradient, losses } = states;
        let (count, [vocabulary, width]) = (targets.len(), self.embedding.shape());
        let hidden = Matrix::new(hidden, count, width)?;
        resize(&mut work.logits, count * BLOCK.min(vocabulary), 0.0)?;
        let mut softmax = vec![RunningSoftmax::EMPTY; count];
        let mut of_targets = vec![0.0; count];
        for (number, block) in blocks(vocabulary).enumerate() {
            let logits = &mut work.logits[..count * block.len()];
            self.logits(number, &block, &hidden, logits, &mut work.scratch)?;
            let rows = logits.chunks_exact_mut(block.len()).zip(targets);
            for ((logits, target), of_target) in rows.zip(&mut of_targets) {
                if block.contains(target) {
                    let place = target - block.start;
                    *of_target = std::mem::replace(&mut logits[place], f32::NEG_INFINITY);
                }
            }
            let sums = &mut MatrixMut::new(gradient, count, width)?;
            let logits = &mut MatrixMut::new(logits, count, block.len())?;
            RunningSoftmax::add_block(&mut softmax, self.isa, logits, sums)?;
            self.add_weighted(number, &block, &logits.as_ref(), sums, &mut work.scratch)?;
        }
        let rows = gradient.chunks_exact_mut(width).zip(softmax.iter().zip(&of_targets));
        for ((target, loss), (sums, (others, of_target))) in targets.iter().zip(losses).zip(rows) {
            let others_log = f64::from(others.maximum) + f64::from(others.sum).ln();
            let difference = others_log - f64::from(*of_target);
            let tail = (-difference.abs()).exp();
            *loss = difference.max(0.0) + tail.ln_1p();
            if difference.is_nan() {
                *loss = f64::NAN;
            }
            let others_probability =
                if difference < 0.0 { tail / (1.0 + tail) } else { 1.0 / (1.0 + tail) };
            let of_target = (factor * others_probability) as f32;
            // Without other tokens the probability is 1, and the gradient 0.
            let of_others = if others.sum == 0.0 { 0.0 } else { of_target / others.sum };
            let row = &self.rows[target * width..][..width];
            for (sum, weight) in sums.iter_mut().zip(row) {
                *sum = *sum * of_others - weight * of_target;
            }
        }
        Ok(())
    }

    /// Computes the logits `[states, tokens]` of a block.
    fn logits(
        &self,
        number: usize,
        block: &Range<usize>,
        hidden: &Matrix<'_>,
        logits: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let logits = &mut MatrixMut::new(logits, hidden.shape()[0], block.len())?;
        match self.panels.and_then(|panels| panels.get(number)) {
            Some(panels) => panels.logits.multiply(hidden, logits, Write::Replace, scratch)?,
            None => {
                let right = self.embedding.rows(block.clone())?.transposed();
                multiply(self.isa, 1.0, hidden, &right, logits, Write::Replace, scratch)?;
            }
        }
        Ok(())
    }

    /// Adds the embeddings of a block, weighted by `exponentials` `[states, tokens]`, to `sums`
    /// `[states, dim]`.
    fn add_weighted(
        &self,
        number: usize,
        block: &Range<usize>,
        exponentials: &Matrix<'_>,
        sums: &mut MatrixMut<'_>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        match self.panels.and_then(|panels| panels.get(number)) {
            Some(panels) => panels.gradient.multiply(exponentials, sums, Write::Add, scratch)?,
            None => {
                let right = self.embedding.rows(block.clone())?;
                multiply(self.isa, 1.0, exponentials, &right, sums, Write::Add, scratch)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
    use tch::Reduction;

    use super::*;
    use crate::engine::tests::random;

    const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

    /// Embedding, hidden states and targets. They are not drawn from libtorch's generator, which other
    /// tests seed for their dropout.
    fn inputs([vocabulary, width, count]: [i64; 3]) -> [Tensor; 3] {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(7);
        let embedding = random(&mut generator, &[vocabulary, width], 1.0);
        let hidden = random(&mut generator, &[count, width], 2.0);
        let targets = random(&mut generator, &[count], 0.5) + 0.5;
        let targets = (targets * vocabulary as f64).floor().clamp(0, vocabulary - 1);
        [embedding, hidden, targets.to_kind(Kind::Int64)]
    }

    /// Loss and gradient of libtorch's autograd in float64.
    fn by_autograd([embedding, hidden, targets]: &[Tensor; 3]) -> (f64, Tensor) {
        let [embedding, hidden] = [embedding, hidden].map(|it| it.to_kind(Kind::Double));
        let hidden = hidden.set_requires_grad(true);
        let logits = hidden.matmul(&embedding.tr());
        let loss = logits.cross_entropy_loss::<Tensor>(targets, None, Reduction::Mean, -100, 0.0);
        loss.backward();
        (loss.double_value(&[]), hidden.grad())
    }

    fn by_head(inputs: &[Tensor; 3], precision: Precision, factor: f64) -> (f64, Tensor) {
        let [embedding, hidden, targets] = inputs;
        let head = FrozenHead::new(embedding, precision).unwrap();
        let (loss, gradient) = head.backward(hidden, targets, factor).unwrap();
        (loss.double_value(&[0]), gradient)
    }

    /// Norm of the difference, relative to the norm of `expected`.
    fn distance(actual: &Tensor, expected: &Tensor) -> f64 {
        assert_eq!(actual.size(), expected.size());
        let norm = expected.norm().double_value(&[]);
        (actual - expected).norm().double_value(&[]) / norm.max(1e-300)
    }

    #[test]
    fn loss_and_gradient_equal_autograd() {
        // One block and several; one piece of a thread and several.
        let shapes = [[2, 1, 1], [13, 5, 9], [768, 16, 3], [2000, 24, 40], [1600, 8, 1100]];
        for shape in shapes {
            let inputs = inputs(shape);
            let (expected_loss, expected) = by_autograd(&inputs);
            for (precision, tolerance) in [(Precision::Float32, 1e-5), (Precision::BFloat16, 0.02)]
            {
                let (loss, gradient) = by_head(&inputs, precision, 1.0);
                let error = (loss / expected_loss - 1.0).abs();
                assert!(error < tolerance, "{shape:?} {precision:?}: {loss} {expected_loss}");
                let error = distance(&gradient, &expected);
                assert!(error < tolerance, "{shape:?} {precision:?}: {error}");
                let (half, half_gradient) = by_head(&inputs, precision, 0.5);
                assert!((half * 2.0 / loss - 1.0).abs() < 1e-6);
                assert!(distance(&(half_gradient * 2.0), &gradient) < 1e-6);
            }
        }
    }

    #[test]
    fn gradient_of_likely_targets_does_not_cancel() {
        let [embedding, _, targets] = inputs([900, 64, 12]);
        // Targets with probabilities from a half to nearly 1.
        let scale = Tensor::linspace(0.35, 1.0, 12, FLOAT).unsqueeze(1);
        let hidden = embedding.index_select(0, &targets) * scale;
        let inputs = [embedding, hidden, targets];
        let (_, expected) = by_autograd(&inputs);
        for (precision, tolerance) in [(Precision::Float32, 1e-5), (Precision::BFloat16, 0.1)] {
            let (_, gradient) = by_head(&inputs, precision, 1.0);
            for row in 0..12 {
                let error = distance(&gradient.get(row), &expected.get(row));
                assert!(error < tolerance, "{precision:?} row {row}: {error}");
            }
        }
    }

    #[test]
    fn single_token_has_no_loss() {
        let [embedding, hidden, _] = inputs([1, 4, 3]);
        let inputs = [embedding, hidden, Tensor::zeros([3], (Kind::Int64, Device::Cpu))];
        let (loss, gradient) = by_head(&inputs, Precision::Float32, 1.0);
        assert_eq!((loss, gradient.abs().max().double_value(&[])), (0.0, 0.0));
    }

    #[test]
    fn rows_do_not_depend_on_their_neighbors() {
        let [embedding, hidden, targets] = inputs([1000, 32, 50]);
        let head = FrozenHead::new(&embedding, Precision::Float32).unwrap();
        let (_, whole) = head.backward(&hidden, &targets, 50.0).unwrap();
        for row in [0, 31, 49] {
            let [hidden, targets] = [&hidden, &targets].map(|it| it.narrow(0, row, 1));
            let (_, alone) = head.backward(&hidden, &targets, 1.0).unwrap();
            assert!(alone.equal(&whole.narrow(0, row, 1)));
        }
    }

    #[test]
    fn nan_reaches_the_loss() {
        let [embedding, hidden, targets] = inputs([1000, 8, 5]);
        let _ = hidden.get(3).fill_(f64::NAN);
        for precision in [Precision::Float32, Precision::BFloat16] {
            let head = FrozenHead::new(&embedding, precision).unwrap();
            let (loss, gradient) = head.backward(&hidden, &targets, 1.0).unwrap();
            assert!(loss.double_value(&[0]).is_nan());
            assert!(gradient.get(3).isnan().all().int64_value(&[]) == 1);
            assert!(gradient.get(2).isfinite().all().int64_value(&[]) == 1);
        }
    }

    #[test]
    fn targets_outside_the_vocabulary_are_refused() {
        let [embedding, hidden, _] = inputs([5, 4, 1]);
        let head = FrozenHead::new(&embedding, Precision::Float32).unwrap();
        for target in [5_i64, -1] {
            let error = head.backward(&hidden, &Tensor::from_slice(&[target]), 1.0).unwrap_err();
            assert!(error.to_string().contains("a token of the vocabulary"), "{error}");
        }
    }
}

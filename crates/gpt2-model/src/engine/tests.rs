//! The kernels against libtorch and its autograd.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::ops::Range;

use proptest::prelude::*;
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
use tch::{Device, Reduction};

use super::*;
use crate::{
    config::{Activation, Gpt2Config},
    model::{
        arithmetic::Arithmetic,
        linear::{Linear, LinearLayer, LowRankLayer, LowRankTerm},
    },
};

/// `A`, `B`, first output and scale.
#[derive(Debug)]
struct OwnedTerm(Tensor, Tensor, i64, f64);

/// A layer with low-rank terms, by libtorch operations.
#[derive(Debug)]
struct Adapted {
    base: Linear,
    terms: Vec<OwnedTerm>,
    dropout: f64,
}

impl LinearLayer for Adapted {
    fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        self.forward_rows(input, 0..self.weight().size2()?.0)
    }

    fn weight(&self) -> &Tensor {
        self.base.weight()
    }

    fn bias(&self) -> Option<&Tensor> {
        self.base.bias()
    }

    fn forward_rows(&self, input: &Tensor, rows: Range<i64>) -> Result<Tensor, TchError> {
        let mut output = self.base.forward_rows(input, rows.clone())?;
        let mut dropped = None;
        for OwnedTerm(a, b, start, scale) in &self.terms {
            let common = rows.start.max(*start)..rows.end.min(start + b.size()[0]);
            if common.is_empty() {
                continue;
            }
            // One mask for all terms of a layer.
            let input = dropped.get_or_insert_with(|| input.dropout(self.dropout, true));
            let b = b.narrow(0, common.start - start, common.end - common.start);
            let product = input.linear::<Tensor>(a, None).linear::<Tensor>(&b, None) * *scale;
            output += product.constant_pad_nd([common.start - rows.start, rows.end - common.end]);
        }
        Ok(output)
    }

    fn low_rank(&self) -> Option<LowRankLayer<'_>> {
        let terms = self.terms.iter();
        let terms = terms.map(|OwnedTerm(a, b, start, scale)| LowRankTerm {
            a,
            b,
            start: *start,
            scale: *scale,
        });
        let terms = terms.collect();
        Some(LowRankLayer { base: &self.base, terms, dropout: self.dropout })
    }
}

/// Terms of a layer of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Terms {
    None,
    Whole,
    /// Slices of the three of `c_attn`; the first slice alone of other layers.
    Slices([bool; 3]),
}

/// A model, its terms and a batch.
#[derive(Clone, Debug)]
struct Case {
    heads: i64,
    head_size: i64,
    inner: i64,
    activation: Activation,
    /// Terms of the layers of each block, in the order of computation.
    terms: Vec<[Terms; 4]>,
    rank: i64,
    dropout: f64,
    lengths: Vec<i64>,
    shards: usize,
    seed: u64,
}

fn terms() -> impl Strategy<Value = Terms> {
    prop_oneof![
        1 => Just(Terms::None),
        2 => Just(Terms::Whole),
        2 => any::<[bool; 3]>().prop_map(Terms::Slices),
    ]
}

fn case(lengths: impl Strategy<Value = Vec<i64>>) -> impl Strategy<Value = Case> {
    let model = (
        1..4i64,
        8..24i64,
        4..70i64,
        prop_oneof![Just(Activation::GeluNew), Just(Activation::Gelu)],
    );
    let terms = prop::collection::vec([terms(), terms(), terms(), terms()], 1..4);
    let training = (1..9i64, prop_oneof![Just(0.0), Just(0.3)], 1..4usize, any::<u64>());
    (model, terms, training, lengths).prop_map(|(model, terms, training, lengths)| {
        let (heads, head_size, inner, activation) = model;
        let (rank, dropout, shards, seed) = training;
        let (terms, lengths) = (terms, lengths);
        Case { heads, head_size, inner, activation, terms, rank, dropout, lengths, shards, seed }
    })
}

/// Random numbers of a seed that tests share with nothing else.
fn random(generator: &mut Xoshiro256PlusPlus, size: &[i64], scale: f32) -> Tensor {
    use rand_xoshiro::rand_core::Rng;
    let count: i64 = size.iter().product();
    let unit = |bits: u32| (bits >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let values: Vec<f32> = (0..count).map(|_| scale * unit(generator.next_u32())).collect();
    Tensor::from_slice(&values).view(size)
}

impl Case {
    fn model(&self) -> Gpt2Classifier {
        let config = Gpt2Config {
            vocab_size: 11,
            n_positions: 1024,
            n_embd: self.heads * self.head_size,
            n_layer: self.terms.len() as i64,
            n_head: self.heads,
            n_inner: Some(self.inner),
            activation_function: self.activation,
            ..Gpt2Config::named("gpt2").unwrap()
        };
        let generator = &mut Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let body = Gpt2::random(&config, self.seed, Device::Cpu).unwrap();
        let body = body.with_arithmetic(Arithmetic::Kernels);
        // Larger than usual, for attention and GELU to bend.
        for (name, mut parameter) in body.named_parameters() {
            let scale = if parameter.dim() > 1 && !name.starts_with('w') {
                1.5 / (parameter.size()[1] as f32).sqrt()
            } else {
                0.7
            };
            let noise = random(generator, &parameter.size(), scale);
            let _ = tch::no_grad(|| parameter.g_add_(&noise));
        }
        let mut model = Gpt2Classifier::new(body, 3, generator).unwrap();
        let mut number = 0;
        model
            .visit_linears(&mut |slot| {
                if let Some(block) = self.terms.get(number / 4) {
                    let layer = self.adapted(slot.layer.as_ref(), block[number % 4], generator);
                    *slot.layer = Box::new(layer);
                }
                number += 1;
                Ok::<(), TchError>(())
            })
            .unwrap();
        model
    }

    fn adapted(
        &self,
        layer: &dyn LinearLayer,
        terms: Terms,
        generator: &mut Xoshiro256PlusPlus,
    ) -> Adapted {
        let (out, width) = layer.weight().size2().unwrap();
        let ranges = match terms {
            Terms::None => Vec::new(),
            Terms::Whole => vec![0..out],
            Terms::Slices(slices) if out == 3 * width => {
                let slices = (0..3).filter(|&slice| slices[slice]);
                slices.map(|slice| slice as i64 * width..(slice as i64 + 1) * width).collect()
            }
            Terms::Slices(_) => vec![0..(out + 1) / 2],
        };
        let terms = ranges.into_iter().enumerate().map(|(number, range)| {
            let rank = self.rank + number as i64;
            let scale = 1.0 / (width as f32).sqrt();
            let a = random(generator, &[rank, width], scale).set_requires_grad(true);
            let b = random(generator, &[range.end - range.start, rank], 1.0);
            OwnedTerm(a, b.set_requires_grad(true), range.start, 0.5 + 0.25 * number as f64)
        });
        let terms = terms.collect();
        Adapted { base: Linear::share(layer), terms, dropout: self.dropout }
    }

    fn rows(&self) -> PackedRows {
        let tokens: i64 = self.lengths.iter().sum();
        let ids: Vec<i64> = (0..tokens)
            .map(|token| (token * token + self.seed as i64 % 7).rem_euclid(11))
            .collect();
        PackedRows::new(&ids, &self.lengths, Device::Cpu).unwrap()
    }

    /// Cross-entropy with class weights.
    fn loss(&self, logits: &Tensor) -> Result<Tensor, TchError> {
        let labels: Vec<i64> = (0..self.lengths.len() as i64).map(|row| row % 3).collect();
        let weights = Tensor::from_slice(&[1f32, 2.0, 0.5]);
        let labels = Tensor::from_slice(&labels);
        logits.f_cross_entropy_loss(&labels, Some(&weights), Reduction::Mean, -100, 0.0)
    }
}

/// Gradients of the terms, with their names, which are taken.
fn take_gradients(model: &Gpt2Classifier) -> Vec<(String, Tensor)> {
    let mut all = Vec::new();
    for (number, block) in model.body().blocks.iter().enumerate() {
        for (name, layer) in block.linears() {
            let low_rank = layer.low_rank().unwrap();
            for (term, LowRankTerm { a, b, .. }) in low_rank.terms.into_iter().enumerate() {
                for (matrix, parameter) in [("A", a), ("B", b)] {
                    let mut gradient = parameter.grad();
                    let name = format!("h.{number}.{name} {term} {matrix}");
                    all.push((name, gradient.copy()));
                    let _ = gradient.zero_();
                }
            }
        }
    }
    all
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.norm().double_value(&[])
}

/// Loss by the kernels with a number of shards; gradients are accumulated.
fn backward(model: &Gpt2Classifier, case: &Case) -> Option<Tensor> {
    let (body, rows) = (model.body(), case.rows());
    let pass = Pass::new(body, &rows, case.shards, true).unwrap()?;
    let shards = &mut body.workspace().lock();
    let output = body.kernel_outputs(&rows, &pass, shards, true).unwrap().set_requires_grad(true);
    let hidden = body.normalize(&output).unwrap();
    let loss = case.loss(&model.score().forward(&hidden).unwrap()).unwrap();
    loss.backward();
    pass.backward(shards, &float_values(&output.grad()).unwrap()).unwrap();
    Some(loss.detach())
}

fn check(case: &Case) {
    // Masks are drawn from the generator of this thread's libtorch, which tests share.
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let model = case.model();
    tch::manual_seed(case.seed as i64);
    let loss = case.loss(&model.forward_packed(&case.rows()).unwrap()).unwrap();
    if loss.requires_grad() {
        loss.backward();
    }
    let expected = take_gradients(&model);
    tch::manual_seed(case.seed as i64);
    let Some(found) = backward(&model, case) else { return };
    let difference = (loss.detach() - found).abs().double_value(&[]);
    assert!(difference < 1e-5, "loss is off by {difference}: {case:?}");
    let whole: f64 = expected.iter().map(|(_, g)| norm(g).powi(2)).sum::<f64>().sqrt();
    for ((name, expected), (_, found)) in expected.iter().zip(&take_gradients(&model)) {
        let error = norm(&(expected - found));
        let size = norm(expected).max(0.01 * whole);
        assert!(error <= 1e-5 * size, "{name} is off by {error:e} of {size:e}: {case:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn gradients_equal_autograd(case in case(prop::collection::vec(1..24i64, 1..17))) {
        check(&case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..Default::default() })]

    #[test]
    fn gradients_of_long_sequences_equal_autograd(
        case in case(prop::collection::vec(60..=1024i64, 1..3)),
    ) {
        check(&Case { shards: 1, ..case });
    }

    #[test]
    fn gradients_of_large_batches_equal_autograd(
        case in case(prop::collection::vec(1..9i64, 64)),
    ) {
        check(&case);
    }
}

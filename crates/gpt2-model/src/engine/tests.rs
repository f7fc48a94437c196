//! The kernels against libtorch and its autograd.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::ops::Range;

use gpt2_config::{Activation, Gpt2Config};
use proptest::{prelude::*, test_runner::RngSeed};
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
use tch::{Device, Kind, Reduction};

use super::*;
use crate::model::{
    arithmetic::Arithmetic,
    linear::{Linear, LinearLayer, LowRankLayer, LowRankTerm},
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
    threads: usize,
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
    let training = (1..9i64, prop_oneof![Just(0.0), Just(0.3)], 1..6usize, any::<u64>());
    (model, terms, training, lengths).prop_map(|(model, terms, training, lengths)| {
        let (heads, head_size, inner, activation) = model;
        let (rank, dropout, threads, seed) = training;
        let (terms, lengths) = (terms, lengths);
        Case { heads, head_size, inner, activation, terms, rank, dropout, lengths, threads, seed }
    })
}

/// Random numbers of a seed that tests share with nothing else.
pub(super) fn random(generator: &mut Xoshiro256PlusPlus, size: &[i64], scale: f32) -> Tensor {
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
            Terms::Whole => vec![(0, out)],
            Terms::Slices(slices) if out == 3 * width => {
                let slices = (0..3).filter(|&slice| slices[slice]);
                slices.map(|slice| (slice as i64 * width, (slice as i64 + 1) * width)).collect()
            }
            Terms::Slices(_) => vec![(0, (out + 1) / 2)],
        };
        let terms = ranges.into_iter().enumerate().map(|(number, (start, end))| {
            let rank = self.rank + number as i64;
            let scale = 1.0 / (width as f32).sqrt();
            let a = random(generator, &[rank, width], scale).set_requires_grad(true);
            let b = random(generator, &[end - start, rank], 1.0);
            OwnedTerm(a, b.set_requires_grad(true), start, 0.5 + 0.25 * number as f64)
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
        let weights = Tensor::from_slice(&[1f32, 2.0, 0.5]).to_kind(logits.kind());
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

/// Outputs of the last block by the kernels.
fn outputs(body: &Gpt2, rows: &PackedRows, threads: usize) -> Tensor {
    let pass = Pass::new(body, rows, threads, Outputs::Last, false).unwrap();
    body.kernel_outputs(rows, &pass, &mut body.workspace().lock(), false).unwrap()
}

/// Loss by the kernels with a number of threads; gradients are accumulated.
fn backward(model: &Gpt2Classifier, case: &Case) -> Tensor {
    let (body, rows) = (model.body(), case.rows());
    let pass = Pass::new(body, &rows, case.threads, Outputs::Last, true).unwrap();
    let shards = &mut body.workspace().lock();
    let output = body.kernel_outputs(&rows, &pass, shards, true).unwrap().set_requires_grad(true);
    let hidden = body.normalize(&output).unwrap();
    let loss = case.loss(&model.score().forward(&hidden).unwrap()).unwrap();
    loss.backward();
    pass.backward(shards, &float_values(&output.grad()).unwrap()).unwrap();
    loss.detach()
}

/// The generator of libtorch, from which masks are drawn and which tests share.
static GENERATOR: Mutex<()> = Mutex::new(());

/// Converts all parameters to a number format.
fn convert(model: &Gpt2Classifier, kind: Kind) {
    for (_, mut parameter) in model.named_parameters() {
        parameter.set_data(&parameter.to_kind(kind));
    }
    for block in &model.body().blocks {
        for (_, layer) in block.linears() {
            for LowRankTerm { a, b, .. } in layer.low_rank().unwrap().terms {
                a.shallow_clone().set_data(&a.to_kind(kind));
                b.shallow_clone().set_data(&b.to_kind(kind));
            }
        }
    }
}

/// Loss and gradients by libtorch in a number format.
fn autograd(case: &Case, kind: Kind) -> (f64, Vec<(String, Tensor)>) {
    let model = case.model();
    convert(&model, kind);
    tch::manual_seed(case.seed as i64);
    let loss = case.loss(&model.forward_packed(&case.rows()).unwrap()).unwrap();
    if loss.requires_grad() {
        loss.backward();
    }
    (loss.double_value(&[]), take_gradients(&model))
}

/// Loss of the hidden states of every other token, `Σ weights · hidden`, and its gradients, by the
/// kernels in float32 or by libtorch in another number format.
fn of_tokens(case: &Case, kind: Option<Kind>) -> (f64, Vec<(String, Tensor)>) {
    let (model, rows) = (case.model(), case.rows());
    kind.into_iter().for_each(|kind| convert(&model, kind));
    let positions: Vec<i64> = (0..rows.ids().size()[0]).step_by(2).collect();
    let size = [positions.len() as i64, model.body().config().n_embd];
    let weights = random(&mut Xoshiro256PlusPlus::seed_from_u64(case.seed), &size, 1.0);
    let weights = weights.to_kind(kind.unwrap_or(Kind::Float));
    let head = |hidden: &Tensor| -> Result<(Tensor, Tensor)> {
        Ok(((hidden.detach() * &weights).sum(weights.kind()), weights.shallow_clone()))
    };
    let positions = Some(&Tensor::from_slice(&positions));
    tch::manual_seed(case.seed as i64);
    let loss = match kind {
        None => model.body().backward_tokens(&rows, positions, head),
        Some(_) => model.body().backward_by_autograd(&rows, positions, head),
    };
    (loss.unwrap().double_value(&[]), take_gradients(&model))
}

/// Compares the kernels with float64. Where a sum cancels, libtorch's float32 is off by more
/// than the tolerance, too. Gradients that are zero but for rounding, as of the queries of a single
/// token, are compared with the largest gradient.
fn check(case: &Case) {
    let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let (loss, exact) = autograd(case, Kind::Double);
    let (_, rounded) = autograd(case, Kind::Float);
    let model = case.model();
    tch::manual_seed(case.seed as i64);
    let difference = (loss - backward(&model, case).double_value(&[])).abs();
    assert!(difference < 1e-5, "loss is off by {difference}: {case:?}");
    let largest = exact.iter().map(|(_, gradient)| norm(gradient)).fold(0.0, f64::max);
    let gradients = exact.iter().zip(&rounded).zip(take_gradients(&model));
    for (((name, exact), (_, rounded)), (_, found)) in gradients {
        let error = norm(&(exact - found));
        let tolerance =
            (1e-5 * norm(exact)).max(4.0 * norm(&(exact - rounded))).max(1e-6 * largest);
        assert!(error <= tolerance, "{name} is off by {error:e}, not {tolerance:e}: {case:?}");
    }
}

/// Cases of a property, the same in every run with the same seed.
fn cases(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(test_support::seed());
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn losses_of_tokens_have_the_gradients_of_libtorch(
        case in case(prop::collection::vec(1..40i64, 1..9)),
    ) {
        prop_assume!(case.terms.iter().flatten().any(|terms| {
            !matches!(terms, Terms::None | Terms::Slices([false, false, false]))
        }));
        let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
        let (loss, exact) = of_tokens(&case, Some(Kind::Double));
        let (_, rounded) = of_tokens(&case, Some(Kind::Float));
        let (found_loss, found) = of_tokens(&case, None);
        assert!((loss - found_loss).abs() < 1e-4 * loss.abs().max(1.0), "{loss}, {found_loss}");
        let largest = exact.iter().map(|(_, gradient)| norm(gradient)).fold(0.0, f64::max);
        for (((name, exact), (_, rounded)), (_, found)) in exact.iter().zip(&rounded).zip(&found) {
            let error = norm(&(exact - found));
            let tolerance =
                (1e-5 * norm(exact)).max(4.0 * norm(&(exact - rounded))).max(1e-6 * largest);
            assert!(error <= tolerance, "{name} is off by {error:e}, not {tolerance:e}: {case:?}");
        }
        let all = case.model().body().token_states(&case.rows(), None).unwrap();
        prop_assert_eq!(all.size()[0], case.lengths.iter().sum::<i64>());
    }

    #[test]
    fn logits_equal_libtorch_and_have_the_same_bits_alone(
        case in case(prop::collection::vec(1..40i64, 1..17)),
    ) {
        let case = Case { dropout: 0.0, ..case };
        let (model, rows) = (case.model(), case.rows());
        let output = outputs(model.body(), &rows, case.threads);
        let hidden = model.body().normalize(&output).unwrap();
        let found = model.score().forward(&hidden).unwrap();
        let expected = model.forward_packed(&rows).unwrap();
        let difference = (&found - &expected).abs().max().double_value(&[]);
        let largest = expected.abs().max().double_value(&[]).max(1.0);
        assert!(difference <= 1e-5 * largest, "off by {difference} of {largest}: {case:?}");
        let ids: Vec<i64> = Vec::try_from(rows.ids()).unwrap();
        let first = PackedRows::new(
            &ids[..case.lengths[0] as usize], &case.lengths[..1], Device::Cpu,
        ).unwrap();
        prop_assert_eq!(outputs(model.body(), &first, 1), output.narrow(0, 0, 1));
    }

    #[test]
    fn gradients_equal_autograd(case in case(prop::collection::vec(1..24i64, 1..17))) {
        check(&case);
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn results_have_the_same_bits_on_any_number_of_threads(
        case in case(prop::collection::vec(1..90i64, 1..17)),
    ) {
        let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
        let on_threads = |threads| {
            let case = Case { threads, ..case.clone() };
            let model = case.model();
            tch::manual_seed(case.seed as i64);
            (backward(&model, &case), take_gradients(&model))
        };
        let expected = on_threads(1);
        for threads in [2, 3, 4, 5, 8] {
            assert!(on_threads(threads) == expected, "{threads} threads: {case:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn gradients_of_long_sequences_equal_autograd(
        case in case(prop::collection::vec(60..=1024i64, 1..3)),
    ) {
        check(&case);
    }

    #[test]
    fn gradients_of_large_batches_equal_autograd(
        case in case(prop::collection::vec(1..9i64, 64)),
    ) {
        check(&case);
    }
}

/// A case whose weights bfloat16 can tell apart: wide sums, two blocks, all terms.
fn wide() -> Case {
    Case {
        heads: 4,
        head_size: 16,
        inner: 128,
        activation: Activation::GeluNew,
        terms: vec![[Terms::Slices([true; 3]), Terms::Whole, Terms::Whole, Terms::Whole]; 2],
        rank: 4,
        dropout: 0.0,
        lengths: vec![17, 5, 9, 30, 1, 12, 12],
        threads: 2,
        seed: 7,
    }
}

#[test]
fn bfloat16_gradients_are_within_two_percent_of_float32() {
    let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let case = wide();
    let gradients = |round: bool| {
        let mut model = case.model();
        model
            .visit_linears(&mut |slot| {
                let (rounded, bias) =
                    (slot.layer.weight().f_to_kind(Kind::BFloat16)?, slot.layer.bias());
                let weight = if round { rounded } else { rounded.f_to_kind(Kind::Float)? };
                let base = Linear::new(weight, bias.map(Tensor::shallow_clone));
                let owned = |term: LowRankTerm<'_>| {
                    let (a, b) = (term.a.shallow_clone(), term.b.shallow_clone());
                    OwnedTerm(a, b, term.start, term.scale)
                };
                let low_rank = slot.layer.low_rank().unwrap();
                let terms: Vec<_> = low_rank.terms.into_iter().map(owned).collect();
                if !terms.is_empty() {
                    *slot.layer = Box::new(Adapted { base, terms, dropout: 0.0 });
                }
                Ok::<(), TchError>(())
            })
            .unwrap();
        drop(backward(&model, &case));
        take_gradients(&model)
    };
    let (exact, half) = (gradients(false), gradients(true));
    assert_ne!(exact[0].1, half[0].1);
    for ((name, exact), (_, half)) in exact.iter().zip(&half) {
        let error = norm(&(exact - half)) / norm(exact);
        assert!(error < 0.02, "{name} is off by {error}");
    }
}

#[test]
fn gradients_are_accumulated_and_repeated_to_the_bit() {
    let case = wide();
    let model = case.model();
    let gradients = || {
        drop(backward(&model, &case));
        take_gradients(&model)
    };
    let (first, again) = (gradients(), gradients());
    assert_eq!(first, again);
    drop(backward(&model, &case));
    drop(backward(&model, &case));
    for ((name, twice), (_, once)) in take_gradients(&model).iter().zip(&first) {
        assert_eq!(twice, &(once * 2.0), "{name}");
    }
}

#[test]
fn models_that_the_kernels_do_not_support_are_refused() {
    let refused = |model: &Gpt2Classifier| match model.body().check_kernels() {
        Err(crate::Error::Kernels(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let model = wide().model();
    assert!(model.body().check_kernels().is_ok());
    let relu = Case { activation: Activation::Relu, ..wide() }.model();
    assert_eq!(refused(&relu), Unsupported::Activation);
    assert!(relu.predict_packed(&wide().rows()).is_err());
    for (name, parameter) in model.named_parameters() {
        if name == "h.1.ln_2.bias" {
            let _ = parameter.set_requires_grad(true);
        }
    }
    assert_eq!(refused(&model), Unsupported::Trained { parameter: "h.1.ln_2.bias".to_owned() });
}

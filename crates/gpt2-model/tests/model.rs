//! What the model computes, seen from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use gpt2_model::{
    Arithmetic, Error, Gpt2, Gpt2Classifier, Gpt2Config, Linear, LinearLayer, Pooling,
};
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use tch::{Device, Kind, Tensor};

fn body() -> Gpt2 {
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 40, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}"#,
    );
    Gpt2::random(&config.unwrap(), 3, Device::Cpu).unwrap()
}

fn classifier() -> Gpt2Classifier {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    Gpt2Classifier::new(body(), 2, &mut rng).unwrap()
}

fn ids(rows: &[&[i64]]) -> Tensor {
    let width = rows[0].len() as i64;
    Tensor::from_slice(&rows.concat()).view([-1, width])
}

fn close(left: &Tensor, right: &Tensor) -> bool {
    left.allclose(right, 0.0, 1e-6, false)
}

#[test]
fn a_token_sees_only_what_is_before_it() {
    let model = body();
    let one = model.lm_logits(&ids(&[&[1, 2, 3, 4]])).unwrap();
    let other = model.lm_logits(&ids(&[&[1, 2, 3, 9]])).unwrap();
    assert!(close(&one.narrow(1, 0, 3), &other.narrow(1, 0, 3)));
    assert!(!close(&one.select(1, 3), &other.select(1, 3)));
}

#[test]
fn at_the_last_token_padding_changes_nothing() {
    let model = classifier();
    let lengths = Tensor::from_slice(&[3i64, 2]);
    let narrow = ids(&[&[1, 2, 3], &[4, 5, 0]]);
    let wide = ids(&[&[1, 2, 3, 0, 0, 0], &[4, 5, 0, 0, 0, 0]]);
    let at = |ids: &Tensor, pooling| model.forward(ids, &lengths, pooling).unwrap();
    assert!(close(&at(&narrow, Pooling::LastToken), &at(&wide, Pooling::LastToken)));
    assert!(!close(&at(&narrow, Pooling::LastPosition), &at(&wide, Pooling::LastPosition)));
    // A row without padding ends at its last position.
    let first = |pooling| at(&narrow, pooling).select(0, 0);
    assert!(close(&first(Pooling::LastToken), &first(Pooling::LastPosition)));
}

#[test]
fn pooling_first_and_normalising_then_is_the_same() {
    let model = body();
    let ids = ids(&[&[1, 2, 3], &[4, 5, 6]]);
    let at = model.forward_at(&ids, &Tensor::from_slice(&[0i64, 2])).unwrap();
    let all = model.forward(&ids).unwrap();
    assert!(close(&at.select(0, 0), &all.select(0, 0).select(0, 0)));
    assert!(close(&at.select(0, 1), &all.select(0, 1).select(0, 2)));
}

#[test]
fn both_arithmetics_compute_the_same() {
    let ids = ids(&[&[1, 2, 3, 4, 5, 6], &[7, 8, 9, 9, 8, 7]]);
    let fused = body().lm_logits(&ids).unwrap();
    let model = body().with_arithmetic(Arithmetic::Stepwise);
    let stepwise = model.lm_logits(&ids).unwrap();
    assert!(close(&fused, &stepwise));
    let last = model.next_token_logits(&ids, &mut model.cache()).unwrap();
    assert!(close(&last, &stepwise.select(1, 5)));

    let lengths = Tensor::from_slice(&[4i64, 6]);
    let classify = |arithmetic| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let model = Gpt2Classifier::new(body().with_arithmetic(arithmetic), 3, &mut rng).unwrap();
        model.forward(&ids, &lengths, Pooling::LastToken).unwrap()
    };
    assert!(close(&classify(Arithmetic::Fused), &classify(Arithmetic::Stepwise)));
}

#[test]
fn linear_layers_are_visited_by_name_and_can_be_replaced() {
    let mut model = classifier();
    let ids = ids(&[&[1, 2, 3]]);
    let lengths = Tensor::from_slice(&[3i64]);
    let mut names = Vec::new();
    model
        .visit_linears(&mut |slot| {
            names.push(slot.name.to_owned());
            assert_eq!(slot.outputs.len(), if slot.name.ends_with("c_attn") { 3 } else { 0 });
            if slot.name == "score" {
                let zero = Tensor::zeros([2, 12], (Kind::Float, Device::Cpu));
                *slot.layer = Box::new(Linear::new(zero, slot.layer.bias().map(|b| b.copy())));
            }
            Ok::<(), Error>(())
        })
        .unwrap();
    assert_eq!(names.len(), 9);
    assert_eq!(names[..2], ["h.0.attn.c_attn", "h.0.attn.c_proj"]);
    assert_eq!(names[8], "score");
    let logits = model.forward(&ids, &lengths, Pooling::LastToken).unwrap();
    let parameters = model.named_parameters();
    let (_, bias) = parameters.iter().find(|(name, _)| name == "score.bias").unwrap();
    assert!(close(&logits.select(0, 0), bias));
}

#[test]
fn gpt2_small_with_a_head_has_the_published_number_of_parameters() {
    // Counted from the shape, for want of drawing 124 million numbers in a test.
    let config = Gpt2Config::named("gpt2").unwrap();
    let (dim, inner) = (config.n_embd, config.inner());
    let linear = |input: i64, output: i64| input * output + output;
    let block =
        linear(dim, 3 * dim) + linear(dim, dim) + linear(dim, inner) + linear(inner, dim) + 4 * dim;
    let body = (config.vocab_size + config.n_positions) * dim + config.n_layer * block + 2 * dim;
    assert_eq!(body, 124_439_808);
    assert_eq!(body + linear(dim, 2), 124_441_346);
}

#[test]
fn a_tiny_tree_counts_every_parameter() {
    let model = classifier();
    let counted: u64 = model.tree().iter().map(|line| line.parameters).sum();
    let all: usize = model.named_parameters().iter().map(|(_, tensor)| tensor.numel()).sum();
    assert_eq!(counted, all as u64);
    assert!(model.tree().iter().all(|line| line.trainable == 0));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let model = body();
    let long = Tensor::zeros([1, 17], (Kind::Int64, Device::Cpu));
    let error = model.forward(&long).unwrap_err().to_string();
    assert!(error.contains("17 tokens") && error.contains("context of 16"), "{error}");
    let error = model.forward(&ids(&[&[40]])).unwrap_err().to_string();
    assert!(error.starts_with("libtorch: ") && !error.contains('\n'), "{error}");
    let mut cache = model.cache();
    let _ = model.next_token_logits(&ids(&[&[1, 2]]), &mut cache).unwrap();
    assert!(model.next_token_logits(&ids(&[&[1, 2]]), &mut cache).is_err());
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(1);
    assert!(Gpt2Classifier::new(body(), 0, rng).is_err());
}

#[test]
fn random_weights_follow_their_seed() {
    let config = body().config().clone();
    let logits = |seed| {
        let model = Gpt2::random(&config, seed, Device::Cpu).unwrap();
        model.lm_logits(&ids(&[&[1, 2]])).unwrap()
    };
    assert_eq!(logits(1), logits(1));
    assert_ne!(logits(1), logits(2));
}

/// The layer as seen by a caller that replaces it: its weight is `[out, in]`.
#[test]
fn weights_are_out_by_in() {
    let mut model = body();
    model
        .visit_linears(&mut |slot| {
            let out = slot.layer.bias().unwrap().size()[0];
            assert_eq!(slot.layer.weight().size()[0], out, "{}", slot.name);
            let about = LinearLayer::describe(slot.layer.as_ref());
            assert!(about.contains(&format!("out_features={out}")), "{about}");
            Ok::<(), Error>(())
        })
        .unwrap();
}

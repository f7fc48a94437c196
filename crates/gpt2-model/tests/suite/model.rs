//! Computations of the model through the public API.

use gpt2_model::{
    ArgumentError, Arithmetic, Error, Gpt2, Gpt2Classifier, Gpt2Config, Linear, LinearLayer,
    PackedRows, Pooling,
};
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use tch::{Device, Kind, TchError, Tensor};

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
fn attention_is_causal() {
    let model = body();
    let one = model.lm_logits(&ids(&[&[1, 2, 3, 4]])).unwrap();
    let other = model.lm_logits(&ids(&[&[1, 2, 3, 9]])).unwrap();
    assert!(close(&one.narrow(1, 0, 3), &other.narrow(1, 0, 3)));
    assert!(!close(&one.select(1, 3), &other.select(1, 3)));
}

#[test]
fn padding_does_not_change_the_last_token() {
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
fn pooling_before_the_final_norm_gives_the_same() {
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
    // Counted from the shape: drawing 124 million numbers takes too long in a test.
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
fn invalid_inputs_are_errors() {
    let model = body();
    let long = Tensor::zeros([1, 17], (Kind::Int64, Device::Cpu));
    let error = model.forward(&long).unwrap_err();
    assert!(matches!(error, Error::TooLong { length: 17, context: 16 }), "{error}");
    let error = model.forward(&ids(&[&[40]])).unwrap_err().to_string();
    assert!(error.starts_with("libtorch: ") && !error.contains('\n'), "{error}");
    let rng = &mut Xoshiro256PlusPlus::seed_from_u64(1);
    let error = Gpt2Classifier::new(body(), 0, rng).unwrap_err();
    assert!(matches!(error, Error::Argument(ArgumentError::NoClass)), "{error}");
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

/// Any set of trainable parameters has the gradients of a plain backward pass.
#[test]
fn gradient_checkpointing_gives_the_same_gradients() {
    let rows = PackedRows::new(&[1, 2, 3, 4, 5, 6], &[3, 1, 2], Device::Cpu).unwrap();
    for trainable in ["", "h.1.", "h.0.ln_2", "h.1.attn.c_attn", "wte", "wpe", "ln_f", "score"] {
        let gradients = |checkpointed: bool| -> Vec<(String, Tensor)> {
            let model = classifier();
            let mut parameters = model.named_parameters();
            parameters.retain(|(name, _)| name.starts_with(trainable));
            for (_, parameter) in &parameters {
                let _ = parameter.set_requires_grad(true);
            }
            let loss = |logits: &Tensor| logits.f_square()?.f_sum(Kind::Float);
            if checkpointed {
                let _ = model.backward_checkpointed(&rows, loss).unwrap();
            } else {
                loss(&model.forward_packed(&rows).unwrap()).unwrap().backward();
            }
            parameters.into_iter().map(|(name, parameter)| (name, parameter.grad())).collect()
        };
        let (plain, checkpointed) = (gradients(false), gradients(true));
        assert!(!plain.is_empty());
        for ((name, plain), (_, checkpointed)) in plain.iter().zip(&checkpointed) {
            assert!(plain.abs().max().double_value(&[]) > 0.0, "{trainable:?} {name}");
            assert!(plain.allclose(checkpointed, 1e-4, 1e-6, false), "{trainable:?} {name}");
        }
    }
}

/// A replaced layer needs three methods only.
#[test]
fn a_minimal_layer_can_replace_a_linear_one() {
    #[derive(Debug)]
    struct Minimal(Linear);

    impl LinearLayer for Minimal {
        fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
            self.0.forward(input)
        }

        fn weight(&self) -> &Tensor {
            self.0.weight()
        }

        fn bias(&self) -> Option<&Tensor> {
            self.0.bias()
        }
    }

    let mut model = classifier();
    let rows = PackedRows::new(&[1, 2, 3, 4, 5], &[3, 2], Device::Cpu).unwrap();
    let before = model.forward_packed(&rows).unwrap();
    model
        .visit_linears(&mut |slot| {
            *slot.layer = Box::new(Minimal(Linear::share(slot.layer.as_ref())));
            Ok::<(), Error>(())
        })
        .unwrap();
    assert!(close(&model.forward_packed(&rows).unwrap(), &before));
    model.merge().unwrap();
    assert!(close(&model.forward_packed(&rows).unwrap(), &before));
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

//! Text generation against `transformers` (`tests/fixtures/make_generation.py`), exact
//! probabilities and plain definitions of the filters.

use std::{collections::BTreeMap, fs, ops::ControlFlow};

use gpt2_config::{Activation, Gpt2Config};
use proptest::prelude::*;
use serde_json::Value;
use tch::Device;
use test_support::fixture;

use super::{
    batch::Job,
    decoder::{Decoder, NewTokens},
    logits::{candidates, penalize_repetition},
    sampling::Sampler,
    torch_decoder::TorchDecoder,
    *,
};
use crate::{ArgumentError, Error, Gpt2, engine::decoder::KernelDecoder};

fn golden() -> Value {
    let file = fixture("generation/golden.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn tokens(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn config(settings: &Value) -> GenerateConfig {
    let number = |name: &str| settings[name].as_f64();
    GenerateConfig {
        max_new_tokens: 24,
        repetition_penalty: number("repetition_penalty").unwrap_or(1.0),
        sampling: Sampling::Random(RandomSampling {
            temperature: number("temperature").unwrap_or(1.0),
            top_k: settings["top_k"].as_u64().map(|k| k as usize),
            top_p: number("top_p"),
            min_p: number("min_p"),
            seed: 1,
        }),
        stop_tokens: Vec::new(),
    }
}

/// A small random model with a context of 24 tokens.
fn small(activation: Activation) -> Gpt2 {
    let config =
        r#"{"vocab_size": 50, "n_positions": 24, "n_embd": 24, "n_layer": 2, "n_head": 3}"#;
    let mut config = Gpt2Config::from_json(config).unwrap();
    config.activation_function = activation;
    Gpt2::random(&config, 1, Device::Cpu).unwrap()
}

fn prompts() -> Vec<Vec<i64>> {
    vec![
        vec![3, 1, 4],
        vec![1],
        vec![5, 9, 2, 6, 5, 3, 5, 8],
        vec![7; 20],
        vec![2, 7],
        vec![3, 1, 4],
    ]
}

fn numbered(prompts: &[Vec<i64>]) -> Vec<Prompt> {
    (0..).zip(prompts).map(|(number, ids)| Prompt { ids: ids.clone(), number }).collect()
}

fn run(model: &Gpt2, prompts: &[Vec<i64>], config: &GenerateConfig, size: usize) -> Vec<Generated> {
    let prompts = numbered(prompts);
    generate_batch(model, &prompts, config, size, &mut |_, _| ControlFlow::Continue(())).unwrap()
}

/// As [`run`], by libtorch.
fn run_by_torch(model: &Gpt2, prompts: &[Vec<i64>], config: &GenerateConfig) -> Vec<Generated> {
    let job = Job { model, prompts: &numbered(prompts), config, batch_size: 3 };
    tch::no_grad(|| job.run(TorchDecoder::new(model), &mut |_, _| ControlFlow::Continue(())))
        .unwrap()
}

fn random(seed: u64) -> GenerateConfig {
    let sampling = RandomSampling { temperature: 1.5, seed, ..RandomSampling::default() };
    GenerateConfig { sampling: Sampling::Random(sampling), ..GenerateConfig::default() }
}

#[test]
fn logits_and_greedy_texts_equal_transformers() {
    let golden = golden();
    let model = Gpt2::load(fixture("tiny"), Device::Cpu).unwrap();
    let texts = golden["base"].as_array().unwrap();
    let prompts: Vec<Vec<i64>> = texts.iter().map(|text| tokens(&text["prompt"])).collect();
    let logits = model.next_token_logits(&prompts).unwrap();
    let by_torch = |prompt: &Vec<i64>| {
        let mut decoder = TorchDecoder::new(&model);
        let cache = &mut decoder.cache(prompt.len()).unwrap();
        decoder.logits(&mut [NewTokens { cache, ids: prompt }], false).unwrap()
    };
    for ((text, prompt), logits) in texts.iter().zip(&prompts).zip(&logits) {
        for logits in [logits.clone(), tch::no_grad(|| by_torch(prompt))] {
            let every = golden["stride"].as_u64().unwrap() as usize;
            let expected = numbers(&text["logits"]);
            for (logit, expected) in logits.iter().step_by(every).zip(expected) {
                assert!((f64::from(*logit) - expected).abs() < 1e-4, "{logit} {expected}");
            }
        }
    }
    for number in 0..texts[0]["greedy"].as_array().unwrap().len() {
        let settings = &texts[0]["greedy"][number]["settings"];
        let config = GenerateConfig { sampling: Sampling::Greedy, ..config(settings) };
        let expected: Vec<Vec<i64>> =
            texts.iter().map(|text| tokens(&text["greedy"][number]["tokens"])).collect();
        let mut all = vec![run_by_torch(&model, &prompts, &config)];
        all.extend([1, 2, 8].map(|size| run(&model, &prompts, &config, size)));
        for texts in all {
            let texts: Vec<Vec<i64>> = texts.into_iter().map(|text| text.tokens).collect();
            assert_eq!(texts, expected, "{settings}");
        }
    }
}

#[test]
fn distributions_equal_transformers() {
    let golden = golden();
    let model = Gpt2::load(fixture("tiny"), Device::Cpu).unwrap();
    for case in golden["distributions"].as_array().unwrap() {
        let (prompt, settings) = (tokens(&case["prompt"]), &case["settings"]);
        let config = config(settings);
        let Sampling::Random(sampling) = config.sampling else { unreachable!() };
        let mut logits = model.next_token_logits(std::slice::from_ref(&prompt)).unwrap().remove(0);
        penalize_repetition(&mut logits, &prompt, config.repetition_penalty);
        let candidates = candidates(&logits, &sampling);
        let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
        let count = case["count"].as_u64().unwrap() as usize;
        assert!(candidates.len().abs_diff(count) <= 1, "{settings} {} {count}", candidates.len());
        let by_token: BTreeMap<usize, f64> =
            candidates.iter().map(|one| (one.token, one.weight / total)).collect();
        let expected = tokens(&case["tokens"]).into_iter().zip(numbers(&case["probabilities"]));
        for (token, expected) in expected {
            let probability = by_token[&(token as usize)];
            assert!((probability / expected - 1.0).abs() < 1e-3, "{settings} {token}");
        }
    }
}

#[test]
fn texts_do_not_depend_on_the_batch() {
    let prompts = prompts();
    for activation in [Activation::GeluNew, Activation::Relu] {
        let model = small(activation);
        for config in [GenerateConfig::default(), random(5)] {
            let alone: Vec<Generated> = numbered(&prompts)
                .into_iter()
                .map(|prompt| {
                    let mut on_token = |_, _| ControlFlow::Continue(());
                    generate_batch(&model, &[prompt], &config, 1, &mut on_token).unwrap().remove(0)
                })
                .collect();
            for size in 1..=7 {
                assert_eq!(run(&model, &prompts, &config, size), alone, "{config:?} {size}");
            }
            assert_eq!(run_by_torch(&model, &prompts, &config), alone, "{config:?}");
        }
    }
}

/// The bits of logits in prompts and steps.
#[test]
fn logits_do_not_depend_on_the_batch() {
    let model = small(Activation::Gelu);
    let ids = prompts();
    let logits = |prompts: &[Vec<i64>]| {
        let mut decoder = KernelDecoder::new(&model).unwrap().unwrap();
        let mut caches: Vec<_> = prompts.iter().map(|_| decoder.cache(24).unwrap()).collect();
        let mut pass = |ids: &[&[i64]], is_step| {
            let mut sequences: Vec<_> =
                caches.iter_mut().zip(ids).map(|(cache, ids)| NewTokens { cache, ids }).collect();
            decoder.logits(&mut sequences, is_step).unwrap()
        };
        let prompts: Vec<&[i64]> = prompts.iter().map(Vec::as_slice).collect();
        let last: Vec<&[i64]> = prompts.iter().map(|ids| &ids[..1]).collect();
        [pass(&prompts, false), pass(&last, true), pass(&last, true)]
    };
    let together = logits(&ids);
    for (row, ids) in ids.iter().enumerate() {
        for (together, alone) in together.iter().zip(logits(std::slice::from_ref(ids))) {
            assert_eq!(together[row * 50..][..50], alone);
        }
    }
}

#[test]
fn prompts_have_generators_of_their_own() {
    let (model, prompts) = (small(Activation::GeluNew), vec![vec![3, 1, 4]; 3]);
    let texts = run(&model, &prompts, &random(5), 8);
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2]);
    assert_ne!(run(&model, &prompts, &random(6), 8), texts);
    let config = random(5);
    let single = generate(&model, &prompts[0], &config, |_| ()).unwrap();
    assert_eq!(single, texts[0].tokens);
}

#[test]
fn a_text_ends_at_the_context_a_stop_token_or_the_callers_word() {
    let model = small(Activation::GeluNew);
    let all = run(&model, &[vec![3, 1, 4]], &GenerateConfig::default(), 1).remove(0);
    assert_eq!((all.tokens.len(), all.finish), (21, FinishReason::Length));
    let prompts = [vec![3, 1, 4], vec![1]];
    let config = GenerateConfig { max_new_tokens: 2, ..GenerateConfig::default() };
    let short = run(&model, &prompts, &config, 2);
    assert_eq!((&short[0].tokens[..], short[0].finish), (&all.tokens[..2], FinishReason::Length));

    let config = GenerateConfig { stop_tokens: vec![49, all.tokens[0]], ..config };
    let stopped = run(&model, &prompts[..1], &config, 2).remove(0);
    assert_eq!(stopped, Generated { tokens: Vec::new(), finish: FinishReason::StopToken });

    let config = GenerateConfig { max_new_tokens: 0, ..GenerateConfig::default() };
    let empty = run(&model, &prompts, &config, 2).remove(1);
    assert_eq!(empty, Generated { tokens: Vec::new(), finish: FinishReason::Length });

    let mut seen = Vec::new();
    let mut on_token = |index: usize, token: i64| {
        seen.push((index, token));
        if index == 0 && seen.iter().filter(|(other, _)| *other == 0).count() == 3 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    let config = GenerateConfig { max_new_tokens: 5, ..GenerateConfig::default() };
    let texts = generate_batch(&model, &numbered(&prompts), &config, 8, &mut on_token).unwrap();
    assert_eq!(
        (&texts[0].tokens[..], texts[0].finish),
        (&all.tokens[..3], FinishReason::Interrupted)
    );
    assert_eq!((texts[1].tokens.len(), texts[1].finish), (5, FinishReason::Length));
    assert_eq!(seen.len(), 8);
}

#[test]
fn invalid_settings_and_prompts_are_refused() {
    let model = small(Activation::GeluNew);
    let refused = |prompt: &[i64], config: &GenerateConfig| {
        generate(&model, prompt, config, |_| ()).unwrap_err()
    };
    let config = GenerateConfig::default();
    assert!(matches!(refused(&[], &config), Error::Argument(ArgumentError::EmptyPrompt)));
    assert!(matches!(refused(&[50], &config), Error::TokenId { id: 50, .. }));
    assert!(matches!(refused(&[-1], &config), Error::TokenId { id: -1, .. }));
    assert!(matches!(refused(&[1; 24], &config), Error::TooLong { length: 25, context: 24 }));
    let sampling = RandomSampling::default();
    for (sampling, expected) in [
        (RandomSampling { temperature: 0.0, ..sampling }, ArgumentError::Temperature(0.0)),
        (RandomSampling { top_k: Some(0), ..sampling }, ArgumentError::TopK),
        (RandomSampling { top_p: Some(0.0), ..sampling }, ArgumentError::TopP(0.0)),
        (RandomSampling { top_p: Some(1.1), ..sampling }, ArgumentError::TopP(1.1)),
        (RandomSampling { min_p: Some(-0.1), ..sampling }, ArgumentError::MinP(-0.1)),
    ] {
        let config = GenerateConfig { sampling: Sampling::Random(sampling), ..config.clone() };
        let error = refused(&[1], &config);
        assert!(matches!(&error, Error::Argument(problem) if *problem == expected), "{error}");
    }
    let config = GenerateConfig { repetition_penalty: f64::INFINITY, ..config };
    assert!(matches!(refused(&[1], &config), Error::Argument(ArgumentError::RepetitionPenalty(_))));
    let (prompts, config) = (numbered(&[vec![1]]), GenerateConfig::default());
    let mut on_token = |_, _| ControlFlow::Continue(());
    let error = generate_batch(&model, &prompts, &config, 0, &mut on_token).unwrap_err();
    assert!(matches!(error, Error::Argument(ArgumentError::BatchSize)), "{error}");
}

#[test]
fn damaged_weights_are_an_error() {
    let model = small(Activation::GeluNew);
    let nan = tch::Tensor::full([24], f64::NAN, tch::kind::FLOAT_CPU);
    let model = model.with_final_bias(nan);
    let error = generate(&model, &[1], &GenerateConfig::default(), |_| ()).unwrap_err();
    assert!(matches!(error, Error::Argument(ArgumentError::Logits { tokens: 1 })), "{error}");
}

#[test]
fn frequencies_equal_the_probabilities() {
    let logits = [0.3f32, -1.0, 2.0, 1.5, -3.0, 0.0];
    let weights = logits.map(|logit| f64::from(logit / 0.8).exp());
    for (top_k, top_p, allowed) in
        [(None, None, 0..6), (Some(3), None, 0..4), (None, Some(0.9), 0..4)]
    {
        let settings = RandomSampling { temperature: 0.8, top_k, top_p, min_p: None, seed: 9 };
        let mut sampler = Sampler::new(Sampling::Random(settings), 0);
        let draws = 20_000;
        let mut counts = [0; 6];
        for _ in 0..draws {
            counts[sampler.choose(&logits)] += 1;
        }
        let mut kept = weights;
        for (token, weight) in kept.iter_mut().enumerate() {
            let is_kept = allowed.contains(&token) && (allowed.len() == 6 || weights[token] > 1.0);
            if !is_kept {
                *weight = 0.0;
            }
        }
        let total: f64 = kept.iter().sum();
        for (count, weight) in counts.iter().zip(kept) {
            let probability = weight / total;
            let deviation = (probability * (1.0 - probability) * f64::from(draws)).sqrt();
            let error = f64::from(*count) - probability * f64::from(draws);
            assert!(error.abs() <= 5.0 * deviation, "{top_k:?} {top_p:?} {counts:?}");
        }
    }
}

proptest! {
    /// Filters by their definitions, on logits with ties.
    #[test]
    fn candidates_follow_the_definitions(
        logits in prop::collection::vec(-20..20_i8, 1..400),
        top_k in prop::option::of(1..500_usize),
        top_p in prop::option::of(0.01..1.0_f64),
        min_p in prop::option::of(0.0..1.0_f64),
        temperature in 0.1..3.0_f64,
    ) {
        let logits: Vec<f32> = logits.into_iter().map(|logit| f32::from(logit) / 4.0).collect();
        let settings = RandomSampling { temperature, top_k, top_p, min_p, seed: 0 };
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        if let Some(last) = top_k.and_then(|k| order.get(k - 1).copied()) {
            order.retain(|&token| logits[token] >= logits[last]);
        }
        let highest = logits[order[0]];
        let weight = |token: usize| (f64::from(logits[token] - highest) / temperature).exp();
        if let Some(top_p) = top_p {
            let total: f64 = order.iter().map(|&token| weight(token)).sum();
            let mut before = 0.0;
            order.retain(|&token| {
                let is_kept = before < top_p * total;
                before += weight(token);
                is_kept
            });
        }
        if let Some(min_p) = min_p {
            order.retain(|&token| weight(token) >= min_p);
        }
        let mut found: Vec<usize> = candidates(&logits, &settings).iter().map(|c| c.token).collect();
        found.sort_unstable();
        order.sort_unstable();
        // Rounding may move the end of top-p by one.
        prop_assert!(found.len().abs_diff(order.len()) <= usize::from(top_p.is_some()));
        if found.len() == order.len() {
            prop_assert_eq!(found, order);
        }
    }
}

//! Rank and alpha patterns, dropout, DoRA, PiSSA, and merging.

use std::collections::BTreeMap;

use lora::{
    Error, Injector, LoraConfig, LoraLinear, ParameterKind, Scaling, SettingProblem, Targets,
};
use proptest::prelude::*;
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
use tch::{Kind, Tensor};

use crate::model::{close, config, disturb, fill, load, model, random, save};

/// Any combination of settings on some targets.
fn any_config() -> impl Strategy<Value = LoraConfig> {
    let targets = prop::sample::select(vec![
        vec!["all-linear"],
        vec!["attn", "fc"],
        vec!["q", "v", "fc"],
        vec!["k"],
    ]);
    let scaling =
        prop::sample::select(vec![Scaling::Alpha, Scaling::AlphaOverRank, Scaling::RsLora]);
    let init = prop::sample::select(vec![lora::Init::Kaiming, lora::Init::Pissa]);
    // A rank above 5 is more than the inputs of any layer, above 4 than the outputs
    // of a slice.
    (targets, scaling, init, any::<bool>(), any::<bool>(), 1i64..8, 0.5f64..4.0).prop_map(
        |(targets, scaling, init, dora, patterns, rank, alpha)| {
            let (mut ranks, mut alphas) = (BTreeMap::new(), BTreeMap::new());
            if patterns {
                ranks.insert("fc|attn.*".to_owned(), 3);
                alphas.insert("k|v|fc|attn".to_owned(), 1.5);
            }
            LoraConfig {
                rank,
                alpha,
                scaling,
                init,
                dora,
                rank_pattern: ranks,
                alpha_pattern: alphas,
                ..config(&targets)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn new_adapter_does_not_change_the_output(config in any_config(), seed: i64) {
        tch::manual_seed(seed);
        let model = model();
        let x = random(&[6, 5]);
        let base = Tensor::cat(
            &[
                x.linear(&model.attn.0, Some(&model.attn.1)),
                x.linear(&model.fc.0, Some(&model.fc.1)),
            ],
            -1,
        );
        let before = model.attn.0.copy();
        let adapted = model.with(config).unwrap();
        let ours = adapted.outputs(&model, &x);
        prop_assert!(ours.allclose(&base, 1e-4, 1e-5, false), "{:?}", (ours - base).abs().max());
        prop_assert_eq!(&model.attn.0, &before);
    }

    /// Merging does not change the output, and unmerging restores the weights bit for bit.
    #[test]
    fn merging_preserves_the_output_and_is_reversible(config in any_config(), seed: i64) {
        tch::manual_seed(seed);
        let model = model();
        let mut adapted = model.with(config).unwrap();
        disturb(&adapted.adapter);
        let x = random(&[6, 5]);
        let before = adapted.outputs(&model, &x);
        let weights: Vec<_> =
            adapted.layers().map(|layer| (layer.weight().data_ptr(), layer.weight().copy())).collect();
        for layer in adapted.layers() {
            layer.merge().unwrap();
            prop_assert!(layer.is_merged());
            let rows = layer.weight().size()[0];
            let output = x.f_linear(layer.weight(), layer.bias()).unwrap();
            let added = layer.f_add_product(&x, output.shallow_clone(), 0..rows).unwrap();
            prop_assert_eq!(added, output.shallow_clone());
            prop_assert_eq!(layer.f_add_stepwise(&x, output.copy(), 0..rows).unwrap(), output);
        }
        let merged = adapted.outputs(&model, &x);
        let off = (&merged - &before).abs().max();
        prop_assert!(merged.allclose(&before, 1e-4, 1e-5, false), "{:?}", off);
        for (layer, (address, weight)) in adapted.layers().zip(weights) {
            layer.unmerge();
            prop_assert_eq!(layer.weight().data_ptr(), address);
            prop_assert_eq!(layer.weight(), &weight);
        }
        prop_assert_eq!(adapted.outputs(&model, &x), before);
    }

    /// Any range of outputs, fused or stepwise, equals the range of the whole layer.
    #[test]
    fn output_ranges_equal_the_whole_layer(
        config in any_config(), seed: i64, start in 0i64..12, length in 1i64..12,
    ) {
        tch::manual_seed(seed);
        let model = model();
        let adapted = model.with(config).unwrap();
        disturb(&adapted.adapter);
        let Some(layer) = adapted.attn else { return Err(TestCaseError::reject("no adapter on this layer")) };
        let x = random(&[2, 3, 5]);
        let rows = start..(start + length).min(12);
        let narrow = |all: &Tensor| all.narrow(-1, rows.start, rows.end - rows.start);
        let base = || narrow(&x.linear(layer.weight(), layer.bias())).contiguous();
        let expected = narrow(&layer.f_forward(&x).unwrap());
        let fused = layer.f_add_product(&x, base(), rows.clone()).unwrap();
        prop_assert!(fused.allclose(&expected, 1e-4, 1e-5, false));
        let stepwise = layer.f_add_stepwise(&x, base(), rows.clone()).unwrap();
        prop_assert!(stepwise.allclose(&expected, 1e-4, 1e-5, false));
    }

    #[test]
    fn saved_adapter_has_the_same_output(config in any_config(), seed: i64) {
        tch::manual_seed(seed);
        let model = model();
        let live = model.with(config).unwrap();
        disturb(&live.adapter);
        let state = live.adapter.state().unwrap();
        prop_assert_eq!(state.config().init, lora::Init::Kaiming);
        let folder = tempfile::tempdir().unwrap();
        save(&state, folder.path());
        let state = load(folder.path(), state.config()).unwrap();
        let saved = model.adapt(Injector::from_state(state).unwrap()).unwrap();
        let x = random(&[6, 5]);
        let (live, saved) = (live.outputs(&model, &x), saved.outputs(&model, &x));
        let off = (&live - &saved).abs().max();
        prop_assert!(live.allclose(&saved, 1e-4, 1e-5, false), "{:?}", off);
    }
}

/// Equation 5 of Liu et al. 2024; the row norm has no gradient (section 4.3).
#[test]
fn dora_equals_its_formula_with_a_constant_norm() {
    let model = model();
    let adapted = model.with(LoraConfig { dora: true, ..config(&["q", "v"]) }).unwrap();
    disturb(&adapted.adapter);
    let layer = adapted.attn.unwrap();
    let all = adapted.adapter.parameter_kinds();
    let [a_q, b_q, a_v, b_v, m] = [0, 1, 2, 3, 4].map(|i| all[i].0.detach());
    assert_eq!(all[4].1, ParameterKind::Magnitude);
    let leaves = [&a_q, &b_q, &a_v, &b_v, &m].map(|leaf| leaf.copy().set_requires_grad(true));
    let [a_q, b_q, a_v, b_v, m] = &leaves;
    // s = 6 / 2.
    let middle = Tensor::zeros([4, 5], (Kind::Float, tch::Device::Cpu));
    let product = Tensor::cat(&[b_q.mm(a_q) * 3.0, middle, b_v.mm(a_v) * 3.0], 0);
    let weight = &model.attn.0 + product;
    let length = weight.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float).sqrt();
    let weight = m.unsqueeze(1) * weight / length.detach();
    let x = random(&[6, 5]);
    let upstream = random(&[6, 12]);
    let expected = x.linear(&weight, Some(&model.attn.1));
    let actual = layer.f_forward(&x).unwrap();
    assert!(close(&actual, &expected));
    (expected * &upstream).sum(Kind::Float).backward();
    (actual * &upstream).sum(Kind::Float).backward();
    for (leaf, (parameter, kind)) in leaves.iter().zip(&all) {
        assert!(parameter.grad().allclose(&leaf.grad(), 1e-4, 1e-4, false), "{kind:?}");
    }
    assert!(close(&layer.f_merged_weight().unwrap(), &weight.detach()));
}

#[test]
fn magnitudes_are_trained_and_counted_last() {
    let model = model();
    let adapted = model.with(LoraConfig { dora: true, ..config(&["all-linear"]) }).unwrap();
    let names: Vec<String> =
        adapted.adapter.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..2], ["h.0.attn.q.lora_A.weight", "h.0.attn.q.lora_B.weight"]);
    assert_eq!(names[8..], ["h.0.attn.lora_magnitude_vector", "h.0.fc.lora_magnitude_vector"]);
    let kinds = adapted.adapter.parameter_kinds();
    let count = |kind| kinds.iter().filter(|(_, other)| *other == kind).count();
    assert_eq!(
        [ParameterKind::A, ParameterKind::B, ParameterKind::Magnitude].map(count),
        [4, 4, 2]
    );
    assert!(kinds.iter().all(|(tensor, _)| tensor.requires_grad()));
    let matrices = 3 * 2 * (5 + 4) + 2 * (5 + 7);
    assert_eq!(adapted.adapter.parameter_count(), matrices + 12 + 7);
    let lengths = model.fc.0.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
    assert!(close(&kinds[9].0.detach(), &lengths.sqrt()));
    assert_eq!(adapted.fc.unwrap().parameters().count(), 3);
}

#[test]
fn rank_and_alpha_patterns_apply_to_their_layers() {
    let model = model();
    let config = LoraConfig {
        rank_pattern: [("attn".to_owned(), 3), (r"attn\.v".to_owned(), 1)].into(),
        alpha_pattern: [("fc".to_owned(), 7.0)].into(),
        ..config(&["all-linear"])
    };
    let adapted = model.with(config.clone()).unwrap();
    let found: Vec<_> =
        adapted.adapter.layers().iter().map(|layer| (layer.a.size()[0], layer.scale)).collect();
    assert_eq!(found, [(3, 2.0), (3, 2.0), (1, 6.0), (2, 3.5)]);
    fill(&adapted.adapter);
    let x = random(&[6, 5]);
    let expected = x.linear(&model.attn.0, Some(&model.attn.1));
    for (layer, start) in adapted.adapter.layers().iter().zip([0, 4, 8]) {
        let product = x.matmul(&layer.a.tr()).matmul(&layer.b.tr()) * layer.scale;
        let _ = expected.narrow(1, start, 4).g_add_(&product.detach());
    }
    assert!(close(&adapted.attn.unwrap().f_forward(&x).unwrap(), &expected));

    let misspelled = LoraConfig { rank_pattern: [("atn".to_owned(), 3)].into(), ..config };
    let Err(Error::Setting { setting, problem }) = model.with(misspelled) else { panic!() };
    assert_eq!((setting.as_str(), problem), ("rank_pattern \"atn\"", SettingProblem::Unused));
}

#[test]
fn target_pattern_matches_layers_or_slices() {
    let model = model();
    let with = |pattern: &str| {
        model.with(LoraConfig { targets: Targets::Pattern(pattern.to_owned()), ..config(&[]) })
    };
    let names = |pattern: &str| -> Vec<String> {
        let adapted = with(pattern).unwrap();
        adapted.adapter.layers().iter().map(|layer| layer.name.clone()).collect()
    };
    assert_eq!(names(r"h\.\d+\.fc"), ["h.0.fc"]);
    assert_eq!(names(r".*\.[qv]"), ["h.0.attn.q", "h.0.attn.v"]);
    assert_eq!(names(r"h.*(attn|fc)"), ["h.0.attn", "h.0.fc"]);
    // The pattern must match the whole name.
    let error = with("fc").err().unwrap();
    assert!(
        matches!(&error, Error::UnknownTarget { targets, .. } if *targets == ["fc"]),
        "{error}"
    );
    let error = with("(").err().unwrap();
    assert!(
        matches!(&error, Error::Setting { problem: SettingProblem::Pattern { .. }, .. }),
        "{error}"
    );
}

/// The update of a bfloat16 weight is smaller than the precision of bfloat16.
#[test]
fn merged_half_precision_weight_keeps_the_update() {
    let weight = random(&[6, 5]).to_kind(Kind::BFloat16);
    let bias = random(&[6]).to_kind(Kind::BFloat16);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut injector = Injector::new(config(&["fc"]), &mut rng).unwrap();
    let mut layer: LoraLinear = injector.adapt("fc", &[], &weight, Some(&bias)).unwrap().unwrap();
    let adapter = injector.finish().unwrap();
    {
        let _no_grad = tch::no_grad_guard();
        adapter.layers()[0].b.shallow_clone().copy_(&(random(&[6, 2]) * 1e-4));
    }
    let merged = layer.f_merged_weight().unwrap();
    assert_eq!(merged.kind(), Kind::Float);
    let update = (adapter.layers()[0].b.mm(&adapter.layers()[0].a) * 3.0).detach();
    let found = &merged - weight.to_kind(Kind::Float);
    assert!(found.allclose(&update, 0.0, 1e-6, false));
    assert!(update.abs().max().double_value(&[]) > 1e-5);

    let x = random(&[4, 5]);
    let before = layer.f_forward(&x).unwrap();
    assert_eq!(before.kind(), Kind::Float);
    layer.merge().unwrap();
    let after = layer.f_forward(&x).unwrap();
    assert!(after.allclose(&before, 0.05, 0.05, false));
    layer.unmerge();
    assert_eq!(layer.weight(), &weight);
}

#[test]
fn pissa_removes_the_principal_components_from_the_weight() {
    let model = model();
    let config = LoraConfig { init: lora::Init::Pissa, ..config(&["q", "fc"]) };
    let adapted = model.with(config).unwrap();
    let fc = adapted.fc.unwrap();
    assert_eq!(fc.base_weight().data_ptr(), model.fc.0.data_ptr());
    assert!(!fc.weight().requires_grad());
    // The residual lacks the two largest singular values.
    let (_, before, _) = model.fc.0.svd(true, true);
    let (_, after, _) = fc.weight().svd(true, true);
    assert!(close(&after.narrow(0, 0, 3), &before.narrow(0, 2, 3)));
    let attn = adapted.attn.unwrap();
    assert_eq!(attn.weight().narrow(0, 4, 8), model.attn.0.narrow(0, 4, 8));
    assert_ne!(attn.weight().narrow(0, 0, 4), model.attn.0.narrow(0, 0, 4));
    let state = adapted.adapter.state().unwrap();
    assert_eq!((state.config().rank, state.config().alpha), (4, 12.0));
    assert_eq!(state.tensors()["h.0.fc.lora_A.weight"].size(), [4, 5]);
    assert_eq!(state.tensors()["h.0.fc.lora_B.weight"].size(), [7, 4]);
}

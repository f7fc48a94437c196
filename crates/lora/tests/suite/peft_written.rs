//! Adapters written for Hugging Face PEFT.

use std::fs;

use lora::{
    AdapterState, CONFIG_FILE, Error, Injector, LayerProblem, LoraConfig, Scaling, TensorProblem,
    peft::{PeftAdapter, PeftLayer, PeftOptions, Slicing},
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    fixtures::{Layer, PREFIX, adapted, base, fixtures, json_file, whole_tensors},
    model::{config, disturb, model, random, save, two_layers},
};

#[test]
fn adapters_of_peft_round_trip() {
    let layers = base();
    let described: Vec<PeftLayer> = layers.iter().map(Layer::described).collect();
    for name in json_file("cases.json")["cases"].as_object().unwrap().keys() {
        let load = || PeftAdapter::load(&fixtures().join(name)).unwrap();
        let state = load().into_state(PREFIX, &Slicing::default()).unwrap();
        let options = PeftOptions {
            fan_in_fan_out: true,
            task_type: load().task_type().map(str::to_owned),
            base_model: Some("tiny-base".to_owned()),
        };
        let folder = tempfile::tempdir().unwrap();
        state.to_peft(&described, &options).unwrap().save(folder.path()).unwrap();
        let again = PeftAdapter::load(folder.path()).unwrap();
        assert_eq!(again.base_model(), Some("tiny-base"));
        assert_eq!(again.tensors(), load().tensors(), "{name}");
        let factors = |mut state: AdapterState| {
            whole_tensors(&mut state);
            let (_, adapter) = adapted(&layers, state);
            adapter.layers().iter().map(|l| (l.name.clone(), l.scale)).collect::<Vec<_>>()
        };
        let (ours, theirs) =
            (factors(state), factors(again.into_state(PREFIX, &Slicing::default()).unwrap()));
        assert_eq!(ours.len(), theirs.len());
        for ((one, s), (other, t)) in ours.into_iter().zip(theirs) {
            assert_eq!(one, other);
            assert!((s - t).abs() < 1e-12, "{name} {one}: {s} {t}");
        }
    }
}

/// Versions before 0.14 fail on settings that they do not know.
#[test]
fn settings_unknown_to_older_versions_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let state = model().with(config(&["fc"])).unwrap().adapter.state().unwrap();
    save(&state, folder.path());
    let text = fs::read_to_string(folder.path().join(CONFIG_FILE)).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    let mut keys: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let known = [
        "alpha_pattern",
        "base_model_name_or_path",
        "bias",
        "fan_in_fan_out",
        "inference_mode",
        "init_lora_weights",
        "lora_alpha",
        "lora_dropout",
        "modules_to_save",
        "peft_type",
        "r",
        "rank_pattern",
        "target_modules",
        "task_type",
        "use_dora",
        "use_rslora",
    ];
    assert_eq!(keys, known);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Slices of a layer become one adapter with the same output.
    #[test]
    fn slices_become_one_adapter(
        seed: i64,
        targets in prop::sample::select(vec![
            vec!["all-linear"], vec!["q", "v"], vec!["k", "fc"], vec!["attn"], vec!["fc"],
        ]),
        scaling in prop::sample::select(
            vec![Scaling::Alpha, Scaling::AlphaOverRank, Scaling::RsLora]),
        dora: bool, pissa: bool, own: bool,
    ) {
        tch::manual_seed(seed);
        let model = model();
        let mut config = LoraConfig { scaling, dora, dropout: 0.125, ..config(&targets) };
        if pissa {
            config.init = lora::Init::Pissa;
        }
        if own {
            config.rank_pattern = [(".*(q|k|fc|attn)".to_owned(), 3)].into();
            config.alpha_pattern = [(".*(v|k|fc|attn)".to_owned(), 0.5)].into();
        }
        let ours = model.with(config).unwrap();
        disturb(&ours.adapter);
        let state = ours.adapter.state().unwrap();
        let folder = tempfile::tempdir().unwrap();
        save(&state, folder.path());
        let theirs = PeftAdapter::load(folder.path()).unwrap().into_state(PREFIX, &Slicing::default()).unwrap();
        prop_assert_eq!(theirs.config().dropout, 0.125);
        prop_assert_eq!(theirs.config().scaling, Scaling::AlphaOverRank);
        let theirs = model.adapt(Injector::from_state(theirs).unwrap()).unwrap();
        prop_assert!(theirs.adapter.layers().iter().all(|layer| !layer.name.ends_with(".q")));
        let x = random(&[6, 5]);
        let (ours, theirs) = (ours.outputs(&model, &x), theirs.outputs(&model, &x));
        prop_assert!(ours.allclose(&theirs, 1e-4, 1e-5, false), "{:?}", (ours - theirs).abs().max());
    }
}

#[test]
fn mismatched_layers_are_named() {
    let model = model();
    let state = model.with(config(&["q", "fc"])).unwrap().adapter.state().unwrap();
    let [attn, fc] = two_layers();
    let refused =
        |layers: &[PeftLayer]| state.to_peft(layers, &PeftOptions::default()).unwrap_err();
    let problems = |error: Error| match error {
        Error::Mismatch { problems, .. } => problems,
        other => panic!("{other}"),
    };
    let unused = TensorProblem::Unused { name: "h.0.attn.q.lora_A.weight".to_owned() };
    assert!(problems(refused(std::slice::from_ref(&fc))).contains(&unused));
    let mut with_whole = model.with(config(&["fc"])).unwrap().adapter.state().unwrap();
    with_whole.add_tensor("transformer.h.0.fc.weight", &model.fc.0).unwrap();
    let error = with_whole.to_peft(&two_layers(), &PeftOptions::default()).unwrap_err();
    let module = "transformer.h.0.fc".to_owned();
    assert_eq!(problems(error), [TensorProblem::AdapterAndWeight { module }]);
    let name = "h.0.fc.lora_A.weight".to_owned();
    let shape = TensorProblem::Shape { name, expected: vec![2, 6], shape: vec![2, 5] };
    assert_eq!(
        problems(refused(&[attn.clone(), PeftLayer { size: [7, 6], ..fc.clone() }])),
        [shape]
    );
    let error = refused(&[PeftLayer { size: [13, 5], ..attn }, fc]);
    let Error::Layer { problem, .. } = error else { panic!("{error}") };
    assert_eq!(problem, LayerProblem::Indivisible { outputs: 13, slices: 3 });
}

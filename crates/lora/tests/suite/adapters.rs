//! Adapters on layers, and adapters saved to files and loaded.

use std::fs;

use lora::{
    Adapter, CONFIG_FILE, Error, FormatProblem, Injector, LayerProblem, LoraConfig,
    PeftSettingsProblem, Scaling, SettingProblem, Targets, TensorProblem, WEIGHTS_FILE,
};
use proptest::prelude::*;
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
use tch::{Kind, Tensor};

use crate::model::{SLICES, close, config, fill, load, model, random, save};

fn layer_names(adapter: &Adapter) -> Vec<&str> {
    adapter.layers().iter().map(|layer| layer.name.as_str()).collect()
}

#[test]
fn new_adapter_does_not_change_the_output() {
    let model = model();
    let adapted = model.with(config(&["all-linear"])).unwrap();
    let x = random(&[3, 4, 5]);
    let fc = adapted.fc.unwrap().f_forward(&x).unwrap();
    assert_eq!(fc.size(), [3, 4, 7]);
    assert!(close(&fc, &x.linear(&model.fc.0, Some(&model.fc.1))));
    let attn = adapted.attn.unwrap().f_forward(&x).unwrap();
    assert!(close(&attn, &x.linear(&model.attn.0, Some(&model.attn.1))));
}

/// Equation 3 of Hu et al. 2022 with B ≠ 0, s ≠ 1 and x ≠ 0, for each slice.
#[test]
fn product_is_added_to_the_output_of_its_slice() {
    let model = model();
    let x = random(&[6, 5]);
    for targets in [&["all-linear"][..], &["q", "v"], &["k"], &["v"], &["attn"]] {
        let adapted = model.with(config(targets)).unwrap();
        fill(&adapted.adapter);
        let actual = adapted.attn.unwrap().f_forward(&x).unwrap();
        let expected = x.linear(&model.attn.0, Some(&model.attn.1));
        for layer in adapted.adapter.layers() {
            let product: Tensor = 3.0 * x.matmul(&layer.a.tr()).matmul(&layer.b.tr());
            let (start, rows) = match layer.name.as_str() {
                "h.0.attn" => (0, 12),
                "h.0.attn.q" => (0, 4),
                "h.0.attn.k" => (4, 4),
                "h.0.attn.v" => (8, 4),
                _ => continue,
            };
            let mut range = expected.narrow(1, start, rows);
            let _ = range.g_add_(&product.detach());
        }
        assert!(close(&actual, &expected), "{targets:?}");
    }
}

/// Ranges of outputs that begin and end within slices.
#[test]
fn output_ranges_equal_the_whole_layer() {
    let model = model();
    let x = random(&[3, 2, 5]);
    for targets in [&["all-linear"][..], &["q", "v"], &["k"], &["attn"]] {
        let adapted = model.with(config(targets)).unwrap();
        fill(&adapted.adapter);
        let layer = adapted.attn.unwrap();
        let all = layer.f_forward(&x).unwrap();
        for rows in [0..12, 0..4, 4..8, 8..12, 3..9, 5..6] {
            let narrow = |all: &Tensor| all.narrow(-1, rows.start, rows.end - rows.start);
            let base = || narrow(&x.linear(&model.attn.0, Some(&model.attn.1))).contiguous();
            let fused = layer.f_add_product(&x, base(), rows.clone()).unwrap();
            assert!(close(&fused, &narrow(&all)), "{targets:?} {rows:?}");
            let stepwise = layer.f_add_stepwise(&x, base(), rows.clone()).unwrap();
            assert!(close(&stepwise, &narrow(&all)), "{targets:?} {rows:?}");
        }
    }
}

#[test]
fn only_adapters_receive_gradients() {
    let model = model();
    let adapted = model.with(config(&["all-linear"])).unwrap();
    fill(&adapted.adapter);
    let x = random(&[6, 5]);
    let output = adapted.attn.unwrap().f_forward(&x).unwrap();
    let weights = random(&output.size());
    (output * &weights).sum(Kind::Float).backward();
    for (slice, layer) in slice_adapters(&adapted.adapter).enumerate() {
        let upstream = weights.narrow(1, 4 * slice as i64, 4);
        let b: Tensor = 3.0 * upstream.tr().matmul(&x.matmul(&layer.a.tr()));
        let a: Tensor = 3.0 * layer.b.tr().matmul(&upstream.tr()).matmul(&x);
        assert!(close(&layer.b.grad(), &b.detach()));
        assert!(close(&layer.a.grad(), &a.detach()));
    }
    assert!(!model.attn.0.requires_grad());
}

fn slice_adapters(adapter: &Adapter) -> impl Iterator<Item = &lora::AdapterLayer> {
    adapter.layers().iter().filter(|layer| layer.name.starts_with("h.0.attn"))
}

#[test]
fn targets_are_names_of_layers_or_slices() {
    let model = model();
    let names = |targets: &[&str]| -> Vec<String> {
        let adapted = model.with(config(targets)).unwrap();
        layer_names(&adapted.adapter).into_iter().map(String::from).collect()
    };
    let all = ["h.0.attn.q", "h.0.attn.k", "h.0.attn.v", "h.0.fc"];
    assert_eq!(names(&["all-linear"]), all);
    assert_eq!(names(&["attn"]), ["h.0.attn"]);
    assert_eq!(names(&["fc", "v"]), ["h.0.attn.v", "h.0.fc"]);
    assert_eq!(names(&["h.0.attn.k"]), ["h.0.attn.k"]);
    let error = model.with(config(&["fc", "mlp", "nothing"])).err().unwrap();
    let Error::UnknownTarget { targets, layers } = error else { panic!("{error}") };
    assert_eq!((targets, layers[0].as_str()), (vec!["mlp".into(), "nothing".into()], "h.0.attn"));
}

#[test]
fn saved_adapter_is_loaded_unchanged() {
    let model = model();
    let adapted = model.with(config(&["q", "fc"])).unwrap();
    fill(&adapted.adapter);
    let folder = tempfile::tempdir().unwrap();
    let head = random(&[2, 5]);
    let mut state = adapted.adapter.state().unwrap();
    state.add_tensor("score.weight", &head).unwrap();
    save(&state, folder.path());

    let mut loaded = load(folder.path(), state.config()).unwrap();
    assert_eq!(loaded.take_tensor("score.weight").unwrap(), head);
    let again = model.adapt(Injector::from_state(loaded).unwrap()).unwrap();
    let x = random(&[6, 5]);
    let one = adapted.fc.unwrap().f_forward(&x).unwrap();
    assert_eq!(again.fc.unwrap().f_forward(&x).unwrap(), one);
    assert!(again.adapter.layers().iter().all(|layer| layer.a.requires_grad()));
}

/// Returns the problems of an adapter's weight file that does not fit the model.
fn mismatch<T>(result: Result<T, Error>) -> Vec<TensorProblem> {
    match result {
        Err(Error::Mismatch { path, problems }) => {
            assert!(path.ends_with(WEIGHTS_FILE), "{path:?}");
            problems
        }
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn adapter_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let trained = config(&["all-linear"]);
    save(&model().with(trained.clone()).unwrap().adapter.state().unwrap(), folder.path());
    let load = || Injector::from_state(load(folder.path(), &trained).unwrap()).unwrap();

    let mut wider = model();
    wider.fc.0 = random(&[8, 5]);
    let problems = mismatch(wider.adapt(load()));
    let name = "h.0.fc.lora_B.weight".to_owned();
    assert_eq!(problems, [TensorProblem::Shape { name, expected: vec![8, 2], shape: vec![7, 2] }]);

    let model = model();
    let mut injector = load();
    injector.adapt("h.0.fc", &[], &model.fc.0, None).unwrap();
    let unused = |name: &str| TensorProblem::Unused { name: name.to_owned() };
    assert!(mismatch(injector.finish()).contains(&unused("h.0.attn.q.lora_A.weight")));

    let mut injector = load();
    assert!(injector.adapt("h.1.fc", &[], &model.fc.0, None).unwrap().is_none());
    assert!(mismatch(injector.finish()).contains(&unused("h.0.attn.k.lora_A.weight")));
}

#[test]
fn incomplete_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let load = || load(folder.path(), &config(&["fc"])).unwrap_err();
    assert!(matches!(load(), Error::Storage(error) if error.path().ends_with(CONFIG_FILE)));
    save(&model().with(config(&["fc"])).unwrap().adapter.state().unwrap(), folder.path());
    let weights = folder.path().join(WEIGHTS_FILE);
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 4]).unwrap();
    let error = load();
    let Error::Format { path, problem } = error else { panic!("{error}") };
    assert_eq!(path, weights);
    let FormatProblem::File(problem) = problem else { panic!("{problem}") };
    assert!(matches!(problem, tensor_files::FormatProblem::Safetensors { .. }), "{problem}");
    fs::write(folder.path().join(CONFIG_FILE), "{}").unwrap();
    let error = load();
    let Error::Format { path, problem } = error else { panic!("{error}") };
    assert_eq!(path, folder.path().join(CONFIG_FILE));
    assert_eq!(problem, PeftSettingsProblem::NoPeftType.into());
}

#[test]
fn layers_that_cannot_be_adapted_are_named() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut injector = Injector::new(LoraConfig::default(), &mut rng).unwrap();
    for (name, outputs, shape, expected) in [
        ("norm", &[][..], &[4][..], LayerProblem::NotAMatrix { shape: vec![4] }),
        ("attn", SLICES, &[7, 5], LayerProblem::Indivisible { outputs: 7, slices: 3 }),
    ] {
        let error = injector.adapt(name, outputs, &random(shape), None).err().unwrap();
        let Error::Layer { layer, problem } = error else { panic!("{error}") };
        assert_eq!((layer.as_str(), problem), (name, expected));
    }
    let none = LoraConfig { targets: Targets::Names(vec![]), ..LoraConfig::default() };
    let error = Injector::new(none, &mut rng).unwrap_err();
    assert!(matches!(error, Error::Setting { problem: SettingProblem::NoTarget, .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A file preserves an adapter bit for bit with any settings, slices included.
    #[test]
    fn adapter_round_trips_through_its_file(
        rank in 1i64..6, of_v in 1i64..4, seed: i64, dora: bool, trained: bool,
        targets in prop::sample::select(vec![
            vec!["all-linear"], vec!["q", "v"], vec!["k", "fc"], vec!["attn"], vec!["fc"],
        ]),
        scaling in prop::sample::select(
            vec![Scaling::Alpha, Scaling::AlphaOverRank, Scaling::RsLora]),
    ) {
        tch::manual_seed(seed);
        let mut config = LoraConfig { rank, dora, scaling, ..config(&targets) };
        // All slices need the same factor, and under other scalings the same rank.
        if scaling == Scaling::Alpha && targets.contains(&"v") {
            config.rank_pattern.insert("v".to_owned(), of_v);
        }
        let adapted = model().with(config).unwrap();
        // Slices are distinguished even if all of B is zero.
        if trained {
            fill(&adapted.adapter);
        }
        let state = adapted.adapter.state().unwrap();
        let folder = tempfile::tempdir().unwrap();
        save(&state, folder.path());
        let loaded = load(folder.path(), state.config()).unwrap();
        prop_assert!(loaded.tensors().keys().eq(state.tensors().keys()));
        for (name, tensor) in state.tensors() {
            prop_assert_eq!(&loaded.tensors()[name], tensor, "{}", name);
        }
        let again = model().adapt(Injector::from_state(loaded).unwrap()).unwrap();
        for (one, other) in adapted.adapter.layers().iter().zip(again.adapter.layers()) {
            prop_assert_eq!(one.scale.to_bits(), other.scale.to_bits());
        }
    }

    /// Each `A` lies within ±1/√rank.
    #[test]
    fn initial_a_is_bounded(rank in 1i64..20, seed: u64) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let config = LoraConfig { rank, ..LoraConfig::default() };
        let mut injector = Injector::new(config, &mut rng).unwrap();
        injector.adapt("fc", &[], &random(&[3, 40]), None).unwrap();
        let adapter = injector.finish().unwrap();
        let a = &adapter.layers()[0].a;
        prop_assert_eq!(a.size(), [rank, 40]);
        let largest = a.abs().max().double_value(&[]);
        prop_assert!(largest <= 1.0 / (rank as f64).sqrt());
        prop_assert!(largest > 0.5 / (rank as f64).sqrt());
    }
}

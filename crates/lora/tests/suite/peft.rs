//! Adapters that Hugging Face PEFT wrote, and the ones written for it:
//! `tests/fixtures/make_peft.py` at the root made the folders and the values.

use std::{collections::BTreeMap, fs, path::PathBuf};

use lora::{
    AdapterState, CONFIG_FILE, Injector, LoraConfig, LoraLinear, Scaling, Targets, WEIGHTS_FILE,
    peft::{PeftAdapter, PeftLayer, PeftOptions, is_peft},
};
use proptest::prelude::*;
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::model::{PARTS, close, config, disturb, equal, model, random, tensor};

const PREFIX: &str = "transformer.";

fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/peft"))
}

fn json_file(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixtures().join(name)).unwrap()).unwrap()
}

/// A linear layer of GPT-2: its name, and the weight `[out, in]` and bias.
struct Layer {
    name: String,
    weight: Tensor,
    bias: Tensor,
}

impl Layer {
    fn parts(&self) -> &'static [&'static str] {
        if self.name.ends_with("c_attn") { PARTS } else { &[] }
    }

    fn described(&self) -> PeftLayer {
        PeftLayer {
            name: self.name.clone(),
            module: format!("{PREFIX}{}", self.name),
            outputs: self.parts().iter().map(|part| (*part).to_owned()).collect(),
            size: self.weight.size2().unwrap().into(),
        }
    }
}

/// The linear layers of the base model, which keeps their weights as `[in, out]`.
fn base() -> Vec<Layer> {
    let bytes = fs::read(fixtures().join("base/model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: String| {
        let view = stored.tensor(&name).unwrap();
        let size: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        Tensor::from_data_size(view.data(), &size, Kind::Float)
    };
    let modules = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];
    let names = (0..2).flat_map(|block| modules.map(|module| format!("h.{block}.{module}")));
    names
        .map(|name| Layer {
            weight: read(format!("{name}.weight")).tr().contiguous(),
            bias: read(format!("{name}.bias")),
            name,
        })
        .collect()
}

fn adapted(layers: &[Layer], state: AdapterState) -> (BTreeMap<String, LoraLinear>, lora::Adapter) {
    let mut injector = Injector::from_state(state).unwrap();
    let mut found = BTreeMap::new();
    for layer in layers {
        let Layer { name, weight, bias } = layer;
        if let Some(lora) = injector.adapt(name, layer.parts(), weight, Some(bias)).unwrap() {
            found.insert(name.clone(), lora);
        }
    }
    (found, injector.finish().unwrap())
}

/// Takes out what belongs to no layer.
fn whole_tensors(state: &mut AdapterState) -> BTreeMap<String, Tensor> {
    let names: Vec<String> = state.tensors().keys().cloned().collect();
    let names = names.into_iter().filter(|name| !name.contains(".lora_"));
    names.map(|name| (name.clone(), state.take_tensor(&name).unwrap())).collect()
}

#[test]
fn every_layer_of_every_case_computes_what_peft_computes() {
    let golden = json_file("cases.json");
    let layers = base();
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 10);
    for (name, case) in cases {
        let folder = fixtures().join(name);
        assert!(is_peft(&folder).unwrap());
        let file = PeftAdapter::load(&folder).unwrap();
        assert_eq!(file.base_model(), Some("tiny-base"));
        let head = !["no-head", "pissa"].contains(&name.as_str());
        assert_eq!(file.task_type(), head.then_some("SEQ_CLS"), "{name}");
        let mut state = file.into_state(PREFIX).unwrap();
        let whole = whole_tensors(&mut state);
        let expected: &[&str] = match name.as_str() {
            "no-head" | "pissa" => &[],
            "more-trained" => &["score.weight", "transformer.ln_f.bias", "transformer.ln_f.weight"],
            _ => &["score.weight"],
        };
        assert_eq!(whole.keys().collect::<Vec<_>>(), expected, "{name}");
        let (found, _) = adapted(&layers, state);
        let outputs = case["layers"].as_object().unwrap();
        assert_eq!(found.len(), outputs.len(), "{name}");
        for (layer, lora) in found {
            let x = tensor(&golden["x"][lora.weight().size()[1].to_string()]);
            let y = lora.f_forward(&x).unwrap().detach();
            equal(&y, &outputs[&format!("{PREFIX}{layer}")], &format!("{name} {layer}"));
        }
    }
}

#[test]
fn settings_become_those_of_this_crate() {
    let config = |case: &str| {
        let file = PeftAdapter::load(&fixtures().join(case)).unwrap();
        file.into_state(PREFIX).unwrap().config().clone()
    };
    let rslora = config("rslora");
    assert_eq!((rslora.rank, rslora.alpha, rslora.dropout), (4, 6.0, 0.25));
    assert_eq!(rslora.scaling, Scaling::RsLora);
    assert!(config("dora").dora);
    let patterns = config("patterns");
    assert_eq!(patterns.rank_pattern[r"h\.0\.attn\.c_attn"], 6);
    assert_eq!(patterns.rank_pattern[r"h\.0\.mlp\.c_proj"], 4);
    assert_eq!(patterns.rank_pattern[r"h\.1\.mlp\.c_proj"], 2);
    assert!(!patterns.rank_pattern.contains_key(r"h\.1\.attn\.c_proj"));
    // The first that matches in the file, not the longest.
    assert_eq!(patterns.alpha_pattern[r"h\.0\.attn\.c_attn"], 2.0);
    assert_eq!(patterns.alpha_pattern[r"h\.0\.attn\.c_proj"], 7.0);
    let names = ["h.1.attn.c_attn", "h.1.mlp.c_fc"].map(String::from);
    assert_eq!(config("regex").targets, Targets::Names(names.into()));
    // What PEFT made of PiSSA for other bases: a plain adapter of twice the rank.
    assert_eq!(config("pissa").rank, 4);
}

/// Reading, writing for PEFT and reading again loses nothing.
#[test]
fn what_is_written_for_peft_is_what_was_read() {
    let layers = base();
    let described: Vec<PeftLayer> = layers.iter().map(Layer::described).collect();
    for name in json_file("cases.json")["cases"].as_object().unwrap().keys() {
        let load = || PeftAdapter::load(&fixtures().join(name)).unwrap();
        let state = load().into_state(PREFIX).unwrap();
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
        let again = again.into_state(PREFIX).unwrap();
        let factor = |state: &AdapterState| {
            let mut state = PeftAdapter::load(folder.path()).map(|_| state_copy(state)).unwrap();
            whole_tensors(&mut state);
            let (_, adapter) = adapted(&layers, state);
            adapter.layers().iter().map(|l| (l.name.clone(), l.scale)).collect::<Vec<_>>()
        };
        for ((one, s), (other, t)) in factor(&state).into_iter().zip(factor(&again)) {
            assert_eq!(one, other);
            assert!((s - t).abs() < 1e-12, "{name} {one}: {s} {t}");
        }
    }
}

fn state_copy(state: &AdapterState) -> AdapterState {
    let folder = tempfile::tempdir().unwrap();
    state.save(folder.path()).unwrap();
    AdapterState::load(folder.path()).unwrap()
}

/// One layer under DoRA, rsLoRA and PiSSA: outputs, gradients, merged weight.
#[test]
fn one_layer_equals_peft() {
    let golden = json_file("linear.json");
    let [weight, bias, x, c] = ["weight", "bias", "x", "c"].map(|name| tensor(&golden[name]));
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let kind = case["kind"].as_str().unwrap();
        let rslora = kind.contains("rslora");
        let config = LoraConfig {
            rank: 2,
            alpha: 3.0,
            scaling: if rslora { Scaling::RsLora } else { Scaling::AlphaOverRank },
            dora: kind.contains("dora"),
            init: if kind == "pissa" { lora::Init::Pissa } else { lora::Init::Kaiming },
            ..LoraConfig::default()
        };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut injector = Injector::new(config, &mut rng).unwrap();
        let layer = injector.adapt("fc", &[], &weight, Some(&bias)).unwrap().unwrap();
        let adapter = injector.finish().unwrap();
        assert!((layer.scale() - case["scale"].as_f64().unwrap()).abs() < 1e-12);
        let fc = &adapter.layers()[0];
        if kind == "pissa" {
            let product = (fc.b.mm(&fc.a) * fc.scale).detach();
            equal(&product, &case["principal"], "the principal part");
            equal(layer.weight(), &case["rest"], "the rest");
        } else {
            let _no_grad = tch::no_grad_guard();
            fc.a.shallow_clone().copy_(&tensor(&case["A"]));
            fc.b.shallow_clone().copy_(&tensor(&case["B"]));
            if let Some((magnitude, _)) = adapter.parameter_kinds().get_mut(2) {
                magnitude.copy_(&tensor(&case["magnitude"]));
            }
        }
        let leaf = x.copy().set_requires_grad(true);
        let y = layer.f_forward(&leaf).unwrap();
        equal(&y.detach(), &case["y"], kind);
        equal(&layer.f_merged_weight().unwrap(), &case["merged_weight"], kind);
        if kind == "pissa" {
            continue;
        }
        (y * &c).sum(Kind::Float).backward();
        equal(&leaf.grad(), &case["grad_x"], kind);
        for (parameter, name) in adapter.parameters().iter().zip(["A", "B", "magnitude"]) {
            equal(&parameter.grad(), &case[format!("grad_{name}")], &format!("{kind} {name}"));
        }
    }
}

/// As `model()` has them.
fn two_layers() -> [PeftLayer; 2] {
    let layer = |name: &str, parts: &[&str], size| PeftLayer {
        name: format!("h.0.{name}"),
        module: format!("{PREFIX}h.0.{name}"),
        outputs: parts.iter().map(|part| (*part).to_owned()).collect(),
        size,
    };
    [layer("attn", PARTS, [12, 5]), layer("fc", &[], [7, 5])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Parts of a layer become one adapter that computes the same.
    #[test]
    fn parts_become_one_adapter(
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
        state.to_peft(&two_layers(), &PeftOptions::default()).unwrap().save(folder.path()).unwrap();
        let theirs = PeftAdapter::load(folder.path()).unwrap().into_state(PREFIX).unwrap();
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
fn an_adapter_on_a_whole_weight_goes_into_it() {
    let model = model();
    for dora in [false, true] {
        let ours = model.with(LoraConfig { dora, ..config(&["q", "fc"]) }).unwrap();
        disturb(&ours.adapter);
        let mut state = ours.adapter.state().unwrap();
        state.add_tensor("score.weight", &model.fc.0).unwrap();
        state.add_tensor("score.bias", &model.fc.1).unwrap();
        let mut layers = two_layers();
        layers[1].module = "score".to_owned();
        let options = PeftOptions { task_type: Some("SEQ_CLS".to_owned()), ..Default::default() };
        let file = state.to_peft(&layers, &options).unwrap();
        assert_eq!(file.modules_to_save(), ["score"]);
        let names: Vec<_> = file.tensors().keys().filter(|name| name.contains("score")).collect();
        assert_eq!(names, ["base_model.model.score.bias", "base_model.model.score.weight"]);
        let merged = ours.fc.unwrap().f_merged_weight().unwrap();
        assert!(close(&file.tensors()["base_model.model.score.weight"], &merged));
        // The state itself is as before.
        assert_eq!(state.tensors()["score.weight"], model.fc.0);
    }
}

#[test]
fn what_does_not_fit_is_named_before_it_is_written() {
    let model = model();
    let state = model.with(config(&["q", "fc"])).unwrap().adapter.state().unwrap();
    let [attn, fc] = two_layers();
    let refused = |layers: &[PeftLayer]| {
        state.to_peft(layers, &PeftOptions::default()).unwrap_err().to_string()
    };
    let error = refused(std::slice::from_ref(&fc));
    assert!(error.contains("h.0.attn.q.lora_A.weight is of no layer"), "{error}");
    let error = refused(&[attn.clone(), PeftLayer { size: [7, 6], ..fc.clone() }]);
    assert!(error.contains("h.0.fc.lora_A.weight has shape [2, 5]"), "{error}");
    let error = refused(&[PeftLayer { size: [13, 5], ..attn }, fc]);
    assert!(error.contains("13 outputs cannot be cut into 3 parts"), "{error}");
}

/// A folder of PEFT with a change to its configuration and its tensors.
fn changed(
    case: &str,
    settings: &Value,
    tensors: impl FnOnce(&mut BTreeMap<String, Tensor>),
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut config = json_file(&format!("{case}/{CONFIG_FILE}"));
    for (key, value) in settings.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(folder.path().join(CONFIG_FILE), config.to_string()).unwrap();
    let file = PeftAdapter::load(&fixtures().join(case)).unwrap();
    let mut all: BTreeMap<String, Tensor> = file
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect();
    tensors(&mut all);
    let all: Vec<_> = all.into_iter().collect();
    Tensor::write_safetensors(&all, folder.path().join(WEIGHTS_FILE)).unwrap();
    let state = PeftAdapter::load(folder.path()).and_then(|file| file.into_state(PREFIX));
    state.map_or_else(|error| error.to_string(), |_| "taken".to_owned())
}

#[test]
fn damaged_folders_are_named() {
    let a = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight";
    let b = "base_model.model.transformer.h.0.attn.c_attn.lora_B.weight";
    let m = "base_model.model.transformer.h.0.attn.c_attn.lora_magnitude_vector";
    assert_eq!(changed("default", &json!({}), |_| ()), "taken");
    assert_eq!(
        changed("default", &json!({}), |all| {
            let half = all[a].to_kind(Kind::BFloat16);
            all.insert(a.to_owned(), half);
        }),
        "taken"
    );
    let bad = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        move |all: &mut BTreeMap<String, Tensor>| {
            for name in &names {
                drop(all.remove(name).unwrap());
            }
        }
    };
    let set = |name: &str, tensor: Tensor| {
        let name = name.to_owned();
        move |all: &mut BTreeMap<String, Tensor>| drop(all.insert(name, tensor))
    };
    let nan = Tensor::from_slice(&[1f32, f32::NAN]);
    let none = json!({});
    for (error, expected) in [
        (changed("default", &none, bad(&[b])), "h.0.attn.c_attn.lora_B.weight is missing"),
        (changed("default", &none, bad(&[a])), "h.0.attn.c_attn.lora_A.weight is missing"),
        (changed("default", &json!({"r": 3}), |_| ()), "lora_A.weight has shape [4, 16]"),
        (
            changed("default", &none, set(b, random(&[48, 3]))),
            "lora_B.weight has shape [48, 3], expected [out, 4]",
        ),
        (changed("default", &none, set(a, random(&[4]))), "lora_A.weight has shape [4]"),
        (changed("default", &none, set(a, nan)), "lora_A.weight holds a number that is infinite"),
        (
            changed("default", &none, set(a, random(&[4, 16]).to_kind(Kind::Double))),
            "lora_A.weight has dtype F64",
        ),
        (changed("default", &none, set("model.x", random(&[1]))), "model.x does not begin with"),
        (
            changed("default", &none, set("base_model.model.wte.lora_embedding_A", random(&[1]))),
            "wte.lora_embedding_A is no part of an adapter on a linear layer",
        ),
        (
            changed(
                "default",
                &none,
                set("base_model.model.transformer.h.0.attn.c_attn.weight", random(&[1])),
            ),
            "c_attn has an adapter and a whole weight",
        ),
        (changed("dora", &none, bad(&[m])), "c_attn.lora_magnitude_vector is missing"),
        (
            changed("dora", &none, set(m, random(&[1, 48]))),
            "lora_magnitude_vector has shape [1, 48], expected [48]",
        ),
        (changed("dora", &json!({"use_dora": false}), |_| ()), "is for DoRA"),
        (changed("default", &json!({"bias": "all"}), |_| ()), "bias is \"all\""),
        (changed("default", &none, BTreeMap::clear), "holds no adapter"),
    ] {
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("adapter_") && !error.contains('\n'), "{error}");
    }
    // PEFT's older versions call it so.
    let renamed = changed("dora", &none, |all| {
        let magnitude = all.remove(m).unwrap();
        all.insert(format!("{m}.weight"), magnitude);
    });
    assert_eq!(renamed, "taken");
}

#[test]
fn the_two_formats_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    assert!(is_peft(folder.path()).is_err());
    let state = model().with(config(&["fc"])).unwrap().adapter.state().unwrap();
    state.save(folder.path()).unwrap();
    assert!(!is_peft(folder.path()).unwrap());
    let error = PeftAdapter::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no peft_type"), "{error}");
    let error = AdapterState::load(&fixtures().join("default")).unwrap_err().to_string();
    assert!(error.contains("written by Hugging Face PEFT"), "{error}");

    fs::copy(fixtures().join("default").join(CONFIG_FILE), folder.path().join(CONFIG_FILE))
        .unwrap();
    fs::remove_file(folder.path().join(WEIGHTS_FILE)).unwrap();
    fs::write(folder.path().join("adapter_model.bin"), "").unwrap();
    let error = PeftAdapter::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_model.bin: a pickle file"), "{error}");
}

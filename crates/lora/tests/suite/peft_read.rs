//! Adapters written by Hugging Face PEFT give the same results as in PEFT.

use lora::{
    Injector, LoraConfig, Scaling, Targets,
    peft::{PeftAdapter, Slicing},
};
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};
use tch::Kind;

use crate::{
    fixtures::{PREFIX, adapted, base, fixtures, json_file, whole_tensors},
    model::{equal, tensor},
};

#[test]
fn outputs_of_every_layer_equal_peft() {
    let golden = json_file("cases.json");
    let layers = base();
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 10);
    for (name, case) in cases {
        let folder = fixtures().join(name);
        let file = PeftAdapter::load(&folder).unwrap();
        assert_eq!(file.base_model(), Some("tiny-base"));
        let head = !["no-head", "pissa"].contains(&name.as_str());
        assert_eq!(file.task_type(), head.then_some("SEQ_CLS"), "{name}");
        let mut state = file.into_state(PREFIX, &Slicing::default()).unwrap();
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
fn settings_are_converted() {
    let config = |case: &str| {
        let file = PeftAdapter::load(&fixtures().join(case)).unwrap();
        file.into_state(PREFIX, &Slicing::default()).unwrap().config().clone()
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
    // The first pattern in the file that matches decides, not the longest.
    assert_eq!(patterns.alpha_pattern[r"h\.0\.attn\.c_attn"], 2.0);
    assert_eq!(patterns.alpha_pattern[r"h\.0\.attn\.c_proj"], 7.0);
    let names = ["h.1.attn.c_attn", "h.1.mlp.c_fc"].map(String::from);
    assert_eq!(config("regex").targets, Targets::Names(names.into()));
    // PEFT converts PiSSA for the original base model to a plain adapter of twice the rank.
    assert_eq!(config("pissa").rank, 4);
}

/// One layer under DoRA, rsLoRA and PiSSA: outputs, gradients, merged weight.
#[test]
fn single_layer_equals_peft() {
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
            equal(&product, &case["principal"], "the principal component");
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

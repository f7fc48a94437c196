//! One LoRA layer against PyTorch. `tests/fixtures/make_linear_golden.py` at the root
//! generated the values, with B ≠ 0, a factor ≠ 1 and x ≠ 0.

use lora::{
    Injector, LoraConfig, Scaling,
    peft::{PeftAdapter, PeftLayer, PeftOptions, Slicing},
};
use rand_xoshiro::rand_core::SeedableRng;
use serde_json::Value;
use tch::Kind;

use crate::model::{equal as close, tensor};

const GOLDEN: &str = include_str!("../../../../tests/fixtures/lora_linear.json");

#[test]
fn outputs_and_gradients_equal_pytorch() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let layer = &golden["layer"];
    let cases = layer["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let scaling: Scaling = serde_json::from_value(case["scaling"].clone()).unwrap();
        let config = LoraConfig { rank: 2, alpha: 6.0, scaling, ..LoraConfig::default() };
        assert!((config.factor() - case["scale"].as_f64().unwrap()).abs() < 1e-12);

        // Through a file, to test that loading does not change the result.
        let folder = tempfile::tempdir().unwrap();
        let zero = &mut rand_xoshiro::Xoshiro256PlusPlus::from_seed([7; 32]);
        let mut injector = Injector::new(config, zero).unwrap();
        let (weight, bias) = (tensor(&layer["weight"]), tensor(&layer["bias"]));
        injector.adapt("fc", &[], &weight, Some(&bias)).unwrap();
        let mut state = injector.finish().unwrap().state().unwrap();
        state.add_tensor("fc.lora_A.weight", &tensor(&layer["A"]).tr()).unwrap();
        state.add_tensor("fc.lora_B.weight", &tensor(&layer["B"]).tr()).unwrap();
        let described = PeftLayer {
            name: "fc".to_owned(),
            module: "fc".to_owned(),
            outputs: Vec::new(),
            size: weight.size2().unwrap().into(),
        };
        let saved = state.to_peft(&[described], &PeftOptions::default()).unwrap();
        saved.save(folder.path()).unwrap();
        let saved = PeftAdapter::load(folder.path()).unwrap();
        let state = saved.into_state("", &Slicing::default()).unwrap();
        let mut injector = Injector::from_state(state).unwrap();
        let linear = injector.adapt("fc", &[], &weight, Some(&bias)).unwrap().unwrap();
        let adapter = injector.finish().unwrap();

        let x = tensor(&layer["x"]).set_requires_grad(true);
        let y = linear.f_forward(&x).unwrap();
        close(&y.detach(), &case["y"], "the output");
        (y * tensor(&layer["C"])).sum(Kind::Float).backward();
        let fc = &adapter.layers()[0];
        close(&fc.a.grad().tr(), &case["grad_A"], "the gradient of A");
        close(&fc.b.grad().tr(), &case["grad_B"], "the gradient of B");
        close(&x.grad(), &case["grad_x"], "the gradient of x");
    }
}

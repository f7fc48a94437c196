//! Adapter files that are damaged: an error that names the file, or an adapter; never
//! a panic.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use e2e_tests::{damaged, fixture};
use lora::{AdapterState, CONFIG_FILE, Injector, WEIGHTS_FILE, peft, peft::PeftAdapter};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

fn read(case: &str, name: &str) -> Vec<u8> {
    fs::read(fixture("peft").join(case).join(name)).unwrap()
}

/// A folder of our own format.
fn ours(name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let adapter = PeftAdapter::load(&fixture("peft/default")).unwrap();
    adapter.into_state("transformer.").unwrap().save(folder.path()).unwrap();
    fs::read(folder.path().join(name)).unwrap()
}

fn try_out(config: &[u8], weights: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(CONFIG_FILE), config).unwrap();
    fs::write(folder.path().join(WEIGHTS_FILE), weights).unwrap();
    let loaded = match peft::is_peft(folder.path()) {
        Ok(true) => {
            PeftAdapter::load(folder.path()).and_then(|adapter| adapter.into_state("transformer."))
        }
        Ok(false) => AdapterState::load(folder.path()),
        Err(error) => Err(error),
    };
    match loaded.and_then(Injector::from_state) {
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n') && text.len() > 10, "{text}");
        }
        Ok(mut injector) => {
            let weight = Tensor::zeros([48, 16], (Kind::Float, Device::Cpu));
            let _ = injector.adapt("h.0.attn.c_attn", &["q", "k", "v"], &weight, None);
            let _ = injector.finish();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_settings_of_peft(config in damaged(&read("patterns", CONFIG_FILE))) {
        try_out(&config, &read("patterns", WEIGHTS_FILE));
    }

    #[test]
    fn damaged_weights_of_peft(weights in damaged(&read("dora", WEIGHTS_FILE))) {
        try_out(&read("dora", CONFIG_FILE), &weights);
    }

    #[test]
    fn damaged_settings_of_ours(config in damaged(&ours(CONFIG_FILE))) {
        try_out(&config, &ours(WEIGHTS_FILE));
    }

    #[test]
    fn damaged_weights_of_ours(weights in damaged(&ours(WEIGHTS_FILE))) {
        try_out(&ours(CONFIG_FILE), &weights);
    }
}

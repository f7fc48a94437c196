//! Published sizes of GPT-2 124M with the book's adapters, on random weights.

use dataset::TorchRng;
use gpt2_model::{Gpt2, Gpt2Classifier, Gpt2Config};
use lora::{Injector, ParameterCount, WEIGHTS_FILE, peft::PeftOptions};
use tch::Device;
use trainer::{AdapterSettings, adapt, trainable::peft_layers};

#[test]
fn parameters_and_adapter_file_have_the_published_size() {
    let config = Gpt2Config::named("gpt2").unwrap();
    let mut rng = TorchRng::manual_seed(123);
    let body = Gpt2::random(&config, 123, Device::Cpu).unwrap();
    let mut model = Gpt2Classifier::new(body, 2, &mut rng).unwrap();
    let count = |model: &Gpt2Classifier| {
        ParameterCount::of(model.named_parameters().into_iter().map(|(_, parameter)| parameter))
    };
    assert_eq!(count(&model).total, 124_441_346);

    let adapter = adapt(
        &mut model,
        Injector::new(AdapterSettings::default().lora().unwrap(), &mut rng).unwrap(),
    )
    .unwrap();
    assert_eq!(count(&model).trainable, 2_666_528);

    let folder = tempfile::tempdir().unwrap();
    let layers = peft_layers(&mut model).unwrap();
    let saved = adapter.state().unwrap().to_peft(&layers, &PeftOptions::default()).unwrap();
    saved.save(folder.path()).unwrap();
    let bytes = folder.path().join(WEIGHTS_FILE).metadata().unwrap().len();
    // The block-diagonal B of query, key and value is two thirds zeros.
    assert!((14_100_000..14_300_000).contains(&bytes), "{bytes} bytes");
}

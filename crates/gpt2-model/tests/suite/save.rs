//! Round trips of saved models.

use std::{fs, path::Path};

use gpt2_model::{
    Activation, DType, Error, FormatProblem, Gpt2, Gpt2Classifier, Gpt2Config, Linear,
};
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

const SMALL: &str =
    r#"{"vocab_size": 11, "n_positions": 6, "n_embd": 4, "n_layer": 2, "n_head": 2}"#;

fn small() -> Gpt2 {
    Gpt2::random(&Gpt2Config::from_json(SMALL).unwrap(), 5, Device::Cpu).unwrap()
}

/// The parameter of a name; what is written to it is written to the model.
fn parameter(model: &Gpt2, name: &str) -> Tensor {
    let mut all = model.named_parameters().into_iter();
    all.find(|(other, _)| other == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn configs() -> impl Strategy<Value = Gpt2Config> {
    let sizes = (1i64..20, 1i64..9, 1i64..4, 1i64..4, 1i64..4, prop::option::of(1i64..9));
    let kinds = [
        Activation::GeluNew,
        Activation::Gelu,
        Activation::QuickGelu,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ];
    let rest = (prop::sample::select(kinds.to_vec()), 1e-8f64..1e-2, any::<bool>(), any::<bool>());
    (sizes, rest).prop_map(|(sizes, (activation, epsilon, scaled, by_layer))| {
        let (vocab_size, n_positions, n_head, width, n_layer, n_inner) = sizes;
        Gpt2Config {
            vocab_size,
            n_positions,
            n_embd: n_head * width,
            n_layer,
            n_head,
            n_inner,
            activation_function: activation,
            layer_norm_epsilon: epsilon,
            scale_attn_weights: scaled,
            scale_attn_by_inverse_layer_idx: by_layer,
            // Some of them have a head of their own.
            tie_word_embeddings: n_layer != 2,
            bos_token_id: Some(vocab_size - 1),
            eos_token_id: 0.into(),
            ..Gpt2Config::named("gpt2").unwrap()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn models_round_trip_through_files(config in configs(), seed in 0i64..1000, size in -9i32..4) {
        let model = Gpt2::random(&config, seed as u64, Device::Cpu).unwrap();
        // Biases are drawn zero and norms one; trained ones are neither.
        tch::manual_seed(seed);
        for (_, mut value) in model.named_parameters() {
            let _ = value.normal_(0.0, 10f64.powi(size));
        }
        for dtype in DType::ALL {
            let folder = tempfile::tempdir().unwrap();
            model.save(folder.path(), dtype).unwrap();
            let again = Gpt2::load(folder.path(), Device::Cpu).unwrap();
            prop_assert_eq!(again.config(), &config);
            for ((name, was), (other, is)) in
                model.named_parameters().iter().zip(again.named_parameters())
            {
                prop_assert_eq!(name, &other);
                prop_assert_eq!(was.size(), is.size());
                let difference = (was - &is).abs();
                let allowed = match dtype {
                    DType::Float32 => was.zeros_like(),
                    // Half a unit in the last place, of normal and subnormal numbers.
                    DType::Float16 => was.abs() * 2f64.powi(-11) + 2f64.powi(-25),
                    DType::Bfloat16 => was.abs() * 2f64.powi(-8),
                };
                let fits = difference.less_equal_tensor(&allowed).all().int64_value(&[]) == 1;
                prop_assert!(fits, "{name} as {dtype}: {was:?} and {is:?}");
            }
        }
    }
}

#[test]
fn saving_is_deterministic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    small().save(folder.path(), DType::Float32).unwrap();
    let first = fs::read(&file).unwrap();
    small().save(folder.path(), DType::Float32).unwrap();
    assert!(first == fs::read(&file).unwrap());
}

/// Names, shapes and types as in the hub's files of GPT-2.
#[test]
fn the_files_have_the_hub_layout() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("below/another");
    let model = small();
    for (dtype, stored) in
        [(DType::Float16, Dtype::F16), (DType::Bfloat16, Dtype::BF16), (DType::Float32, Dtype::F32)]
    {
        model.save(&folder, dtype).unwrap();
        let bytes = fs::read(folder.join("model.safetensors")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), 2 + 2 * 12 + 2);
        assert!(file.iter().all(|(_, view)| view.dtype() == stored));
        for (name, shape) in [
            ("wte.weight", &[11, 4][..]),
            ("wpe.weight", &[6, 4]),
            ("h.0.ln_1.weight", &[4]),
            ("h.1.attn.c_attn.weight", &[4, 12]),
            ("h.1.attn.c_attn.bias", &[12]),
            ("h.0.mlp.c_fc.weight", &[4, 16]),
            ("h.0.mlp.c_proj.weight", &[16, 4]),
            ("ln_f.bias", &[4]),
        ] {
            assert_eq!(file.tensor(name).unwrap().shape(), shape, "{name}");
        }
    }
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    // In at the rows: the first number of the second row is the second input's.
    let stored = file.tensor("h.0.attn.c_attn.weight").unwrap().data()[12 * 4..][..4].to_vec();
    let ours = parameter(&model, "h.0.attn.c_attn.weight").double_value(&[0, 1]) as f32;
    assert_eq!(stored, ours.to_le_bytes());

    let config = read(&folder.join("config.json"));
    for (name, value) in [
        ("model_type", json!("gpt2")),
        ("architectures", json!(["GPT2LMHeadModel"])),
        ("activation_function", json!("gelu_new")),
        ("vocab_size", json!(11)),
        ("n_positions", json!(6)),
        ("n_embd", json!(4)),
        ("n_layer", json!(2)),
        ("n_head", json!(2)),
        ("layer_norm_epsilon", json!(1e-5)),
        ("tie_word_embeddings", json!(true)),
        // The vocabulary is too small for the tokenizer's end of text.
        ("bos_token_id", Value::Null),
        ("eos_token_id", Value::Null),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
}

/// Special tokens are what the configuration says, if the vocabulary has them, else GPT-2's.
#[test]
fn special_tokens_match_the_vocabulary() {
    let shape = r#""n_positions": 6, "n_embd": 4, "n_layer": 1, "n_head": 2"#;
    let one = |id: i64| json!(id);
    for (vocabulary, given, bos, eos, pad) in [
        (50_257, "", 50_256, one(50_256), 50_256),
        (50_258, "", 50_256, one(50_256), 50_256),
        (50_304, "", 50_256, one(50_256), 50_256),
        (50_304, r#", "eos_token_id": 50256, "bos_token_id": null"#, 50_256, one(50_256), 50_256),
        (50_304, r#", "eos_token_id": 7"#, 7, one(7), 50_256),
        (
            50_304,
            r#", "bos_token_id": 3, "eos_token_id": [7, 8], "pad_token_id": 9"#,
            3,
            json!([7, 8]),
            9,
        ),
        // Tokens that the vocabulary does not have.
        (50_304, r#", "pad_token_id": 50304"#, 50_256, one(50_256), 50_256),
        (
            50_304,
            r#", "bos_token_id": 50304, "eos_token_id": [60000, -1, 7], "pad_token_id": -1"#,
            7,
            one(7),
            50_256,
        ),
    ] {
        let config =
            Gpt2Config::from_json(&format!(r#"{{"vocab_size": {vocabulary}, {shape}{given}}}"#));
        let body = Gpt2::random(&config.unwrap(), 5, Device::Cpu).unwrap();
        let head = Linear::new(Tensor::ones([2, 4], (Kind::Float, Device::Cpu)), None);
        let model = Gpt2Classifier::with_head(body, Box::new(head));
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path(), DType::Float16, &["a".to_owned(), "b".to_owned()]).unwrap();
        let config = read(&folder.path().join("config.json"));
        let expected =
            [("bos_token_id", one(bos)), ("eos_token_id", eos), ("pad_token_id", one(pad))];
        for (name, token) in expected {
            assert_eq!(config[name], token, "{vocabulary} {given} {name}");
        }
    }
}

#[test]
fn values_outside_the_range_of_the_format_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let model = small();
    model.save(folder.path(), DType::Float16).unwrap();
    let before = fs::read(&file).unwrap();
    let refused = |dtype: DType| {
        let error = model.save(folder.path(), dtype).unwrap_err();
        let Error::Format { path, problem } = error else { panic!("{error}") };
        let tensor = "h.1.mlp.c_fc.bias".to_owned();
        assert_eq!((path, problem), (file.clone(), FormatProblem::OutOfRange { tensor, dtype }));
    };
    let mut number = parameter(&model, "h.1.mlp.c_fc.bias").get(3);
    let _ = number.fill_(65504.0);
    model.save(folder.path(), DType::Float16).unwrap();
    let _ = number.fill_(70000.0);
    let largest = fs::read(&file).unwrap();
    assert!(largest != before);
    refused(DType::Float16);
    assert!(fs::read(&file).unwrap() == largest, "the model that was there is lost");
    model.save(folder.path(), DType::Float32).unwrap();
    let _ = number.fill_(f64::NAN);
    refused(DType::Float32);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "mine").unwrap();
    let file = folder.path().join("file");
    for path in [file.clone(), file.join("below")] {
        let error = small().save(&path, DType::Float32).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write {}", file.display())), "{error}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "mine");
}

//! Damaged adapters of runs and of PEFT, and adapters of another base model.

use std::fs;

use test_support::{World, fixture, run};

use super::{Case, assert_refused, begin_of, case, changed, replaced, safetensors};

const CONFIG: &str = "adapter/adapter_config.json";
const METADATA: &str = "adapter/gpt2_lora.json";
const WEIGHTS: &str = "adapter/adapter_model.safetensors";
const FIRST: &str = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight";

const COMMANDS: [&str; 3] = [
    "predict --model model --adapter adapter --input data.csv --output answers.csv",
    "evaluate --model model --adapter adapter --data data.csv --out report",
    "merge --model model --adapter adapter --out merged",
];

fn weights(change: impl Fn(&mut Vec<u8>) + 'static) -> impl Fn(&World) {
    changed(WEIGHTS, change)
}

fn config(from: &'static str, to: &'static str) -> impl Fn(&World) {
    replaced(CONFIG, from, to)
}

fn metadata(from: &'static str, to: &'static str) -> impl Fn(&World) {
    replaced(METADATA, from, to)
}

fn damaged() -> Vec<Case> {
    damaged_weights().into_iter().chain(damaged_configs()).chain(damaged_metadata()).collect()
}

fn damaged_weights() -> Vec<Case> {
    let whole = "not a whole safetensors file";
    vec![
        case("weights: empty", weights(Vec::clear), &[WEIGHTS, whole, "copy it again"]),
        case("weights: cut", weights(|bytes| bytes.truncate(bytes.len() / 2)), &[WEIGHTS, whole]),
        case("weights: a bit of the header", weights(|bytes| bytes[9] ^= 0x40), &[WEIGHTS]),
        case(
            "weights: missing",
            |world| fs::remove_file(world.path(WEIGHTS)).unwrap(),
            &["cannot read", WEIGHTS],
        ),
        case(
            "weights: NaN",
            weights(|bytes| {
                let place = begin_of(bytes, FIRST);
                bytes[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            }),
            &[WEIGHTS, FIRST, "NaN or infinite"],
        ),
        case(
            "weights: none",
            |world| world.write(WEIGHTS, safetensors("{}", &[])),
            &[WEIGHTS, "holds no adapter"],
        ),
        case(
            "weights: a git-lfs pointer",
            |world| world.write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
            &[WEIGHTS, "git-lfs pointer"],
        ),
    ]
}

fn damaged_configs() -> Vec<Case> {
    vec![
        case("config: empty", |world| world.write(CONFIG, ""), &[CONFIG]),
        case(
            "config: cut",
            |world| {
                let bytes = world.read(CONFIG);
                world.write(CONFIG, &bytes[..bytes.len() / 2]);
            },
            &[CONFIG, "line"],
        ),
        case("config: not UTF-8", |world| world.write(CONFIG, [0xff, 0xff]), &[CONFIG]),
        case("config: nested", |world| world.write(CONFIG, "[".repeat(100_000)), &[CONFIG]),
        case("config: rank 0", config("\"r\": 2", "\"r\": 0"), &[CONFIG, "r: ", "got 0"]),
        case(
            "config: a huge rank",
            config("\"r\": 2", "\"r\": 9000000000000000000"),
            &[WEIGHTS, "has shape [2, 192], expected [9000000000000000000, in]"],
        ),
        case(
            "config: another rank than the tensors",
            config("\"r\": 2", "\"r\": 3"),
            &[WEIGHTS, "c_proj.lora_A.weight has shape [2, 192], expected [3, in]"],
        ),
        case(
            "config: infinite alpha",
            config("\"lora_alpha\": ", "\"lora_alpha\": 1e999, \"x\": "),
            &[CONFIG, "number out of range"],
        ),
        case("config: another format", config("\"peft_type\"", "\"type\""), &[CONFIG, "peft_type"]),
        case(
            "config: another method",
            config("\"use_dora\": false", "\"use_qalora\": true"),
            &[CONFIG, "use_qalora = true"],
        ),
        case(
            "config: another task",
            |world| {
                world.change(CONFIG, "SEQ_CLS", "TOKEN_CLS");
                fs::remove_file(world.path(METADATA)).unwrap();
            },
            &[CONFIG, "TOKEN_CLS"],
        ),
    ]
}

fn damaged_metadata() -> Vec<Case> {
    vec![
        case("metadata: empty", |world| world.write(METADATA, ""), &[METADATA]),
        case("metadata: rank 0", metadata("\"rank\": 2", "\"rank\": 0"), &[METADATA, "rank"]),
        case(
            "metadata: a huge rank",
            metadata("\"rank\": 2", "\"rank\": 9000000000000000000"),
            &[METADATA, "rank", "1 to 65536", "got 9000000000000000000"],
        ),
        case(
            "metadata: the same label twice",
            metadata("\"ham\"", "\"spam\""),
            &[METADATA, "expected distinct ones, got \"spam\", \"spam\""],
        ),
        case(
            "metadata: more labels",
            metadata("\"ham\"", "\"ham\", \"jam\""),
            &[WEIGHTS, "score.weight has shape [2, 192]", "[3, 192]"],
        ),
        case(
            "metadata: zero tokens",
            metadata("\"max_length\": 16", "\"max_length\": 0"),
            &[METADATA, "max_length: expected 1 to 256", "got 0"],
        ),
        case(
            "metadata: huge texts",
            metadata("\"max_length\": 16", "\"max_length\": 9000000000000000000"),
            &[METADATA, "max_length: expected 1 to 256", "got 9000000000000000000"],
        ),
        case(
            "metadata: texts beyond the context",
            metadata("\"max_length\": 16", "\"max_length\": 257"),
            &[METADATA, "max_length: expected 1 to 256, the context of the model model, got 257"],
        ),
        case(
            "metadata: another digest",
            metadata("\"base_digest\": \"", "\"base_digest\": \"xyz"),
            &[METADATA, "the digest xyz", "got model with the digest", "--model"],
        ),
        case(
            "metadata: an unknown way to pool",
            metadata("\"last-token\"", "\"first\""),
            &[METADATA, "first"],
        ),
    ]
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn damaged_adapters_are_named() {
    let cases = damaged();
    assert_refused(&cases, &COMMANDS[..1], 28);
    // The other commands use the same reader.
    let others = ["weights: cut", "metadata: huge texts"];
    let some = cases.into_iter().filter(|case| others.contains(&case.name)).collect::<Vec<_>>();
    assert_refused(&some, &COMMANDS[1..], 2);
    let inspected = damaged().into_iter().filter(|case| {
        ["weights: cut", "weights: NaN", "config: empty", "config: rank 0"].contains(&case.name)
    });
    assert_refused(&inspected.collect::<Vec<_>>(), &["inspect adapter"], 4);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn adapter_of_another_base_is_refused() {
    let world = World::new();
    for command in COMMANDS {
        let command = command.replace("--model model", "--model tiny");
        world.refuses(&command, &[WEIGHTS, "score.weight has shape [2, 192]", "tiny", "--model"]);
    }
    // A head that fits, on a body of fewer layers.
    let world = World::new();
    world.write("model/model.safetensors", with_layers(&world, 3));
    world.change("model/config.json", "\"n_layer\": 5", "\"n_layer\": 3");
    world.refuses(COMMANDS[0], &["a base model with the digest", "got model with the digest"]);
    without_digest(&world);
    for command in COMMANDS {
        let says = [
            WEIGHTS,
            "h.3.attn.c_attn.k.lora_A.weight does not belong to any layer",
            "more tensors",
            "give the model",
        ];
        world.refuses(command, &says);
    }
    // Without --model the base is expected at its path in training.
    let world = World::new();
    world.change(METADATA, "\"base_model\": \"", "\"base_model\": \"no-such-model-");
    world.refuses("predict --adapter adapter hello", &["adapter", "no-such-model", "give --model"]);
    world.refuses("predict --adapter begun hello", &["begun", "adapter_config.json", "--adapter"]);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn adapter_of_other_weights_is_refused() {
    let world = World::new();
    world.write("model/model.safetensors", of_other_signs(&world));
    let says = ["adapter: ", "a base model with the digest", "got model with the digest"];
    let remedies = ["--model", "remove base_digest from", METADATA];
    for command in COMMANDS {
        world.refuses(command, &[says, remedies].concat());
    }
    // Without a digest the weights are not compared.
    without_digest(&world);
    let [model, adapter] = ["model", "adapter"].map(|name| world.path(name).display().to_string());
    run("gpt2-lora", ["predict", "--model", &model, "--adapter", &adapter, "hello"]).succeeded();
}

/// Removes the digest of the base model from the adapter.
fn without_digest(world: &World) {
    let mut config: serde_json::Value = serde_json::from_slice(&world.read(METADATA)).unwrap();
    config.as_object_mut().unwrap().remove("base_digest").unwrap();
    world.write(METADATA, config.to_string());
}

/// Weights of the pocket model with opposite signs.
fn of_other_signs(world: &World) -> Vec<u8> {
    let mut bytes = world.read("model/model.safetensors");
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
    let width = match header["wte.weight"]["dtype"].as_str().unwrap() {
        "F32" => 4,
        _ => 2,
    };
    for number in bytes[8 + size..].chunks_mut(width) {
        number[width - 1] ^= 0x80;
    }
    bytes
}

/// The weights of the pocket model without its upper layers.
fn with_layers(world: &World, layers: usize) -> Vec<u8> {
    let bytes = world.read("model/model.safetensors");
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
    let (mut kept, mut numbers) = (serde_json::Map::new(), Vec::new());
    for (name, entry) in header.as_object().unwrap() {
        let layer = name.strip_prefix("h.").and_then(|rest| rest.split('.').next());
        let above = layer.is_some_and(|layer| layer.parse::<usize>().unwrap() >= layers);
        if above || name == "__metadata__" {
            continue;
        }
        let at = |end: usize| entry["data_offsets"][end].as_u64().unwrap() as usize;
        let begin = numbers.len();
        numbers.extend(&bytes[8 + size + at(0)..8 + size + at(1)]);
        let mut entry = entry.clone();
        entry["data_offsets"] = vec![begin, numbers.len()].into();
        kept.insert(name.clone(), entry);
    }
    safetensors(&serde_json::Value::Object(kept).to_string(), &numbers)
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn damaged_peft_adapters_are_named() {
    let base = |world: &World| {
        for name in ["config.json", "model.safetensors"] {
            world.write(
                &format!("model/{name}"),
                fs::read(fixture("peft/base").join(name)).unwrap(),
            );
        }
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            let from = fixture("peft/default").join(name);
            world.write(&format!("adapter/{name}"), fs::read(from).unwrap());
        }
        let _ = fs::remove_file(world.path("adapter/gpt2_lora.json"));
    };
    let with = move |change: fn(&World)| {
        move |world: &World| {
            base(world);
            change(world);
        }
    };
    let set = |name: &'static str, value: serde_json::Value| {
        move |world: &World| {
            base(world);
            let mut config: serde_json::Value =
                serde_json::from_slice(&world.read(CONFIG)).unwrap();
            config[name] = value.clone();
            world.write(CONFIG, config.to_string());
        }
    };
    let cases = [
        case(
            "weights: cut",
            with(|world| {
                let bytes = world.read(WEIGHTS);
                world.write(WEIGHTS, &bytes[..bytes.len() / 2]);
            }),
            &[WEIGHTS, "not a whole safetensors file"],
        ),
        case("rank 0", set("r", 0.into()), &[CONFIG]),
        case("another rank", set("r", 7.into()), &["adapter", "lora_A"]),
        case("a rank that is text", set("r", "many".into()), &[CONFIG]),
        case("another method", set("peft_type", "IA3".into()), &[CONFIG, "IA3"]),
        case(
            "metadata: not JSON",
            with(|world| world.write("adapter/gpt2_lora.json", "{")),
            &["adapter/gpt2_lora.json"],
        ),
        case(
            "a pickle",
            with(|world| {
                fs::remove_file(world.path(WEIGHTS)).unwrap();
                world.write("adapter/adapter_model.bin", "PK");
            }),
            &["adapter/adapter_model.bin", "PyTorch 1.6", "safetensors"],
        ),
    ];
    assert_refused(&cases, &COMMANDS[..1], 7);
}

//! `model.safetensors`, `config.json` and `fine_tuning.json` of a base model.

use std::{fs, fs::File};

use test_support::{World, pocket};

use super::{Case, ON_A_MODEL, assert_refused, begin_of, case, changed, replaced, safetensors};

const WEIGHTS: &str = "model/model.safetensors";
const CONFIG: &str = "model/config.json";

fn weights(change: impl Fn(&mut Vec<u8>) + 'static) -> impl Fn(&World) {
    changed(WEIGHTS, change)
}

fn config(from: &'static str, to: &'static str) -> impl Fn(&World) {
    replaced(CONFIG, from, to)
}

/// Sizes that are valid alone but too large together.
fn huge(world: &World) {
    world.change(CONFIG, "\"n_embd\": 192", "\"n_embd\": 120000");
    world.change(CONFIG, "\"n_layer\": 5", "\"n_layer\": 4000");
}

/// A sparse file of 64 GiB.
fn oversized(world: &World) {
    world.write(WEIGHTS, "");
    File::options().write(true).open(world.path(WEIGHTS)).unwrap().set_len(1 << 36).unwrap();
}

fn damaged_weights() -> Vec<Case> {
    let whole = "not a whole safetensors file";
    vec![
        case("empty", weights(Vec::clear), &[WEIGHTS, whole, "fetch it again"]),
        case("cut in its header", weights(|bytes| bytes.truncate(100)), &[WEIGHTS, whole]),
        case(
            "cut in its numbers",
            weights(|bytes| bytes.truncate(bytes.len() / 2)),
            &[WEIGHTS, whole, "fetch it again"],
        ),
        case("more at its end", weights(|bytes| bytes.extend([0; 4])), &[WEIGHTS, whole]),
        case("a bit of its length", weights(|bytes| bytes[0] ^= 1), &[WEIGHTS, whole]),
        case("a header of all memory", weights(|bytes| bytes[..8].fill(0xff)), &[WEIGHTS, whole]),
        case("a bit of its header", weights(|bytes| bytes[8] ^= 4), &[WEIGHTS, whole]),
        case("64 GiB of nothing", oversized, &[WEIGHTS, whole]),
        case(
            "offsets beyond its end",
            |world| {
                let header =
                    r#"{"wte.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4000000000]}}"#;
                world.write(WEIGHTS, safetensors(header, &[0; 4]));
            },
            &[WEIGHTS, whole],
        ),
        case(
            "a NaN",
            weights(|bytes| {
                let place = begin_of(bytes, "h.3.mlp.c_fc.weight") + 40;
                bytes[place..place + 2].copy_from_slice(&[0xff, 0x7f]);
            }),
            &[WEIGHTS, "h.3.mlp.c_fc.weight", "NaN or infinite", "fetch the file again"],
        ),
        case(
            "none of its tensors",
            |world| world.write(WEIGHTS, safetensors("{}", &[])),
            &[WEIGHTS, "wte.weight is missing", "and 61 more tensors", "both files of one model"],
        ),
        case(
            "whole numbers",
            |world| {
                let bytes = world.read(WEIGHTS);
                let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                let header = String::from_utf8(bytes[8..8 + size].to_vec()).unwrap();
                let header = header.replace("\"F16\"", "\"I16\"").replace("\"F32\"", "\"I32\"");
                world.write(WEIGHTS, safetensors(&header, &bytes[8 + size..]));
            },
            &[WEIGHTS, "has dtype", "expected F32, F16 or BF16"],
        ),
        case(
            "a folder",
            |world| {
                fs::remove_file(world.path(WEIGHTS)).unwrap();
                fs::create_dir(world.path(WEIGHTS)).unwrap();
            },
            &["model.safetensors is missing", "--model"],
        ),
    ]
}

fn damaged_configs() -> Vec<Case> {
    let no = "not a GPT-2 configuration";
    vec![
        case("empty", |world| world.write(CONFIG, ""), &[CONFIG, no, "line 1 column 0"]),
        case("no JSON", |world| world.write(CONFIG, "\u{0}PK"), &[CONFIG, no, "line 1 column 1"]),
        case("no text", |world| world.write(CONFIG, [0xff, 0xfe]), &[CONFIG, "UTF-8"]),
        case("cut", config("\"n_head\": 3,", ""), &[CONFIG, no, "missing field `n_head`"]),
        case(
            "zero heads",
            config("\"n_head\": 3", "\"n_head\": 0"),
            &[CONFIG, "n_head: ", "got 0"],
        ),
        case(
            "a width that heads do not divide",
            config("\"n_head\": 3", "\"n_head\": 5"),
            &[CONFIG, "n_embd: expected a multiple of n_head 5, got 192"],
        ),
        case(
            "a huge width",
            config("\"n_embd\": 192", "\"n_embd\": 9000000000000000"),
            &[CONFIG, "n_embd: expected a whole number from 1 to", "got 9000000000000000"],
        ),
        case(
            "a width that no number holds",
            config("\"n_embd\": 192", "\"n_embd\": 1e300"),
            &[CONFIG, no, "line 10 column"],
        ),
        case("huge in all", huge, &[CONFIG, "expected a model of", "parameters or fewer"]),
        case(
            "no layers",
            config("\"n_layer\": 5", "\"n_layer\": -1"),
            &[CONFIG, "n_layer: ", "got -1"],
        ),
        case(
            "a NaN epsilon",
            config("\"layer_norm_epsilon\": 0.00001", "\"layer_norm_epsilon\": NaN"),
            &[CONFIG, no, "line 8 column"],
        ),
        case(
            "nothing to divide by",
            config("\"layer_norm_epsilon\": 0.00001", "\"layer_norm_epsilon\": -1.0"),
            &[CONFIG, "layer_norm_epsilon: ", "got -1"],
        ),
        case(
            "another kind",
            config("\"model_type\": \"gpt2\"", "\"model_type\": \"bert\""),
            &[CONFIG, "model_type: ", "got \"bert\""],
        ),
        case(
            "17 MB",
            |world| world.write(CONFIG, " ".repeat(17 << 20)),
            &[CONFIG, "longer than 16 MiB", "fetch it again"],
        ),
        case("nested without end", |world| world.write(CONFIG, "[".repeat(100_000)), &[CONFIG, no]),
        case(
            "more layers than the weights have",
            config("\"n_layer\": 5", "\"n_layer\": 4000"),
            &[WEIGHTS, "h.5.ln_1.weight is missing", "more tensors", "both files of one model"],
        ),
        case(
            "fewer layers",
            config("\"n_layer\": 5", "\"n_layer\": 4"),
            &[WEIGHTS, "h.4.", "is not a tensor of this model", "more tensors"],
        ),
        case(
            "another context",
            config("\"n_positions\": 256", "\"n_positions\": 255"),
            &[WEIGHTS, "wpe.weight has shape [256, 192], expected [255, 192]"],
        ),
    ]
}

const SOME: [&str; 2] = [ON_A_MODEL[0], ON_A_MODEL[1]];

#[test]
#[ignore = "run by cargo xtask soak"]
fn damaged_weights_are_named() {
    let cases = damaged_weights();
    assert_refused(&cases, &SOME, 13);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn invalid_configurations_are_named() {
    let cases = damaged_configs();
    assert_refused(&cases, &SOME, 18);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn every_command_names_the_damaged_file() {
    let weights = damaged_weights().into_iter().filter(|case| case.name == "cut in its numbers");
    let config = damaged_configs().into_iter().filter(|case| case.name == "zero heads");
    assert_refused(&weights.chain(config).collect::<Vec<_>>(), &ON_A_MODEL, 2);
}

/// Random weights need no file, but their size must still be checked.
#[test]
#[ignore = "run by cargo xtask soak"]
fn random_initialization_refuses_damaged_configurations() {
    let cases = damaged_configs().into_iter().take(14).collect::<Vec<_>>();
    let commands = [
        "inspect model --random-init",
        "train --model model --random-init \
         --data data.csv --out begun",
    ];
    assert_refused(&cases, &commands, 14);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn settings_of_a_model_are_checked() {
    const FILE: &str = "model/fine_tuning.json";
    let suggested = |text: &'static str| move |world: &World| world.write(FILE, text);
    let cases = [
        case("no JSON", suggested("{"), &[FILE, "remove it"]),
        case("an unknown name", suggested("{\"lrr\": 1}"), &[FILE, "lrr"]),
        case("rank zero", suggested("{\"rank\": 0}"), &["rank", "got 0"]),
        case("a batch of none", suggested("{\"batch_size\": 0}"), &["batch-size", "0"]),
    ];
    assert_refused(&cases, &ON_A_MODEL[..1], 4);
}

/// Model with a smaller vocabulary than the tokenizer, and matching weights.
#[test]
#[ignore = "run by cargo xtask soak"]
fn token_ids_out_of_range_are_refused() {
    let smaller = |world: &World| {
        let bytes = fs::read(pocket().join("model.safetensors")).unwrap();
        let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
        let mut numbers = Vec::new();
        for (name, entry) in header.as_object_mut().unwrap() {
            if name == "__metadata__" {
                continue;
            }
            let at = |end: usize| entry["data_offsets"][end].as_u64().unwrap() as usize;
            let mut piece = &bytes[8 + size + at(0)..8 + size + at(1)];
            if name == "wte.weight" {
                piece = &piece[..piece.len() / 50257 * 1000];
                entry["shape"][0] = 1000.into();
            }
            entry["data_offsets"] = vec![numbers.len(), numbers.len() + piece.len()].into();
            numbers.extend(piece);
        }
        world.write(WEIGHTS, safetensors(&header.to_string(), &numbers));
        world.change(CONFIG, "\"vocab_size\": 50257", "\"vocab_size\": 1000");
    };
    let knows = [CONFIG, "vocab_size", "at least 50257", "got 1000", "--model"];
    let cases = [case("a small vocabulary", smaller, &knows)];
    assert_refused(&cases, &ON_A_MODEL[..4], 1);
    let world = World::new();
    smaller(&world);
    world.refuses("generate --model model --prompt house", &knows);
    world.refuses(
        "pretrain --model model --random-init=false --data text.txt --steps 1 --out small",
        &["vocab_size", "50257", "got 1000"],
    );
}

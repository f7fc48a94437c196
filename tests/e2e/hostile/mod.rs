//! Damaged and hostile files, given to the programs as a person would: one sentence that
//! names the file and the place, an exit code that is not zero, and nothing written over
//! ([`test_support::World::refuses_to`]).

mod adapters;
mod long_texts;
mod models;
mod out_of_memory;
mod tables;
mod texts;
mod unusable_values;

use test_support::{Refusal, World};

/// Every command that takes a base model, as `gpt2-lora` has it.
const ON_A_MODEL: [&str; 7] = [
    "train --model model --data data.csv --out begun --epochs 1",
    "predict --model model --adapter adapter --input data.csv --output answers.csv",
    "evaluate --model model --adapter adapter --data data.csv --out report",
    "merge --model model --adapter adapter --out merged",
    "generate --model model --prompt home --max-new-tokens 1",
    "inspect model",
    "pretrain --model model --random-init=false --data text.txt --steps 1 --max-length 8 --out small",
];

/// What becomes of a file, and what is said of it.
struct Case {
    what: &'static str,
    change: Box<dyn Fn(&World)>,
    says: Vec<&'static str>,
}

fn case(what: &'static str, change: impl Fn(&World) + 'static, says: &[&'static str]) -> Case {
    Case { what, change: Box::new(change), says: says.to_vec() }
}

/// The bytes of a file, changed.
fn changed(file: &'static str, change: impl Fn(&mut Vec<u8>) + 'static) -> impl Fn(&World) {
    move |world| {
        let mut bytes = world.read(file);
        change(&mut bytes);
        world.write(file, bytes);
    }
}

/// A text in a file, replaced.
fn replaced(file: &'static str, from: &'static str, to: &'static str) -> impl Fn(&World) {
    move |world| world.change(file, from, to)
}

/// Tries `commands` on each case; `count` is how many commands that makes.
#[track_caller]
fn try_all(cases: &[Case], commands: &[&str], count: usize) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for Case { what, change, says } in cases {
        let world = World::new();
        change(&world);
        for command in commands {
            let refusal = world.refuses(command, says);
            println!("{what}: {}", refusal.error);
            refusals.push(refusal);
        }
    }
    assert_eq!(refusals.len(), count);
    refusals
}

/// A safetensors file of a header and what follows it.
fn safetensors(header: &str, bytes: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(bytes);
    file
}

/// Where the numbers of a tensor begin in a safetensors file.
fn begin_of(file: &[u8], tensor: &str) -> usize {
    let size = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + size]).unwrap();
    8 + size + header[tensor]["data_offsets"][0].as_u64().unwrap() as usize
}

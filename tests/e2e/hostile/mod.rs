//! Damaged and hostile files given to the programs: one error that names file and position, a
//! non-zero exit code, and no file changed ([`test_support::World::refuses_to`]).

mod adapters;
mod language_models;
mod long_texts;
mod models;
mod out_of_memory;
mod tables;
mod texts;
mod unusable_values;

use test_support::{World, counted};

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

/// Damage to a file, and words of the expected error.
struct Case {
    name: &'static str,
    change: Box<dyn Fn(&World)>,
    says: Vec<&'static str>,
}

fn case(name: &'static str, change: impl Fn(&World) + 'static, says: &[&'static str]) -> Case {
    Case { name, change: Box::new(change), says: says.to_vec() }
}

/// Changes the bytes of a file.
fn changed(file: &'static str, change: impl Fn(&mut Vec<u8>) + 'static) -> impl Fn(&World) {
    move |world| {
        let mut bytes = world.read(file);
        change(&mut bytes);
        world.write(file, bytes);
    }
}

/// Replaces a text in a file.
fn replaced(file: &'static str, from: &'static str, to: &'static str) -> impl Fn(&World) {
    move |world| world.change(file, from, to)
}

/// Asserts that every command refuses each of `count` cases.
#[track_caller]
fn assert_refused(cases: &[Case], commands: &[&str], count: usize) {
    assert_eq!(cases.len(), count);
    for command in commands {
        for Case { name, change, says } in cases {
            let world = World::new();
            change(&world);
            println!("{name}: {}", world.refuses(command, says).error);
        }
    }
    counted(count * commands.len(), "commands that refused a hostile file");
}

/// Safetensors file with this header and data.
fn safetensors(header: &str, bytes: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(bytes);
    file
}

/// Offset of the values of a tensor in a safetensors file.
fn begin_of(file: &[u8], tensor: &str) -> usize {
    let size = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + size]).unwrap();
    8 + size + header[tensor]["data_offsets"][0].as_u64().unwrap() as usize
}

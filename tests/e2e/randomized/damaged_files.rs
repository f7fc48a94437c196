//! Randomly damaged files given to the programs.

use test_support::{Random, World, counted, damaged, seed};

/// Damaged files of one seed.
const FILES: usize = 16;

/// Files of a [`World`], and a command that reads them.
const CASES: [(&str, &str); 9] = [
    ("model/config.json", "inspect model"),
    ("model/model.safetensors", "predict --model model --adapter adapter hello"),
    ("adapter/adapter_config.json", "predict --model model --adapter adapter hello"),
    ("adapter/adapter_model.safetensors", "merge --model model --adapter adapter --out merged"),
    ("adapter/gpt2_lora.json", "evaluate --model model --adapter adapter --data data.csv"),
    ("data.csv", "predict --model model --adapter adapter --input data.csv --output new.csv"),
    ("data.csv", "train --model tiny --data data.csv --out new --epochs 1 --rank 2"),
    ("tiny/config.json", "train --model tiny --data data.csv --out new --epochs 1 --rank 2"),
    ("text.txt", "pretrain --model tiny --data text.txt --steps 1 --max-length 8 --out new"),
];

#[test]
#[ignore = "run by cargo xtask soak"]
fn damaged_files_give_results_or_one_error() {
    let mut random = Random::new(seed());
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..FILES {
        let (file, command) = CASES[number % CASES.len()];
        let world = World::new();
        world.write(file, damaged(&world.read(file), random.below(usize::MAX) as u64));
        println!("{file}: {command}");
        if world.succeeds_or_refuses(command) { accepted += 1 } else { refused += 1 }
    }
    println!("{accepted} commands used a damaged file");
    counted(refused, "commands that refused a damaged file");
}

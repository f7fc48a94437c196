//! Values and names that cannot be used.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, process::Command};

use test_support::{World, binary, run};

const CONFIG: &str = "adapter/adapter_config.json";

/// The adapter is finite, but too large to compute with.
#[test]
#[ignore = "run by cargo xtask soak"]
fn infinite_logits_are_refused() {
    let world = World::new();
    let mut config: serde_json::Value = serde_json::from_slice(&world.read(CONFIG)).unwrap();
    config["lora_alpha"] = 1e37.into();
    world.write(CONFIG, config.to_string());
    let says = ["the logits are NaN or infinite", "the adapter in adapter", "alpha"];
    let begin = "--model model --adapter adapter";
    for (command, place) in [
        (format!("predict {begin} hello"), "text 1: "),
        (format!("predict {begin} --input data.csv --output answers.csv"), "data.csv, line 2: "),
        (format!("evaluate {begin} --data data.csv --out report"), "data.csv, line 2: "),
    ] {
        world.refuses(&command, &[&says[..], &[place]].concat());
    }
    let says = [&says[..], &["standard input, line 1: "]].concat();
    world.refuses_to("gpt2-lora", &format!("predict {begin}"), b"hello\n", &says);
}

/// Settings are text, so paths must be UTF-8.
#[test]
#[ignore = "run by cargo xtask soak"]
fn names_that_are_not_utf8_are_refused() {
    let world = World::new();
    let odd = OsStr::from_bytes(b"n\xffme");
    fs::write(world.path("").join(odd), world.read("data.csv")).unwrap();
    let train = ["train", "--model", "model", "--data", "data.csv", "--out", "new"];
    let pretrain = [
        "pretrain",
        "--model",
        "model",
        "--data",
        "text.txt",
        "--steps",
        "1",
        "--max-length",
        "8",
        "--out",
        "new",
    ];
    for (arguments, option) in
        [(&train[..], "--data"), (&train, "--out"), (&pretrain, "--data"), (&pretrain, "--out")]
    {
        let mut arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let place = arguments.iter().position(|word| *word == option).unwrap() + 1;
        arguments[place] = odd;
        let mut command = Command::new(binary("gpt2-lora"));
        let output = command.args(arguments).current_dir(world.path("")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("error: n"), "{stderr}");
        assert!(stderr.contains("not UTF-8") && stderr.lines().count() == 1, "{stderr}");
        assert!(!world.path("new").exists());
    }
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn endless_settings_are_refused() {
    for (file, command) in [
        ("run.toml", "train --config run.toml --model model --data data.csv --out begun"),
        ("model/fine_tuning.json", "train --model model --data data.csv --out begun"),
        (CONFIG, "predict --model model --adapter adapter hello"),
        ("adapter/gpt2_lora.json", "predict --model model --adapter adapter hello"),
    ] {
        let world = World::new();
        world.write(file, "");
        fs::File::options().write(true).open(world.path(file)).unwrap().set_len(200 << 20).unwrap();
        world.refuses(command, &[file, "longer than 16 MiB"]);
    }
    let world = World::new();
    let endless = "train --config /dev/zero --model model --data data.csv --out begun";
    world.refuses(endless, &["/dev/zero", "longer than 16 MiB"]);
}

/// A randomly initialized base model has no file; its adapter stores the seed.
#[test]
#[ignore = "run by cargo xtask soak"]
fn adapter_on_random_weights_initializes_them_again() {
    let world = World::new();
    let path = |name: &str| world.path(name).display().to_string();
    let [model, data, out] = ["model", "data.csv", "drawn"].map(path);
    let train = ["--model", &model, "--data", &data, "--out", &out, "--random-init"];
    let more = ["--epochs", "2", "--rank", "2", "--threads", "1", "--seed", "7"];
    run("trainer", train.iter().chain(&more)).succeeded();
    let (adapter, test) = (format!("{out}/adapter"), format!("{out}/test.csv"));
    let predict = ["predict", "--adapter", &adapter, "--input", &test, "--text-column", "Text"];
    let predicted = run("gpt2-lora", predict.iter().chain(&["--probabilities"])).succeeded();
    // The run's own predictions on its test set.
    let predictions = fs::read_to_string(format!("{out}/predictions.jsonl")).unwrap();
    assert!(predictions.lines().count() > 5);
    for (row, line) in predicted.stdout().lines().skip(1).zip(predictions.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let cells: Vec<&str> = row.split(',').collect();
        assert_eq!(cells[2], line["predicted"].as_str().unwrap(), "{row} {line}");
        let [ham, spam] = [0, 1].map(|class| line["logits"][class].as_f64().unwrap().exp());
        let probability: f64 = cells[4].parse().unwrap();
        assert!((probability - ham / (ham + spam)).abs() < 1e-5, "{row} {line}");
    }
    let says = ["got model with the digest", "leave out --model"];
    world.refuses("predict --model model --adapter drawn/adapter hello", &says);
}

//! Runs with random options, stopped at a random step.

use std::{fs, path::Path};

use test_support::{
    Random, assert_same_results, counted, fixture, run, run_and_signal, seed, training,
};

use crate::resume::assert_complete;

/// Options of which a run gets one from each list.
const COMMON: [&[&str]; 6] = [
    &["", "--recipe book", "--dtype bfloat16", "--gradient-checkpointing"],
    &["", "--schedule linear --warmup-steps 3", "--schedule cosine"],
    &["", "--gradient-accumulation-steps 2"],
    &["", "--keep best"],
    &["", "--class-weights balanced"],
    &["", "--max-grad-norm 0.5"],
];
const LORA: &[&str] = &[
    "",
    "--lora-dropout 0.1",
    "--dora",
    "--init pissa",
    "--scaling rslora",
    "--head full",
    "--lora-plus-ratio 2",
];

#[test]
#[ignore = "run by cargo xtask soak"]
fn stopped_runs_resume_byte_for_byte_with_any_options() {
    let mut random = Random::new(seed());
    let mut stops = 0;
    for train in ["lora", "head", "last-block", "all"] {
        let mut options = format!(
            "--train {train} --epochs 3 --batch-size 8 --lr 0.002 --threads 1 --seed {} \
             --checkpoint-every {}",
            seed() % 1000,
            1 + random.below(5)
        );
        for choices in COMMON {
            options = format!("{options} {}", random.pick(choices));
        }
        if train == "lora" {
            // Checkpointing would draw another dropout mask in its second forward pass, and PiSSA
            // needs float32.
            let is_refused = |option: &str| {
                (options.contains("checkpointing") && option.contains("dropout"))
                    || (options.contains("bfloat16") && option.contains("pissa"))
            };
            let allowed: Vec<&str> = LORA.iter().copied().filter(|it| !is_refused(it)).collect();
            options = format!("{options} --rank 2 {}", random.pick(&allowed));
        }
        println!("{options}");
        let folder = tempfile::tempdir().unwrap();
        let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
        let arguments = |out: &Path, more: &str| {
            let mut all = training(&fixture("tiny"), &fixture("messages.tsv"), out);
            all.extend(options.split_whitespace().chain(more.split_whitespace()).map(String::from));
            all
        };
        run("trainer", arguments(&whole, "")).succeeded();
        let signal = *random.pick(&["KILL", "TERM"]);
        let step = 1 + random.below(10);
        let is_time = || {
            let metrics = fs::read_to_string(stopped.join("metrics.jsonl")).unwrap_or_default();
            metrics.matches("\"event\":\"step\"").count() >= step
        };
        let ended = run_and_signal("trainer", arguments(&stopped, ""), signal, is_time);
        stops += usize::from(!ended.output.status.success());
        assert_complete(&stopped);
        if !stopped.join("report.json").exists() {
            run("trainer", arguments(&stopped, "--resume")).succeeded();
        }
        assert_same_results(&whole, &stopped);
    }
    counted(stops, "stopped runs with random options");
}

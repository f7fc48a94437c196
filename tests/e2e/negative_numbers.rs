//! Negative numbers on the command line are values that are refused by their range.

use test_support::World;

#[test]
fn numeric_options_name_their_range() {
    let world = World::new();
    let generate = "generate --model tiny --prompt a";
    let train = "train --model tiny --data data.csv --out out";
    for (command, option, says) in [
        (generate, "--temperature -1", &["--temperature", "expected", "got -1"][..]),
        (generate, "--temperature -0.5", &["--temperature", "got -0.5"]),
        (generate, "--top-p -1", &["--top-p", "got -1"]),
        (generate, "--min-p -0.1", &["--min-p", "got -0.1"]),
        (generate, "--repetition-penalty -2", &["--repetition-penalty", "got -2"]),
        (generate, "--top-k -1", &["'-1'", "--top-k"]),
        (generate, "--max-new-tokens -1", &["'-1'", "--max-new-tokens"]),
        (generate, "--seed -1", &["'-1'", "--seed"]),
        (generate, "--batch-size -1", &["'-1'", "--batch-size"]),
        (train, "--lr -1", &["--lr", "got -1"]),
        (train, "--weight-decay -0.1", &["--weight-decay", "got -0.1"]),
        (train, "--lora-dropout -0.1", &["--lora-dropout", "got -0.1"]),
        (train, "--batch-size -4", &["-4", "--batch-size"]),
        (train, "--epochs -1", &["-1", "--epochs"]),
        (train, "--rank -1", &["-1", "--rank"]),
        (train, "--max-grad-norm -1", &["--max-grad-norm", "got -1"]),
    ] {
        let refusal = world.refuses(&format!("{command} {option}"), says);
        assert!(!refusal.error.contains("unexpected argument"), "{option}: {}", refusal.error);
    }
    // A text may be a number too.
    assert!(world.succeeds_or_refuses("generate --model tiny --prompt -5 --max-new-tokens 1"));
}

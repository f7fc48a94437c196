//! Plain text for pretraining, settings that match no layer, and results that would replace
//! inputs.

use test_support::World;

const PRETRAIN: &str = "pretrain --model tiny --data text.txt --steps 1 --max-length 8 --out small";

#[test]
#[ignore = "run by cargo xtask soak"]
fn malformed_texts_are_named() {
    let world = World::new();
    for (bytes, says) in [
        (&b"one\n\ntw\xff\n"[..], "text.txt, line 3: not UTF-8"),
        (b"", "text.txt"),
        (b"a", "text.txt"),
    ] {
        world.write("text.txt", bytes);
        println!("{}", world.refuses(PRETRAIN, &[says]).error);
    }
    std::fs::remove_file(world.path("text.txt")).unwrap();
    world.refuses(PRETRAIN, &["text.txt", "--data"]);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn unknown_targets_are_refused_before_anything_is_written() {
    let world = World::new();
    let train = "train --model model --data data.csv --out begun";
    for (option, says) in [
        ("--target-modules q,cookie", "called \"cookie\"; the model has \"h.0.attn.c_attn\""),
        ("--target-modules q --rank-pattern k=3", "rank_pattern \"k\""),
        ("--alpha-pattern cookie=3", "alpha_pattern \"cookie\""),
        ("--head full --target-modules score", "called \"score\""),
        ("--batch-size 1000", "use --batch-size 42 or less"),
    ] {
        let refused = world.refuses(&format!("{train} {option}"), &[says]);
        println!("{}", refused.error);
    }
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn results_do_not_replace_inputs_or_devices() {
    let world = World::new();
    world.write("begun/train.csv", world.read("data.csv"));
    world.write("begun/metrics.jsonl", world.read("text.txt"));
    world.write("begun/misclassified.jsonl", "{\"text\":\"a\",\"label\":\"ham\"}\n");
    // The folder of an evaluation may be reused.
    world.write("begun/evaluation.json", "{\"accuracy\":1.0,\"confusion\":[]}");
    let inside = "would be replaced by a result of the same name; choose another --out";
    for command in [
        "train --model model --data begun/train.csv --out begun --epochs 1",
        "evaluate --model model --adapter adapter --data begun/misclassified.jsonl --out begun",
        "pretrain --model tiny --data begun/metrics.jsonl --steps 1 --max-length 8 --out begun",
    ] {
        world.refuses(command, &[inside]);
    }
    let predict = "predict --model model --adapter adapter --input data.csv --output /dev/null";
    world.refuses(predict, &["/dev/null", "expected a file"]);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn common_mistakes_get_helpful_advice() {
    let world = World::new();
    let numbered = |row: usize| format!("some text,{row}\n");
    let rows: String = (0..10).map(numbered).collect();
    world.write("ids.csv", format!("text,id\n{rows}"));
    let train = "train --model model --out begun --data";
    for (command, says) in [
        (
            format!("{train} ids.csv --label-column id"),
            ["ids.csv: 10 of 10 labels have a single row", "--label-column"],
        ),
        (
            "train --model model --data data.csv --out text.txt".to_owned(),
            ["text.txt: expected a directory, got a file", "--out"],
        ),
        (
            "train --model model --data data.csv --out text.txt/deep/run".to_owned(),
            ["text.txt: expected a directory, got a file", "--out"],
        ),
        (
            "merge --model model --adapter adapter --out text.txt/merged".to_owned(),
            ["text.txt: expected a directory, got a file", "--out"],
        ),
        (
            "generate --model adapter --prompt hi".to_owned(),
            ["it is an adapter, not a model", "`gpt2-lora merge`"],
        ),
        (
            "predict --model model --adapter adapter --input data.csv --output p.xlsx".to_owned(),
            ["p.xlsx: unknown file extension", "csv, tsv, jsonl or parquet"],
        ),
    ] {
        println!("{}", world.refuses(&command, &says).error);
    }
}

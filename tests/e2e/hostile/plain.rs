//! Plain text for pretraining, its checkpoint, and settings that fit no layer.

use e2e_tests::World;

const PRETRAIN: &str =
    "pretrain --config tiny/config.json --text text.txt --steps 1 --context 8 --out small";

#[test]
fn texts_that_are_none_are_named() {
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
    world.refuses(PRETRAIN, &["cannot read text.txt"]);
}

/// Nothing is tried on the model, and nothing written, before it is said.
#[test]
fn targets_that_the_model_lacks_are_found_before_anything_is_done() {
    let world = World::new();
    let train = "train --model model --data data.csv --out begun";
    for (option, says) in [
        ("--target-modules q,cookie", "called \"cookie\"; the model has \"h.0.attn.c_attn\""),
        ("--target-modules q --rank-pattern k=3", "rank_pattern \"k\" decides for no layer"),
        ("--alpha-pattern cookie=3", "alpha_pattern \"cookie\""),
        ("--head full --target-modules score", "called \"score\""),
        ("--batch-size 1000", "ask for 42 or fewer"),
    ] {
        let refused = world.refuses(&format!("{train} {option}"), &[says]);
        println!("{}", refused.error);
    }
}

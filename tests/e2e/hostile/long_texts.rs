//! Texts longer than the context.

use test_support::{World, run, table};

/// The context of the pocket model, in tokens.
const CONTEXT: usize = 256;

/// Text with one token per word.
fn words(count: usize) -> String {
    "word ".repeat(count).trim_end().to_owned()
}

/// World with a table whose rows 61 and 62 have this number of tokens.
fn world(tokens: usize) -> World {
    let (world, long) = (World::new(), words(tokens));
    world.write("long.csv", format!("{}{long},ham\n{long},spam\n", table()));
    world
}

/// Standard error of a command that must succeed.
#[track_caller]
fn stderr_of(world: &World, command: &str) -> String {
    let path = |word: &str| match word.strip_prefix("./") {
        Some(name) => world.path(name).display().to_string(),
        None => word.to_owned(),
    };
    run("gpt2-lora", command.split(' ').map(path)).succeeded().stderr()
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn text_longer_than_the_context_is_refused_on_request() {
    let world = world(CONTEXT + 1);
    let says = ["long.csv, line 62: ", "has 257 tokens", "context of 256", TRUNCATE];
    for command in [
        "train --model model --data long.csv --out begun",
        "train --model model --data long.csv --balance none --out begun",
        "train --model model --data long.csv --balance none --max-length 20 --out begun",
        "predict --model model --adapter adapter --input long.csv --output answers.csv",
        "evaluate --model model --adapter adapter --data long.csv --out report",
    ] {
        let mut says = says.to_vec();
        // The split is random, so either of the two rows may be named.
        if command.starts_with("train") {
            says[0] = "long.csv, line 6";
        }
        world.refuses(&format!("{command} --on-long-text error"), &says);
    }

    let sets = "train --model model --data data.csv --test-data long.csv --out begun";
    world.refuses(&format!("{sets} --on-long-text error"), &says);

    let predict = "predict --model model --adapter adapter --on-long-text error";
    let long = words(CONTEXT + 1);
    let input = format!("short\n{long}\n");
    let says = ["standard input, line 2: ", "has 257 tokens", TRUNCATE];
    world.refuses_to("gpt2-lora", predict, input.as_bytes(), &says);
    // A full batch of predictions precedes it.
    let input = format!("{}{long}\n", "short\n".repeat(256));
    let refusal = world.refuses_to("gpt2-lora", predict, input.as_bytes(), &["input, line 257: "]);
    assert_eq!(refusal.stdout.lines().count(), 256);
    let joined = format!("short {}", "word".repeat(CONTEXT + 1));
    world.refuses(&format!("{predict} {joined}"), &["text 2: ", "has 257 tokens", TRUNCATE]);
    world.refuses(
        "train --model model --data long.csv --out begun --max-length 257",
        &["--max-length", "257", "(n_positions)"],
    );
    let prompt = format!("generate --model model --prompt {}", "word".repeat(300));
    world.refuses(&prompt, &["longer than the model's context of 256"]);
}

const TRUNCATE: &str = "--on-long-text truncate";

#[test]
#[ignore = "run by cargo xtask soak"]
fn truncation_is_reported() {
    let truncated = "2 texts were truncated to 16 tokens, the maximum length in training";
    for (tokens, option) in [(CONTEXT, " --on-long-text error"), (CONTEXT + 1, "")] {
        let world = world(tokens);
        let common = format!("--model ./model --adapter ./adapter{option}");
        for command in ["predict --input", "evaluate --data"] {
            let (name, option) = command.split_once(' ').unwrap();
            let stderr = stderr_of(&world, &format!("{name} {common} {option} ./long.csv"));
            assert!(stderr.contains(truncated), "{stderr}");
            assert!(stderr.contains(&format!("the longest has {tokens} tokens")), "{stderr}");
        }
        let stderr = stderr_of(&world, &format!("predict {common} short"));
        assert!(!stderr.contains("truncated"), "{stderr}");
    }
    let world = world(CONTEXT + 1);
    let train = "train --model ./model --data ./long.csv --out ./out --epochs 1";
    let stderr = stderr_of(&world, &format!("{train} --max-length 20 --balance none"));
    assert!(stderr.contains("2 texts are longer than 20 tokens and truncated"), "{stderr}");
    // Without an option they are truncated to the context.
    let train = "train --model ./tiny --data ./long.csv --out ./tiny-out --epochs 1";
    let stderr = stderr_of(&world, &format!("{train} --balance none"));
    assert!(stderr.contains("2 texts are longer than 96 tokens and truncated"), "{stderr}");
    assert!(stderr.contains("the longest has 257 tokens"), "{stderr}");
    // With the book's recipe texts of the other sets are truncated to the longest training
    // text, and only training texts are refused.
    let sets = "train --model ./model --data ./data.csv --test-data ./long.csv --out ./sets";
    let stderr =
        stderr_of(&world, &format!("{sets} --epochs 1 --recipe book --on-long-text error"));
    assert!(stderr.contains("training 0, validation 0, test 2"), "{stderr}");
}

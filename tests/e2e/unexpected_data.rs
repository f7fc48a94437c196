//! Data as people have it: labels spelled in several ways, rows without a text, classes of
//! one row, texts without an end, and readers that go away.

use std::{
    fs,
    io::{Read, Write},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use test_support::{Finished, World, binary, read_json, read_jsonl, run, run_with_input};

/// Settings of a short run on the tiny model.
const TRAIN: &str = "train --model ./tiny --epochs 1 --batch-size 4 --rank 2 --eval-batches 1 \
                     --out ./out";
const PREDICT: &str = "predict --model ./model --adapter ./adapter";
const EVALUATE: &str = "evaluate --model ./model --adapter ./adapter";

/// Arguments in which `./name` is a path in the folder of a world.
fn arguments(world: &World, command: &str) -> Vec<String> {
    let path = |word: &str| match word.strip_prefix("./") {
        Some(name) => world.path(name).display().to_string(),
        None => word.to_owned(),
    };
    command.split_whitespace().map(path).collect()
}

/// Runs a command that has to succeed.
#[track_caller]
fn succeeds(world: &World, command: &str) -> Finished {
    run("gpt2-lora", arguments(world, command)).succeeded()
}

/// Trains on a file and returns the report and standard error.
#[track_caller]
fn trained(world: &World, options: &str) -> (Value, String) {
    let _ = fs::remove_dir_all(world.path("out"));
    let finished = succeeds(world, &format!("{TRAIN} {options}"));
    (read_json(&world.path("out/report.json")), finished.stderr())
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

/// CSV of texts of two classes, whose labels are spelled by `label`.
fn csv(rows: usize, label: impl Fn(usize) -> String) -> String {
    let text = |row: usize| match row % 2 {
        0 => format!("see you at home at {row}"),
        _ => format!("win prize number {row} now"),
    };
    let rows = (0..rows).map(|row| format!("{},\"{}\"\n", text(row), label(row)));
    format!("text,label\n{}", rows.collect::<String>())
}

#[test]
fn labels_are_normalized_in_every_command() {
    let world = World::new();
    let labels =
        |names: &'static [&'static str]| csv(60, |row| names[row % names.len()].to_owned());
    for (data, weights, expected) in [
        (labels(&["ham", "spam "]), "spam=2", ["ham", "spam"]),
        (labels(&["0.0", "1.0"]), "1=2", ["0", "1"]),
        (labels(&["True", "False", "true", "FALSE"]), "True=2", ["false", "true"]),
        (labels(&["caf\u{e9}", "bar", "cafe\u{301}", "bar"]), "bar=2", ["bar", "caf\u{e9}"]),
    ] {
        world.write("data.csv", &data);
        let (report, _) = trained(&world, &format!("--data ./data.csv --class-weights {weights}"));
        assert_eq!(report["labels"], json!(expected));
        // The same file is evaluated with the labels as they are in it.
        let evaluate = "evaluate --model ./tiny --adapter ./out/adapter --data ./data.csv --json";
        let evaluation: Value = serde_json::from_str(&succeeds(&world, evaluate).stdout()).unwrap();
        assert_eq!(evaluation["examples"], 60);
        assert_eq!(evaluation["per_class"][0]["support"], 30);
    }
    let numbers = csv(240, |row| (row % 12).to_string());
    world.write("data.csv", numbers);
    let (report, _) = trained(&world, "--data ./data.csv --balance none --stratify");
    let expected: Vec<String> = (0..12).map(|label: usize| label.to_string()).collect();
    assert_eq!(report["labels"], json!(expected));
}

#[test]
fn notes_about_labels_are_bounded() {
    let world = World::new();
    world.write("data.csv", csv(60, |row| ["ham", "spam", "Ham", "SPAM"][row % 4].to_owned()));
    let (report, stderr) = trained(&world, "--data ./data.csv");
    has(&stderr, &["note: the labels \"Ham\", \"ham\" look alike (and 1 more such groups)"]);
    assert_eq!(report["counts"]["alike"], json!([["Ham", "ham"], ["SPAM", "spam"]]));
    // A header that is repeated with other capitals.
    world.write("data.csv", csv(61, |row| ["ham", "spam", "Label"][row / 30].to_owned()));
    let (_, stderr) = trained(&world, "--data ./data.csv --balance none");
    has(&stderr, &["note: the label \"Label\" is the name of a column; remove repeated headers"]);
    // Many rare classes, each with a long name.
    let rare = |row: usize| match row {
        0..300 => ["ham", "spam"][row % 2].to_owned(),
        _ => format!("{} {row}", "rare".repeat(100)),
    };
    world.write("data.csv", csv(400, rare));
    let (report, stderr) = trained(&world, "--data ./data.csv --balance none");
    has(
        &stderr,
        &[
            "100 labels have a single example each",
            "and 90 more",
            "102 classes for 400 examples, fewer than 10 for each on average",
            "classes without an example",
        ],
    );
    assert!(stderr.len() < 6000, "{} bytes: {stderr}", stderr.len());
    assert_eq!(report["test"]["confusion"], json!([]), "102 classes");
    let size = fs::metadata(world.path("out/report.json")).unwrap().len();
    assert!(size < 400_000, "{size}");
}

#[test]
fn columns_that_cannot_be_labels_are_refused_in_one_short_sentence() {
    let world = World::new();
    let swapped = |separator: &str, reversed: bool| {
        let row = |row: usize| {
            let (text, label) = (format!("a text of its own, {row}"), ["ham", "spam"][row % 2]);
            if reversed {
                format!("{text}{separator}{label}\n")
            } else {
                format!("{label}{separator}{text}\n")
            }
        };
        (0..60).map(row).collect::<String>().replace(", ", " ")
    };
    world.write("bad.csv", format!("text,label\n{}ham,a text of its own 7\n", swapped(",", false)));
    world.write("bad.tsv", swapped("\t", true));
    world.write("SMS", format!("label\tmessage\n{}", swapped("\t", false)));
    let header = format!("{0}text,label\n{0}", csv(20, |row| ["ham", "spam"][row % 2].to_owned()));
    world.write("joined.csv", header);
    for (file, words) in [
        ("bad.csv", ["59 of 60 labels have a single row", "--label-column"]),
        ("bad.tsv", ["60 of 60 labels have a single row", "--label-column"]),
        ("SMS", ["line 1: it looks like a header", "--text-column and --label-column"]),
        ("joined.csv", ["line 22: it repeats the header", "remove it"]),
    ] {
        for balance in ["undersample", "none"] {
            let command =
                format!("train --model model --data {file} --balance {balance} --out begun");
            world.refuses(&command, &[&[file][..], &words].concat());
        }
    }
}

#[test]
fn balancing_says_what_it_leaves_out() {
    let world = World::new();
    let every = |period: usize| {
        csv(110, move |row| if row % period == 0 { "spam" } else { "ham" }.to_owned())
    };
    for (period, note) in [
        (
            11,
            "undersampling drops 90 of 110 examples (\"ham\": 100 to 10); --balance none keeps them",
        ),
        (5, "undersampling drops 66 of 110 examples (\"ham\": 88 to 22)"),
        (3, "undersampling drops 36 of 110 examples (\"ham\": 73 to 37)"),
    ] {
        world.write("data.csv", every(period));
        let (report, stderr) = trained(&world, "--data ./data.csv");
        has(&stderr, &[note]);
        let before = report["counts"]["examples"].as_array().unwrap();
        assert_eq!(before.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 110);
        let (_, stderr) = trained(&world, "--data ./data.csv --balance none");
        assert!(!stderr.contains("undersampling"), "{stderr}");
    }
    // Of separate files only the training file is balanced.
    world.write("test.csv", every(2));
    let (_, stderr) =
        trained(&world, "--data ./data.csv --test-data ./test.csv --balance undersample");
    has(&stderr, &["undersampling drops", "of 110 examples"]);
}

#[test]
fn duplicates_and_conflicting_labels_are_noted() {
    let world = World::new();
    let rows = |text: fn(usize) -> String, label: fn(usize) -> usize| {
        let row = |row: usize| format!("{},{}\n", text(row), ["ham", "spam"][label(row)]);
        format!("text,label\n{}", (0..80).map(row).collect::<String>())
    };
    for (data, words, conflicts) in [
        (
            rows(|row| format!("text {}", row / 2), |row| row % 2),
            "40 texts occur with different",
            40,
        ),
        (rows(|row| format!("text {}", row % 40), |row| row % 2), "within the training set", 0),
        (rows(|row| format!("text {}", row.max(1)), |row| row % 2), "1 text occurs with diff", 1),
    ] {
        world.write("data.csv", data);
        let (report, stderr) = trained(&world, "--data ./data.csv");
        has(&stderr, &[words, "note: duplicate texts"]);
        assert_eq!(report["counts"]["conflicting_texts"], conflicts);
        let duplicates = report["duplicates"].as_object().unwrap();
        assert!(duplicates.values().any(|count| count.as_u64().unwrap() > 0), "{duplicates:?}");
    }
    world.write("data.csv", rows(|row| format!("text {row}"), |row| row % 2));
    let (_, stderr) = trained(&world, "--data ./data.csv");
    assert!(!stderr.contains("duplicate") && !stderr.contains("different labels"), "{stderr}");
}

#[test]
fn empty_texts_get_no_prediction() {
    let world = World::new();
    let note = "2 texts were empty (without a character other than white space)";
    world.write("in.csv", "id,text\n1,\n2,\"  \"\n3,see you at the bus\n");
    world.write("in.tsv", "id\ttext\n1\t\n2\t\u{a0}\n3\tsee you at the bus\n");
    world.write(
        "in.jsonl",
        "{\"text\":null}\n{\"text\":\" \\n\\t\"}\n{\"text\":\"see you at the bus\"}\n",
    );
    for (input, separator) in [("in.csv", ","), ("in.tsv", "\t")] {
        let done = succeeds(&world, &format!("{PREDICT} --input ./{input} --probabilities"));
        has(&done.stderr(), &[note]);
        let stdout = done.stdout();
        let lines: Vec<Vec<&str>> =
            stdout.lines().map(|line| line.split(separator).collect()).collect();
        assert_eq!(lines[0].len(), 6, "{stdout}");
        for line in &lines[1..3] {
            assert!(line[2..].iter().all(|cell| cell.is_empty()), "{stdout}");
        }
        assert!(lines[3][2..].iter().all(|cell| !cell.is_empty()), "{stdout}");
    }
    let done = succeeds(&world, &format!("{PREDICT} --input ./in.jsonl --output ./out.jsonl"));
    has(&done.stderr(), &[note]);
    let rows = read_jsonl(&world.path("out.jsonl"));
    for row in &rows[..2] {
        assert_eq!((&row["predicted"], &row["confidence"]), (&Value::Null, &Value::Null));
    }
    assert!(rows[2]["predicted"].is_string() && rows[2]["confidence"].is_f64());
    // Parquet keeps the missing values.
    succeeds(&world, &format!("{PREDICT} --input ./in.jsonl --output ./out.parquet"));
    succeeds(&world, &format!("{PREDICT} --input ./out.parquet --output ./again.jsonl"));
    let again = read_jsonl(&world.path("again.jsonl"));
    assert_eq!(again[0]["predicted"], Value::Null);
    assert_eq!(again[2]["predicted"], rows[2]["predicted"]);

    // Lines and arguments.
    let lines = run_with_input("gpt2-lora", arguments(&world, PREDICT), "\nsee you\n \t\n");
    let lines = lines.succeeded();
    has(&lines.stderr(), &[note]);
    let stdout = lines.stdout();
    let found: Vec<&str> = stdout.lines().collect();
    assert_eq!((found[0], found[2], found.len()), ("\t\t", "\t\t \\t", 3));
    let command = arguments(&world, &format!("{PREDICT} --json"));
    let done = run("gpt2-lora", command.into_iter().chain([String::new(), "see you".to_owned()]));
    let stdout = done.succeeded().stdout();
    let answers: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers[0], json!({"text": "", "label": null, "probabilities": null}));
    assert!(answers[1]["label"].is_string());
}

#[test]
fn empty_texts_are_counted_in_training_and_evaluation() {
    let world = World::new();
    let good = csv(60, |row| ["ham", "spam"][row % 2].to_owned());
    world.write("data.csv", format!("{good},ham\n\"  \",spam\n\u{a0},\nx,\n"));
    let (report, stderr) = trained(&world, "--data ./data.csv");
    has(&stderr, &["skipped 3 of 64 rows without a text", "skipped 1 of 64 rows without a label"]);
    assert_eq!(report["counts"]["empty_text"], 3);
    let evaluation = succeeds(&world, &format!("{EVALUATE} --data ./data.csv --json")).stdout();
    let evaluation: Value = serde_json::from_str(&evaluation).unwrap();
    assert_eq!(evaluation["examples"], 60);
    assert_eq!((&evaluation["without_text"], &evaluation["without_label"]), (&json!(3), &json!(1)));
    // A file without a header is read by the same rules.
    let lines: String =
        (0..60).map(|row| format!("{}\ttext {row}\n", ["ham", "spam"][row % 2])).collect();
    world.write("SMS", format!("{lines}ham\t\nspam\t  \n"));
    let (report, _) = trained(&world, "--data ./SMS");
    assert_eq!(report["counts"]["empty_text"], 2);
}

#[test]
fn a_million_white_space_characters_are_a_text_like_any_other() {
    let world = World::new();
    for space in [" ", "\t", "\u{a0}", "\u{2003}"] {
        let long = format!("hi{}you", space.repeat(1_000_100));
        let lines = run_with_input("gpt2-lora", arguments(&world, PREDICT), format!("{long}\n"));
        let lines = lines.succeeded();
        has(&lines.stderr(), &["1 text was truncated", "; the longest has "]);
        assert_eq!(lines.stdout().lines().count(), 1);
    }
    let long = format!("hi{}you", "\n \n".repeat(340_000));
    world.write("in.csv", format!("text,label\n\"{long}\",ham\nshort,spam\n"));
    succeeds(&world, &format!("{PREDICT} --input ./in.csv --output ./out.csv"));
    has(&succeeds(&world, &format!("{EVALUATE} --data ./in.csv")).stdout(), &["on 2 examples"]);
    let good = csv(60, |row| ["ham", "spam"][row % 2].to_owned());
    world.write("data.csv", format!("{good}\"{long}\",ham\n"));
    let (report, stderr) = trained(&world, "--data ./data.csv --balance none");
    has(&stderr, &["1 text is longer than", "the longest has"]);
    assert!(report["longest_text"].as_u64().unwrap() > 300_000, "{report}");
    let text = "One document.\n\nAnother one, of some more words.\n".repeat(20);
    // Fewer, because each token is evaluated over the whole vocabulary several times.
    world.write("text.txt", format!("{text}\n\nhi{}you\n", " ".repeat(10_100)));
    succeeds(
        &world,
        "pretrain --model ./tiny --data ./text.txt --steps 1 --max-length 8 --out ./lm",
    );
}

#[test]
fn absent_classes_do_not_count_in_macro_averages() {
    let world = World::new();
    for (label, absent) in [("ham", "spam"), ("spam", "ham"), ("ham ", "spam")] {
        world.write("one.csv", csv(20, |_| label.to_owned()));
        let command = format!("{EVALUATE} --data ./one.csv");
        let table = succeeds(&world, &command).stdout();
        has(
            &table,
            &[&format!("macro averages leave out classes absent from the data: \"{absent}\"")],
        );
        has(&table, &[&format!("majority class {}: accuracy 100.00 %", label.trim())]);
        let json = succeeds(&world, &format!("{command} --json")).stdout();
        let report: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(report["macro_average"]["classes"], 1);
        let class = usize::from(label == "spam");
        assert_eq!(report["macro_average"]["recall"], report["per_class"][class]["recall"]);
        assert_eq!(report["macro_average"]["f1"], report["per_class"][class]["f1"]);
    }
}

#[test]
fn a_model_that_does_not_beat_the_majority_class_gets_a_warning() {
    let world = World::new();
    // Most texts are of one class, and the labels have nothing to do with them.
    for period in [4, 5, 7] {
        let label =
            |row: usize| if (row * row % 37).is_multiple_of(period) { "spam" } else { "ham" };
        world.write("data.csv", csv(90, |row| label(row).to_owned()));
        let options = "--data ./data.csv --balance none --stratify --lr 1e-9";
        let _ = fs::remove_dir_all(world.path("out"));
        let table = succeeds(&world, &format!("{TRAIN} {options}")).stdout();
        let report = read_json(&world.path("out/report.json"));
        let accuracy = report["accuracy"]["validation"].as_f64().unwrap();
        let baseline = report["baseline"]["validation"].as_f64().unwrap();
        assert!(accuracy <= baseline, "{accuracy} and {baseline}");
        assert_eq!(report["warnings"].as_array().unwrap().len(), 1);
        has(&table, &["majority class", "warning: the model does not beat the majority class"]);
    }
}

/// Runs a command and closes its standard output after the first bytes.
#[track_caller]
fn read_a_little(world: &World, command: &str, input: &str) {
    let mut child = Command::new(binary("gpt2-lora"))
        .args(arguments(world, command))
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{command}: {stderr}");
    assert!(!stderr.contains("error") && !stderr.contains("pipe"), "{command}: {stderr}");
}

#[test]
fn closed_pipe_ends_the_command_quietly() {
    let world = World::new();
    let lines: String = (0..5000).map(|line| format!("{line}\n")).collect();
    read_a_little(&world, PREDICT, &lines);
    read_a_little(&world, &format!("{PREDICT} --json"), &lines);
    let table = format!("text\n{lines}");
    for format in ["csv", "tsv", "jsonl"] {
        let command = format!("{PREDICT} --input - --input-format csv --format {format}");
        read_a_little(&world, &command, &table);
    }
    // More than a pipe holds.
    read_a_little(&world, "completions bash", "");
    read_a_little(&world, "inspect ./model --json", "");
}

#[test]
fn long_texts_are_truncated_or_refused() {
    let world = World::new();
    for (tokens, count) in [(257, 1), (300, 2), (5000, 3)] {
        let long = "word ".repeat(tokens).trim_end().to_owned();
        let rows = format!("{long},ham\n").repeat(count);
        let good = csv(60, |row| ["ham", "spam"][row % 2].to_owned());
        world.write("long.csv", format!("{good}{rows}"));
        let texts =
            if count == 1 { "1 text was".to_owned() } else { format!("{count} texts were") };
        let truncated = format!("{texts} truncated to 16 tokens");
        let longest = format!("the longest has {tokens} tokens");
        for command in ["predict --input ./long.csv", "evaluate --data ./long.csv"] {
            let (name, options) = command.split_once(' ').unwrap();
            let common = "--model ./model --adapter ./adapter";
            let stderr = succeeds(&world, &format!("{name} {common} {options}")).stderr();
            has(&stderr, &[&truncated, &longest]);
            let refused = format!("{name} {common} {options} --on-long-text error");
            run("gpt2-lora", arguments(&world, &refused)).failed(&["line 62", "--on-long-text"]);
        }
    }
}

#[test]
fn divergence_in_the_last_step_is_named() {
    let world = World::new();
    for option in ["--keep last", "--keep best", "--head full", "--dora"] {
        let command = format!("{TRAIN} --data ./data.csv --lr 1e300 {option}");
        let command = command.replace("--epochs 1", "--steps 1");
        let _ = fs::remove_dir_all(world.path("out"));
        let says = ["NaN or infinite after the last step (1)", "lower --lr"];
        run("gpt2-lora", arguments(&world, &command)).failed(&says);
    }
}

#[test]
fn an_unused_classification_head_is_noted() {
    let world = World::new();
    succeeds(&world, &format!("{TRAIN} --data ./data.csv --train head").replace("--rank 2 ", ""));
    let command = format!("{TRAIN} --data ./data.csv").replace("./tiny", "./out/model");
    let stderr = succeeds(&world, &command.replace("--out ./out", "--out ./again")).stderr();
    has(&stderr, &["note: the classification head of", "is not used"]);
    let (_, stderr) = trained(&world, "--data ./data.csv");
    assert!(!stderr.contains("classification head"), "{stderr}");
}

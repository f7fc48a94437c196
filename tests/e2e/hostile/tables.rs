//! Labeled text: CSV, TSV, JSON Lines and Parquet, from files and standard input.

use std::{fs, fs::File, io::Write, path::Path};

use test_support::{World, counted, fixture, table};

/// Text formats.
const FORMATS: [&str; 3] = ["csv", "tsv", "jsonl"];

/// Table of 60 valid rows and this one, and the line of this one.
fn with_row(format: &str, row: &[u8]) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let mut line = 0;
    for (number, text) in table().lines().enumerate() {
        let (text, label) = text.split_once(',').unwrap();
        match (format, number) {
            ("jsonl", 0) => continue,
            ("jsonl", _) => {
                writeln!(bytes, "{{\"text\":\"{text}\",\"label\":\"{label}\"}}").unwrap()
            }
            ("tsv", _) => writeln!(bytes, "{text}\t{label}").unwrap(),
            _ => writeln!(bytes, "{text},{label}").unwrap(),
        }
        line += 1;
    }
    bytes.extend(row);
    bytes.push(b'\n');
    (bytes, line + 1)
}

/// Commands that read `bad.<format>`.
fn commands(format: &str) -> [String; 3] {
    [
        format!("train --model model --data bad.{format} --out begun --epochs 1"),
        format!("evaluate --model model --adapter adapter --data bad.{format} --out report"),
        format!(
            "predict --model model --adapter adapter --input bad.{format} --output answers.csv"
        ),
    ]
}

/// Name of the problem, the last row in each format, and words of the errors.
type Rows = (&'static str, [&'static [u8]; 3], [&'static str; 3]);

#[test]
#[ignore = "run by cargo xtask soak"]
fn malformed_rows_are_named_with_their_line() {
    let rows: [Rows; 4] = [
        (
            "bad UTF-8",
            [b"caf\xe9,ham", b"caf\xe9\tham", b"{\"text\":\"caf\xe9\",\"label\":\"ham\"}"],
            ["the byte 0xe9 is not UTF-8"; 3],
        ),
        (
            "a NUL",
            [b"a\0b,ham", b"a\0b\tham", b"{\"text\":\"a\\u0000b\",\"label\":\"ham\"}"],
            ["NUL byte"; 3],
        ),
        (
            "ragged",
            [b"a,b,ham", b"only one", b"{\"label\":\"ham\"}"],
            ["it has 3 cells and the header has 2", "it has 1 cells", "no column \"text\""],
        ),
        (
            "broken off",
            [b"\"a,ham", b"a\tham\tham", b"{\"text\":\"a"],
            ["a quote that is never closed", "it has 3 cells", "not a JSON object"],
        ),
    ];
    let world = World::new();
    let mut count = 0;
    for (what, rows, says) in rows {
        for ((format, row), say) in FORMATS.iter().zip(rows).zip(says) {
            let (bytes, line) = with_row(format, row);
            let name = format!("bad.{format}");
            world.write(&name, bytes);
            let place = format!("{name}, line {line}");
            for command in commands(format) {
                let refusal = world.refuses(&command, &[&place, say]);
                println!("{what}: {}", refusal.error);
                count += 1;
            }
        }
    }
    counted(count, "commands that refused a malformed row");
    assert!(count >= 4 * 3 * 3);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn lines_of_50_mb_are_refused() {
    let world = World::new();
    let begin = ["text,label\n", "text\tlabel\n", "{\"text\":\"a\",\"label\":\"b\"}\n{\"text\":\""];
    let mut count = 0;
    for (format, begin) in FORMATS.iter().zip(begin) {
        let name = format!("bad.{format}");
        let mut file = File::create(world.path(&name)).unwrap();
        file.write_all(begin.as_bytes()).unwrap();
        file.write_all(&vec![b'a'; 50 << 20]).unwrap();
        for command in commands(format) {
            world.refuses(&command, &[&format!("{name}, line 2: it is longer than 16 MiB")]);
            count += 1;
        }
        fs::remove_file(world.path(&name)).unwrap();
    }
    // Files without a header, as in the book, have their own reader.
    let mut bytes = b"ham\ta\nspam\t".to_vec();
    bytes.resize(50 << 20, b'a');
    world.write("bad.tsv", bytes);
    for command in commands("tsv") {
        world.refuses(&command, &["bad.tsv, line 2: it is longer than 16 MiB"]);
        count += 1;
    }
    fs::remove_file(world.path("bad.tsv")).unwrap();
    // An open quote makes one record of many lines.
    let mut bytes = b"text,label\n\"".to_vec();
    bytes.extend("word\n".repeat(10 << 20).as_bytes());
    world.write("bad.csv", bytes);
    for command in commands("csv") {
        world.refuses(
            &command,
            &["bad.csv, line 2: it is longer than 16 MiB", "every quote closed"],
        );
        count += 1;
    }
    assert_eq!(count, 5 * 3);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn empty_tables_and_missing_columns_are_named() {
    let world = World::new();
    let mut count = 0;
    let mut refuses = |world: &World, command: &str, says: &[&str]| {
        println!("{}", world.refuses(command, says).error);
        count += 1;
    };
    let cases = [
        ("bad.csv", "", "is empty"),
        ("bad.csv", "text,label\n", "there is no row in it"),
        ("bad.csv", "id,name\n1,x\n", "no column \"text\"; the columns are \"id\", \"name\""),
        ("bad.csv", "text,text,label\na,b,c\n", "the column \"text\" twice"),
        ("bad.csv", "text,label\n,ham\na,\n", "there is no row to learn from"),
        ("bad.tsv", "", "no examples"),
        ("bad.tsv", "text\tlabel\n", "there is no row in it"),
        ("bad.tsv", "ham one\nspam two\n", "line 1: there is no tab"),
        ("bad.tsv", "ham\ta\0b\nspam\ttwo\n", "line 1: the text has a NUL"),
        ("bad.jsonl", "", "there is no row in it"),
        ("bad.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("bad.parquet", "", "cannot be read as Parquet"),
        ("bad.parquet", "PAR1PAR1", "cannot be read as Parquet"),
    ];
    for (name, bytes, says) in cases {
        world.write(name, bytes);
        // A test set is checked like the training data.
        let data = format!("train --model model --data {name} --out begun");
        let test = format!("train --model model --data data.csv --test-data {name} --out begun");
        for command in [data, test] {
            refuses(&world, &command, &[name, says]);
        }
    }
    for name in ["one.csv", "one.tsv", "one.jsonl"] {
        let text = match name {
            "one.csv" => "text,label\na,ham\nb,ham\n",
            "one.tsv" => "ham\ta\nham\tb\n",
            _ => "{\"text\":\"a\",\"label\":\"ham\"}\n{\"text\":\"b\",\"label\":\"ham\"}\n",
        };
        world.write(name, text);
        let says = [name, "every example has the label \"ham\"", "at least two labels"];
        refuses(&world, &format!("train --model model --data {name} --out begun"), &says);
    }
    fs::create_dir(world.path("folder.csv")).unwrap();
    let says = ["folder.csv"];
    refuses(&world, "train --model model --data folder.csv --out begun", &says);
    refuses(&world, "evaluate --model model --adapter adapter --data folder.csv", &says);
    refuses(&world, "predict --model model --adapter adapter --input folder.csv", &says);
    refuses(&world, "evaluate --model model --adapter adapter --data none.csv", &["none.csv"]);
    let evaluate = "evaluate --model model --adapter adapter --data empty.csv --out report";
    world.write("empty.csv", "text,label\n");
    refuses(&world, evaluate, &["empty.csv", "nothing to evaluate on", "no rows"]);
    world.write("empty.csv", "text,label\n,ham\n");
    refuses(&world, evaluate, &["empty.csv", "nothing to evaluate on", "--text-column"]);
    assert!(count >= 13 + 3 + 6);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn unknown_labels_are_named_with_the_known_ones() {
    let world = World::new();
    let good = table();
    world.write("new.csv", format!("{good}what is this,jam\n"));
    world.refuses(
        "evaluate --model model --adapter adapter --data new.csv --out report",
        &["new.csv", "line 62", "unknown label \"jam\"", "\"ham\", \"spam\"", "--label-column"],
    );
    for option in ["--test-data", "--validation-data"] {
        let other = if option == "--test-data" { "" } else { "--test-data data.csv" };
        world.refuses(
            &format!("train --model model --data data.csv {option} new.csv {other} --out begun"),
            &["new.csv, line 62: unknown label \"jam\"", "\"ham\", \"spam\"", "--label-column"],
        );
    }
    world.refuses(
        "train --model model --data data.csv --class-weights ham=1,jam=2 --out begun",
        &["jam"],
    );
}

fn fixture_table(name: &str) -> Vec<u8> {
    let tables = fixture("../../crates/dataset/tests/fixtures/tables");
    fs::read(Path::new(&tables).join(name)).unwrap()
}

/// Offset of a byte whose change makes the Parquet library panic; the error replaces the
/// panic's own message.
const PANICS: usize = 1712;

#[test]
#[ignore = "run by cargo xtask soak"]
fn damaged_parquet_is_one_error() {
    let world = World::new();
    let mut count = 0;
    let mut refuses = |world: &World, says: &[&str]| {
        for command in commands("parquet") {
            println!("{}", world.refuses(&command, says).error);
            count += 1;
        }
    };
    let whole = fixture_table("pandas.parquet");
    world.write("bad.parquet", &whole[..whole.len() / 2]);
    refuses(&world, &["bad.parquet: it cannot be read as Parquet"]);
    world.write("bad.parquet", fixture_table("not-utf8.parquet"));
    refuses(
        &world,
        &["bad.parquet, row 5: the column \"text\" cannot be decoded here or in the next 3 rows"],
    );
    world.write("bad.parquet", fixture_table("nul.parquet"));
    refuses(&world, &["bad.parquet, row 2: the text has a NUL byte"]);
    world.write("bad.parquet", fixture_table("twice.parquet"));
    refuses(&world, &["bad.parquet: the header has the column \"text\" twice"]);
    let mut bytes = whole;
    bytes[PANICS] ^= 0xff;
    world.write("bad.parquet", bytes);
    let says = ["bad.parquet, row 11: the column \"label\" cannot be decoded", "are impossible"];
    refuses(&world, &says);
    assert_eq!(count, 5 * 3);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn malformed_standard_input_is_refused() {
    let world = World::new();
    let lines = "predict --model model --adapter adapter";
    let table = "predict --model model --adapter adapter --output answers.csv --input - \
                 --input-format";
    let mut long = b"one\n".to_vec();
    long.resize(50 << 20, b'a');
    let cases: [(String, &[u8], &[&str]); 9] = [
        (lines.to_owned(), b"one\ncaf\xe9\n", &["standard input, line 2", "0xe9 is not UTF-8"]),
        (lines.to_owned(), b"one\na\0b\n", &["standard input, line 2", "NUL byte"]),
        (lines.to_owned(), &long, &["standard input, line 2", "longer than 16 MiB"]),
        (format!("{table} csv"), b"text\n\"a\n", &["standard input, line 2", "never closed"]),
        (format!("{table} csv"), b"", &["standard input", "is empty"]),
        (format!("{table} csv"), &long, &["standard input, line 1", "no column \"text\""]),
        (format!("{table} tsv"), &long, &["standard input, line 2", "longer than 16 MiB"]),
        (format!("{table} jsonl"), b"{}\n", &["standard input, line 1", "\"text\""]),
        (format!("{table} parquet"), b"PAR1", &["standard input", "cannot be read as Parquet"]),
    ];
    for (command, input, says) in cases {
        println!("{}", world.refuses_to("gpt2-lora", &command, input, says).error);
    }
}

//! Tables that several processes score into a directory of parts.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use polars::prelude::{
    Column, DataFrame, NamedFrom, ParquetReader, ParquetWriter, SerReader, Series,
};
use tempfile::TempDir;
use test_support::{EndedRank, Ranks, World, binary, fixture, train_on};

/// Adapter of a run on the tiny model, shared by all tests.
pub fn adapter() -> PathBuf {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        train_on(&fixture("tiny"), &fixture("messages.tsv"), folder.path()).succeeded();
        folder
    });
    run.path().join("adapter")
}

/// Writes a Parquet file with this number of rows, from row `first`.
pub fn write_parquet(path: &Path, first: usize, rows: usize, rows_per_group: usize) {
    let words = ["free", "prize", "dinner", "home", "call", "now", ""];
    let text = |row: usize| format!("{} {} {row}", words[row % 7], words[row / 7 % 7]);
    let ids: Vec<i64> = (first..first + rows).map(|row| row as i64).collect();
    let texts: Vec<String> = (first..first + rows).map(text).collect();
    let columns: [Column; 2] =
        [Series::new("id".into(), ids).into(), Series::new("text".into(), texts).into()];
    let mut frame = DataFrame::new(rows, columns.to_vec()).unwrap();
    let writer = ParquetWriter::new(File::create(path).unwrap());
    writer.with_row_group_size(Some(rows_per_group)).finish(&mut frame).unwrap();
}

/// Arguments of `predict`.
pub fn predict(input: &Path, output: &Path, options: &str) -> Vec<String> {
    let paths = [("--adapter", adapter().as_path()), ("--input", input), ("--output", output)]
        .into_iter()
        .flat_map(|(name, path)| [name.to_owned(), path.display().to_string()])
        .collect::<Vec<_>>();
    let options = options.split_whitespace().map(String::from);
    ["predict".to_owned()].into_iter().chain(paths).chain(options).collect()
}

/// Runs `gpt2-lora` with variables of the environment.
pub fn run(arguments: Vec<String>, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary("gpt2-lora"));
    command.args(arguments).env("OMP_NUM_THREADS", "1").envs(variables.iter().copied());
    command.output().unwrap()
}

/// Last line on standard error of a command that succeeded and printed nothing else.
#[track_caller]
pub fn closing_line(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(output.stdout.is_empty());
    stderr.lines().last().unwrap().to_owned()
}

#[track_caller]
fn error(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    stderr.lines().last().unwrap().to_owned()
}

/// Parts in their order.
pub fn parts(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let is_part = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("part-");
    let mut parts: Vec<PathBuf> = entries.filter(is_part).collect();
    parts.sort();
    parts
}

pub fn read_parquet(path: &Path) -> DataFrame {
    ParquetReader::new(File::open(path).unwrap()).finish().unwrap()
}

/// Asserts that two directories have the same parts, all of them and byte for byte.
#[track_caller]
pub fn assert_same_parts(directory: &Path, expected: &Path) {
    let names = |directory: &Path| {
        let parts = parts(directory);
        parts.iter().map(|part| part.file_name().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(directory), names(expected));
    for name in names(expected) {
        let [bytes, expected] = [directory, expected].map(|it| fs::read(it.join(&name)).unwrap());
        assert!(bytes == expected, "{}", name.display());
    }
    assert!(directory.join("_SUCCESS").exists());
}

/// Asserts that parts have the rows of a table in their order. The batches of a part may be others,
/// which changes the last bit of a confidence.
#[track_caller]
pub fn assert_same_rows(directory: &Path, table: &Path) {
    let parts = parts(directory);
    let (mut rows, expected) = (read_parquet(&parts[0]), read_parquet(table));
    for part in &parts[1..] {
        rows.vstack_mut(&read_parquet(part)).unwrap();
    }
    assert_eq!(rows.height(), expected.height());
    for name in ["id", "text", "predicted"] {
        let [values, expected] = [&rows, &expected].map(|it| it.column(name).unwrap());
        assert!(values.equals_missing(expected), "{name}");
    }
    let [values, expected] = [&rows, &expected].map(|it| it.column("confidence").unwrap());
    for (value, expected) in values.f64().unwrap().iter().zip(expected.f64().unwrap().iter()) {
        assert_eq!(value.is_some(), expected.is_some());
        let difference = value.unwrap_or_default() - expected.unwrap_or_default();
        assert!(difference.abs() < 1e-6, "{value:?} {expected:?}");
    }
}

/// Twelve Parquet files of 300 rows.
struct Twelve {
    folder: TempDir,
}

impl Twelve {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        for file in 0..12 {
            let path = folder.path().join(format!("in/{file:02}.parquet"));
            write_parquet(&path, file * 300, 300, 100);
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, output: &str, options: &str) -> Vec<String> {
        predict(&self.path("in"), &self.path(output), options)
    }

    /// Parts of a single process.
    fn scored(&self) -> PathBuf {
        closing_line(&run(self.arguments("single/", ""), &[]));
        self.path("single")
    }
}

#[test]
fn parts_have_the_rows_of_one_file_and_are_kept() {
    let twelve = Twelve::new();
    closing_line(&run(twelve.arguments("table.parquet", ""), &[]));
    let line = closing_line(&run(twelve.arguments("out/", ""), &[]));
    assert!(line.starts_with("wrote 12 parts (3,600 rows) into "), "{line}");
    let name = |part: usize| twelve.path(&format!("out/part-{part:05}-of-00012.parquet"));
    assert_eq!(parts(&twelve.path("out")), (0..12).map(name).collect::<Vec<_>>());
    assert_same_rows(&twelve.path("out"), &twelve.path("table.parquet"));

    let removed = [2, 7].map(|part| parts(&twelve.path("out"))[part].clone());
    let bytes = removed.each_ref().map(|part| fs::read(part).unwrap());
    removed.iter().for_each(|part| fs::remove_file(part).unwrap());
    // Of a process that was killed.
    fs::write(twelve.path("out/.part-00002-of-00012.parquet.abc"), "half").unwrap();
    let line = closing_line(&run(twelve.arguments("out", ""), &[]));
    assert!(line.starts_with("wrote 2 parts (600 rows) into "), "{line}");
    assert!(line.ends_with("; 10 were there already"), "{line}");
    assert_same_parts(&twelve.path("out"), &twelve.scored());
    assert_eq!(removed.each_ref().map(|part| fs::read(part).unwrap()), bytes);
}

#[test]
fn parts_have_the_columns_of_the_first_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.csv"), "id,text\n1,see you\n").unwrap();
    fs::write(path("b.csv"), "text,id\nwin now,2\n").unwrap();
    closing_line(&run(predict(&path("*.csv"), &path("scored/"), ""), &[]));
    let second = fs::read_to_string(&parts(&path("scored"))[1]).unwrap();
    assert!(second.starts_with("id,text,predicted,confidence\n2,win now,"), "{second}");
    // The pattern matches the parts too.
    let again = run(predict(&path("**/*.csv"), &path("scored/"), ""), &[]);
    let note = "note: 2 files of the output directory are not read as input";
    assert!(String::from_utf8_lossy(&again.stderr).contains(note), "{again:?}");
    assert!(closing_line(&again).ends_with("; 2 were there already"), "{again:?}");

    fs::write(path("b.csv"), "text,name\nwin now,x\n").unwrap();
    let error = error(&run(predict(&path("*.csv"), &path("other/"), ""), &[]));
    assert!(error.contains("b.csv") && error.contains("id"), "{error}");
}

#[test]
fn row_groups_are_divided_and_rows_are_numbered_in_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // Two row groups have more rows than a shard.
    write_parquet(&path("in.parquet"), 0, 40_000, 16_500);
    run(predict(&path("in.parquet"), &path("table.parquet"), ""), &[]);
    closing_line(&run(predict(&path("in.parquet"), &path("out/"), ""), &[]));
    assert_eq!(parts(&path("out")).len(), 2);
    assert_same_rows(&path("out"), &path("table.parquet"));

    let mut frame = read_parquet(&path("in.parquet"));
    let texts: Vec<String> = (0..40_000)
        .map(|row| if row == 35_000 { "a\0b".to_owned() } else { row.to_string() })
        .collect();
    frame.replace("text", Series::new("text".into(), texts).into()).unwrap();
    let writer = ParquetWriter::new(File::create(path("bad.parquet")).unwrap());
    writer.with_row_group_size(Some(16_500)).finish(&mut frame).unwrap();
    let error = error(&run(predict(&path("bad.parquet"), &path("bad/"), ""), &[]));
    assert!(error.contains("bad.parquet, row 35001: the text has a NUL byte"), "{error}");
    assert_eq!(parts(&path("bad")).len(), 1, "the part before it is kept");
    assert!(!path("bad/_SUCCESS").exists());
}

#[test]
fn text_formats_have_a_part_per_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("in")).unwrap();
    fs::write(path("in/a.csv"), "id,text\n1,see you\n2,win now\n").unwrap();
    fs::write(path("in/b.csv"), "id,text\n").unwrap();
    fs::write(path("in/c.csv"), "id,text\n3,\n").unwrap();
    for (format, suffix) in [("", "csv"), ("--format jsonl", "jsonl")] {
        let file = path(&format!("table.{suffix}"));
        run(predict(&path("in"), &file, ""), &[]);
        closing_line(&run(predict(&path("in"), &path(&format!("{suffix}/")), format), &[]));
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        let parts = parts(&path(suffix));
        assert!(parts.iter().all(|part| part.extension().is_some_and(|it| it == suffix)));
        let mut lines = String::new();
        for (number, part) in parts.iter().enumerate() {
            let header = usize::from(number > 0 && suffix == "csv");
            let part = text(part);
            lines.extend(part.split_inclusive('\n').skip(header));
        }
        assert_eq!((parts.len(), lines), (3, text(&file)));
    }
}

/// Rows that a rank or a task reports.
fn reported(line: &str) -> usize {
    let (_, rest) = line.split_once('(').unwrap();
    rest.split(' ').next().unwrap().replace(',', "").parse().unwrap()
}

#[test]
fn processes_share_the_parts() {
    let twelve = Twelve::new();
    let single = twelve.scored();
    let ranks = Ranks::start("gpt2-lora", 3, |_| twelve.arguments("out/", ""));
    let mut rows = 0;
    for EndedRank { status, stdout, stderr } in ranks.wait_for_all() {
        assert!(status.success() && stdout.is_empty(), "{stderr}");
        rows += reported(stderr.lines().last().unwrap());
    }
    // The last parts may be scored twice, but each is in the directory once.
    assert!(rows >= 3600, "{rows}");
    assert_same_parts(&twelve.path("out"), &single);
}

#[test]
fn tasks_of_an_array_job_have_fixed_parts() {
    let twelve = Twelve::new();
    let single = twelve.scored();
    let variables = [("SLURM_ARRAY_TASK_COUNT", "3"), ("SLURM_ARRAY_TASK_MIN", "1")];
    for (id, ending) in [
        ("1", "; 8 are missing, which other tasks write"),
        ("1", "; 4 were there already; 8 are missing, which other tasks write"),
        ("3", "; 4 are missing, which other tasks write"),
        ("2", "out/"),
    ] {
        assert!(!twelve.path("out/_SUCCESS").exists());
        let variables = [&variables[..], &[("SLURM_ARRAY_TASK_ID", id)]].concat();
        let line = closing_line(&run(twelve.arguments("out/", ""), &variables));
        assert!(line.ends_with(ending), "{line}");
        assert!(line.starts_with("wrote 4 parts (1,200 rows)") || line.contains("already"));
    }
    assert_same_parts(&twelve.path("out"), &single);

    let index = ("JOB_COMPLETION_INDEX", "0");
    let error = error(&run(twelve.arguments("kubernetes/", ""), &[index]));
    assert!(error.contains("set JOB_COMPLETIONS to the number of tasks"), "{error}");
    let variables = [index, ("JOB_COMPLETIONS", "6")];
    let line = closing_line(&run(twelve.arguments("kubernetes/", ""), &variables));
    assert!(line.starts_with("wrote 2 parts") && line.contains("; 10 are missing"), "{line}");
}

#[test]
fn changed_inputs_and_options_are_refused() {
    let world = World::new();
    let first = "predict --adapter adapter --model model --input data.csv --output out/";
    assert!(world.succeeds_or_refuses(first));
    let remedy = "continue with the same command and files, or give --output another directory";
    for (change, expected) in [
        ("--probabilities", "--probabilities: expected false as in _manifest.json, got true"),
        ("--format jsonl", "--format: expected csv as in _manifest.json, got jsonl"),
        ("--separator ,", "--separator: expected the default as in _manifest.json, got ,"),
        ("--on-long-text error", "--on-long-text: expected truncate"),
    ] {
        world.refuses(&format!("{first} {change}"), &["out/: ", expected, remedy]);
    }
    let two = "predict --adapter adapter --model model --input data.csv answers.csv --output out/";
    world.write("answers.csv", "text\na\n");
    world.refuses(two, &["number of input files: expected 1 as in _manifest.json, got 2"]);
    let data = String::from_utf8(world.read("data.csv")).unwrap();
    world.write("data.csv", data.replacen("see", "sea", 1));
    world.refuses(first, &["input file data.csv: expected ", "with the digest", remedy]);
    world.write("data.csv", data);
    assert!(world.succeeds_or_refuses(first));

    world.change("adapter/gpt2_lora.json", "\"labels\": [", "\"labels\":  [");
    world.refuses(first, &["out/: adapter: expected the digest", remedy]);
    world.write("out/_manifest.json", "{}");
    world.refuses(first, &["out/_manifest.json: invalid manifest: missing field"]);
}

#[test]
fn other_files_and_destinations_are_refused() {
    let world = World::new();
    let to = |output: &str| {
        format!("predict --adapter adapter --model model --input data.csv --output {output}")
    };
    let remedy = "give --output another directory";
    world.refuses(
        &to("report"),
        &["report: expected an empty directory", "evaluation.json", remedy],
    );
    assert!(world.succeeds_or_refuses(&to("out/")));
    world.write("out/notes.txt", "mine");
    world.refuses(&to("out/"), &["out/: ", "got the file notes.txt", remedy]);
    world.refuses(&to("data.csv/"), &["data.csv"]);
    world.refuses(
        "predict --adapter adapter --model model --input - --output new/",
        &["standard input: a pipe cannot be divided into shards, expected a file"],
    );
    world.refuses(
        "predict --adapter adapter --model model --input data.csv --text-column x --output new/",
        &["x"],
    );
}

#[test]
fn several_processes_need_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let input = fixture("messages.tsv");
    for output in ["-".into(), folder.path().join("out.csv")] {
        let ranks = Ranks::start("gpt2-lora", 2, |_| predict(&input, &output, ""));
        for ended in ranks.wait_for_all() {
            let expected = "2 processes cannot write one output; give --output a directory";
            assert!(ended.error().contains(expected), "{}", ended.error());
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn processes_that_differ_are_named_before_a_part_is_written() {
    let twelve = Twelve::new();
    let options = |rank: usize| if rank == 1 { "--probabilities" } else { "" };
    let ranks = Ranks::start("gpt2-lora", 3, |rank| twelve.arguments("out/", options(rank)));
    for ended in ranks.wait_for_all() {
        let expected = "error: options: rank 1 differs from the other ranks";
        assert!(ended.error().starts_with(expected), "{}", ended.error());
    }
    assert!(!twelve.path("out").exists());
}

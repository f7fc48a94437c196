//! Several files, patterns, directories and pipes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dataset::{
    LabeledFiles, PreparedSplit, Result, SplitConfig, TableOptions, TableReader, TableWriter,
    expand,
};

use crate::tables::{none, open};

fn csv(from: usize, to: usize) -> String {
    let row = |row: usize| format!("text {row},{}\n", ["ham", "spam"][row % 2]);
    format!("text,label\n{}", (from..to).map(row).collect::<String>())
}

/// Copies a table to Parquet.
fn to_parquet(from: &Path, to: &Path) {
    let mut reader = open(from, &none(), true).unwrap();
    let mut writer = TableWriter::create(to, None).unwrap();
    while let Some(chunk) = reader.next_chunk(100).unwrap() {
        writer.write(&chunk, &[]).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn files_patterns_and_directories_are_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("shards")).unwrap();
    for (number, name) in ["a.csv", "b.csv"].iter().enumerate() {
        fs::write(path(name), csv(10 * number, 10 * number + 10)).unwrap();
        to_parquet(&path(name), &path(&format!("shards/part-{number}.parquet")));
    }
    for other in ["shards/_SUCCESS", "shards/.hidden.csv", "shards/notes.md"] {
        fs::write(path(other), "").unwrap();
    }
    let all = LabeledFiles { paths: vec![path("a.csv"), path("b.csv")], ..Default::default() };
    let expected = all.read().unwrap();
    assert_eq!(expected.examples().len(), 20);
    assert_eq!(expected.examples()[15].text, "text 15");
    assert_eq!(expected.examples()[15].row, 15);
    assert!(
        expected.notes()[0].contains("2 files are read as one table"),
        "{:?}",
        expected.notes()
    );
    for paths in [
        vec![path("*.csv")],
        vec![path("shards")],
        vec![path("shards/part-?.parquet")],
        vec![path("a.csv"), path("shards/part-1.parquet")],
    ] {
        let data = LabeledFiles { paths, ..Default::default() }.read().unwrap();
        assert_eq!(data.examples(), expected.examples());
    }
    assert_eq!(
        expand(&[path("*.csv"), path("absent.csv")]).unwrap(),
        [path("a.csv"), path("b.csv"), path("absent.csv")]
    );
    for (given, reason) in [("no-*.csv", "no file matches"), ("shards/empty", "has no CSV")] {
        let _ = fs::create_dir(path("shards/empty"));
        let error = expand(&[path(given)]).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(given), "{error}");
    }
    // An error names the file and its line.
    fs::write(path("c.csv"), "text,label\na,b,c\n").unwrap();
    let error = LabeledFiles { paths: vec![path("?.csv")], ..Default::default() }.read();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("c.csv, line 2: it has 3 cells"), "{error}");
    // The checksum is of all files, in their order.
    let sum = |paths: [&str; 2]| {
        let paths = paths.map(path).to_vec();
        LabeledFiles { paths, ..Default::default() }.sha256().unwrap()
    };
    assert_ne!(sum(["a.csv", "b.csv"]), sum(["b.csv", "a.csv"]));
    assert_eq!(sum(["a.csv", "b.csv"]), sum(["a.csv", "b.csv"]));
}

#[test]
fn files_with_other_columns_are_not_written_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.csv"), "id,text\n1,a\n").unwrap();
    fs::write(path("b.csv"), "text\nb\n").unwrap();
    let paths: Vec<PathBuf> = vec![path("a.csv"), path("b.csv")];
    let mut reader = TableReader::open_all(&paths, &TableOptions::default(), false).unwrap();
    let mut writer = TableWriter::create(path("out.csv"), None).unwrap();
    writer.write(&reader.next_chunk(9).unwrap().unwrap(), &[]).unwrap();
    let chunk = reader.next_chunk(9).unwrap().unwrap();
    assert_eq!((chunk.rows(), chunk.lines()), (0..1, &[2][..]));
    let error = writer.write(&chunk, &[]).unwrap_err().to_string();
    assert!(error.contains("b.csv: its columns are \"text\", but "), "{error}");
    assert!(error.contains("a.csv has the columns \"id\", \"text\""), "{error}");
}

/// Copies files as one table.
fn copy_all(inputs: &[PathBuf], to: &Path) -> Result<Vec<String>> {
    let mut reader = TableReader::open_all(inputs, &TableOptions::default(), false)?;
    let mut writer = TableWriter::create(to, None)?;
    while let Some(chunk) = reader.next_chunk(100)? {
        writer.write(&chunk, &[])?;
    }
    writer.finish()
}

#[test]
fn columns_of_several_files_may_be_in_another_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.csv"), "id,text,note\n1,a,x\n").unwrap();
    fs::write(path("b.tsv"), "note\ttext\tid\ny\tb\t2\n").unwrap();
    copy_all(&[path("b.tsv")], &path("b.parquet")).unwrap();
    for second in ["b.tsv", "b.parquet"] {
        copy_all(&[path("a.csv"), path(second)], &path("out.csv")).unwrap();
        let written = fs::read_to_string(path("out.csv")).unwrap();
        assert_eq!(written, "id,text,note\n1,a,x\n2,b,y\n");
        copy_all(&[path("a.csv"), path(second)], &path("out.parquet")).unwrap();
        copy_all(&[path("out.parquet")], &path("out.csv")).unwrap();
        assert_eq!(fs::read_to_string(path("out.csv")).unwrap(), written);
    }
    // The order distinguishes two columns of the same name.
    fs::write(path("c.csv"), "id,text,id\n1,a,x\n").unwrap();
    fs::write(path("d.csv"), "id,id,text\n1,x,a\n").unwrap();
    let error = copy_all(&[path("c.csv"), path("d.csv")], &path("out.csv")).unwrap_err();
    assert!(error.to_string().contains("d.csv: its columns are"), "{error}");
}

#[test]
fn integers_of_several_parquet_files_are_unified() {
    let fixture =
        |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables").join(name);
    let dir = tempfile::tempdir().unwrap();
    let (out, csv) = (dir.path().join("out.parquet"), dir.path().join("out.csv"));
    let [small, wide, huge, float] =
        ["int32.parquet", "int64.parquet", "huge.parquet", "double.parquet"].map(fixture);
    for (inputs, expected) in [
        ([&small, &wide], "text,number\na,1\nb,-2\nc,3\nd,\n"),
        ([&wide, &small], "text,number\nc,3\nd,\na,1\nb,-2\n"),
        ([&huge, &small], "text,number\ne,9007199254740993\na,1\nb,-2\n"),
    ] {
        copy_all(&inputs.map(Clone::clone), &out).unwrap();
        copy_all(std::slice::from_ref(&out), &csv).unwrap();
        assert_eq!(fs::read_to_string(&csv).unwrap(), expected);
    }
    for (inputs, types) in [
        ([&small, &huge], ["i64", "i32"]),
        ([&small, &float], ["f64", "i32"]),
        ([&float, &wide], ["i64", "f64"]),
    ] {
        let message = copy_all(&inputs.map(Clone::clone), &out).unwrap_err().to_string();
        let names = inputs.map(|path| path.file_name().unwrap().to_str().unwrap());
        for words in [names[0], names[1], types[0], types[1], "its column \"number\"", "convert"] {
            assert!(message.contains(words), "{words:?} is not in {message}");
        }
    }
}

#[test]
fn hidden_files_and_markers_are_left_out_of_patterns() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("day/_temporary")).unwrap();
    fs::create_dir_all(path("day/.git")).unwrap();
    let all = [
        "a.csv",
        ".a.csv",
        "._a.csv",
        "_a.csv",
        "_SUCCESS",
        ".a.csv.crc",
        "day/b.csv",
        "day/_temporary/c.csv",
        "day/.git/d.csv",
        "day/._b.csv",
    ];
    for name in all {
        fs::write(path(name), csv(0, 2)).unwrap();
    }
    for (pattern, expected) in [
        ("*", &["a.csv"][..]),
        ("*.csv", &["a.csv"]),
        ("?.csv", &["a.csv"]),
        ("**/*.csv", &["a.csv", "day/b.csv"]),
        ("day", &["day/b.csv"]),
        ("day/*", &["day/b.csv"]),
        // Named explicitly.
        (".a.*", &[".a.csv", ".a.csv.crc"]),
        ("_*.csv", &["_a.csv"]),
        ("day/_temporary/*.csv", &["day/_temporary/c.csv"]),
        (".a.csv", &[".a.csv"]),
    ] {
        let expected: Vec<PathBuf> = expected.iter().map(|name| path(name)).collect();
        assert_eq!(expand(&[path(pattern)]).unwrap(), expected, "{pattern}");
    }
    let error = expand(&[path("*SUCCESS")]).unwrap_err().to_string();
    assert!(error.contains("no file matches the pattern, files that begin with"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_once() {
    use std::process::Command;

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.csv"), csv(0, 40)).unwrap();
    to_parquet(&path("a.csv"), &path("a.parquet"));
    let config = SplitConfig::default();
    for name in ["a.csv", "a.parquet"] {
        let expected =
            PreparedSplit::new(&LabeledFiles::new(path(name)), &config, path("none")).unwrap();
        let pipe = path(&format!("pipe-{name}"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (from, to) = (path(name), pipe.clone());
        let writer = std::thread::spawn(move || fs::copy(from, to));
        let piped = PreparedSplit::new(&LabeledFiles::new(&pipe), &config, path("none")).unwrap();
        // Copying to a pipe fails at its end, where the mode would be set.
        let _ = writer.join().unwrap();
        assert_eq!(piped.split, expected.split);
        assert_eq!(piped.source_sha256, expected.source_sha256, "the checksum is of the content");
    }
}

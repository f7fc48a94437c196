//! Parts that are files already, and tables in other formats.

use std::{collections::BTreeMap, fs, path::PathBuf};

use dataset::{
    ClassRows, Columns, Data, Error, Format, MANIFEST_FILE, Prepared, Result, Source, SplitConfig,
    prepare,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::rows;

/// A folder with files of parts.
struct Dir(TempDir);

/// CSV of so many rows with the labels in turn.
fn csv(count: usize, labels: &[&str]) -> String {
    let row = |row: usize| format!("\"text, {row}\",{}\n", labels[row % labels.len()]);
    format!("text,label\n{}", (0..count).map(row).collect::<String>())
}

impl Dir {
    fn new() -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        fs::write(dir.path("train.csv"), csv(40, &["b", "a", "b"])).unwrap();
        fs::write(dir.path("held.csv"), csv(6, &["a", "b"])).unwrap();
        fs::write(dir.path("test.csv"), csv(9, &["b"])).unwrap();
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn data(&self, validation: Option<&str>) -> Data {
        Source::Given {
            train: self.path("train.csv"),
            validation: validation.map(|name| self.path(name)),
            test: self.path("test.csv"),
        }
        .into()
    }

    fn prepare(&self, validation: Option<&str>, config: &SplitConfig) -> Result<Prepared> {
        prepare(self.data(validation), config, self.path("out"))
    }
}

fn unbalanced() -> SplitConfig {
    SplitConfig { balance: false, ..SplitConfig::default() }
}

#[test]
fn given_parts_stay_as_they_are() {
    let dir = Dir::new();
    let prepared = dir.prepare(Some("held.csv"), &unbalanced()).unwrap();
    let split = &prepared.split;
    assert_eq!(split.labels, ["a", "b"]);
    assert_eq!(rows(&split.train), (0..40).collect::<Vec<_>>());
    assert_eq!(rows(&split.validation), (0..6).collect::<Vec<_>>());
    assert_eq!(rows(&split.test), (0..9).collect::<Vec<_>>(), "a test part may have one label");
    assert_eq!(split.train[3].text, "text, 3");
    assert_eq!([prepared.counts.read, prepared.counts.used()], [55, 55]);
    let class = |label: &str, [train, validation, test]: [usize; 3]| ClassRows {
        label: label.into(),
        train,
        validation,
        test,
    };
    assert_eq!(prepared.classes, [class("a", [13, 3, 0]), class("b", [27, 3, 9])]);

    let again = dir.prepare(Some("held.csv"), &unbalanced()).unwrap();
    assert!(again == Prepared { reused: true, ..prepared });
}

#[test]
fn the_validation_part_is_cut_off_if_it_is_not_given() {
    let dir = Dir::new();
    let split = dir.prepare(None, &unbalanced()).unwrap().split;
    // 0.1 / (0.7 + 0.1) of 40.
    assert_eq!([split.train.len(), split.validation.len(), split.test.len()], [35, 5, 9]);
    let mut all = [rows(&split.train), rows(&split.validation)].concat();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    assert_eq!(rows(&split.test), (0..9).collect::<Vec<_>>());
    let other = SplitConfig { seed: 5, ..unbalanced() };
    assert_ne!(rows(&dir.prepare(None, &other).unwrap().split.validation), rows(&split.validation));
    let stratified = SplitConfig { stratify: true, ..unbalanced() };
    let classes = dir.prepare(None, &stratified).unwrap().classes;
    assert_eq!([classes[0].validation, classes[1].validation], [2, 3], "of 13 and 27");
}

#[test]
fn balancing_is_for_the_training_part() {
    let dir = Dir::new();
    let prepared = dir.prepare(Some("held.csv"), &SplitConfig::default()).unwrap();
    assert_eq!(prepared.classes.iter().map(|class| class.train).collect::<Vec<_>>(), [13, 13]);
    assert_eq!(prepared.split.validation.len(), 6);
    assert_eq!(prepared.split.test.len(), 9);
    let mut used = rows(&prepared.split.train);
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 26);
}

#[test]
fn labels_that_training_does_not_know_are_named() {
    let dir = Dir::new();
    fs::write(dir.path("test.csv"), "text,label\nx,b\n,c\ny,c\n").unwrap();
    let error = dir.prepare(None, &unbalanced()).unwrap_err();
    assert!(matches!(error, Error::Row { row: 3, .. }));
    let message = error.to_string();
    assert!(message.contains("test.csv, row 3: its label \"c\" is none of the 2"), "{message}");
    assert!(message.contains("train.csv"), "{message}");
    assert!(!dir.path("out").exists());
}

#[test]
fn every_file_and_setting_counts_for_reuse() {
    let dir = Dir::new();
    let check = |validation, data: &dyn Fn(Data) -> Data, reused: bool| {
        let data = data(dir.data(validation));
        let prepared = prepare(&data, &unbalanced(), dir.path("out")).unwrap();
        assert_eq!(prepared.reused, reused);
    };
    let same = |data: Data| data;
    check(Some("held.csv"), &same, false);
    check(Some("held.csv"), &same, true);
    check(None, &same, false);
    check(None, &same, true);
    check(None, &|data| Data { format: Some(Format::Csv), ..data }, false);
    let columns = Columns { text: Some("text".into()), label: None };
    check(None, &|data| Data { columns: columns.clone(), ..data }, false);
    check(None, &|data| Data { columns: columns.clone(), ..data }, true);
    check(Some("held.csv"), &same, false);
    for name in ["train.csv", "held.csv", "test.csv"] {
        let changed = fs::read_to_string(dir.path(name)).unwrap().replacen("text, 1", "text, x", 1);
        fs::write(dir.path(name), changed).unwrap();
        check(Some("held.csv"), &same, false);
        check(Some("held.csv"), &same, true);
    }
}

#[test]
fn one_table_of_any_format_is_split() {
    let dir = tempfile::tempdir().unwrap();
    let line = |row: usize| match row {
        7 => "{\"body\":\" \",\"y\":1}\n".to_owned(),
        8 => "{\"body\":\"no label\"}\n".to_owned(),
        9 => "{\"body\":\"once\",\"y\":9}\n".to_owned(),
        _ => format!("{{\"body\":\"row {row}\",\"y\":{}}}\n", row % 2),
    };
    let path = dir.path().join("data.jsonl");
    fs::write(&path, (0..103).map(line).collect::<String>()).unwrap();
    let data = Data {
        source: Source::One(path),
        columns: Columns { text: Some("body".into()), label: Some("y".into()) },
        format: None,
    };
    let config = SplitConfig { stratify: true, ..unbalanced() };
    let prepared = prepare(&data, &config, dir.path().join("out")).unwrap();
    let counts = &prepared.counts;
    assert_eq!([counts.read, counts.empty_text, counts.without_label], [103, 1, 1]);
    assert_eq!(counts.singletons, ["9"]);
    assert_eq!(prepared.split.labels, ["0", "1", "9"]);
    let nine = &prepared.classes[2];
    assert_eq!([nine.train, nine.validation, nine.test], [1, 0, 0], "what is seen once is trained");
    let of_0 = &prepared.classes[0];
    assert_eq!([of_0.train, of_0.validation, of_0.test], [36, 5, 10], "of 51");

    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.path().join("out").join(MANIFEST_FILE)).unwrap())
            .unwrap();
    assert_eq!(manifest["columns"]["text"], "body");
    assert_eq!(manifest["counts"]["without_label"], 1);
    assert_eq!(manifest["settings"]["stratify"], true);
    let again = prepare(&data, &config, dir.path().join("out")).unwrap();
    assert_eq!(again, Prepared { reused: true, ..prepared });
}

#[test]
fn settings_of_older_files_are_read() {
    let older = r#"{"seed":1,"balance":true,"train":0.7,"validation":0.1,"quotes":"keep"}"#;
    let config: SplitConfig = serde_json::from_str(older).unwrap();
    assert_eq!(config, SplitConfig { seed: 1, ..SplitConfig::default() });
    let data: Data = serde_json::from_str(r#"{"source":{"one":"a.csv"}}"#).unwrap();
    assert_eq!(data, Data::from("a.csv"));
    let given = r#"{"source":{"given":{"train":"a","test":"b"}},"format":"jsonl"}"#;
    let given: BTreeMap<String, Value> = serde_json::from_str(given).unwrap();
    let data: Data = serde_json::from_value(serde_json::to_value(given).unwrap()).unwrap();
    assert_eq!(data.format, Some(Format::Jsonl));
}

//! Training, validation and test sets in separate files, and tables in other formats.

use std::{fs, path::PathBuf};

use dataset::{
    ClassRows, Columns, Error, Format, LabeledFiles, MANIFEST_FILE, PreparedSplit, Result,
    SplitConfig, TableOptions,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{assert_reused, prepare, rows};

/// A folder with a file for each set.
struct Dir(TempDir);

/// CSV of `count` rows with the labels in turn.
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

    fn files(&self, validation: Option<&str>) -> LabeledFiles {
        LabeledFiles {
            validation: validation.map(|name| self.path(name)),
            test: Some(self.path("test.csv")),
            ..LabeledFiles::new(self.path("train.csv"))
        }
    }

    fn prepare(&self, validation: Option<&str>, config: &SplitConfig) -> Result<PreparedSplit> {
        prepare(&self.files(validation), config, self.path("out"))
    }
}

fn unbalanced() -> SplitConfig {
    SplitConfig { balance: false, ..SplitConfig::default() }
}

#[test]
fn separate_files_keep_their_order() {
    let dir = Dir::new();
    let prepared = dir.prepare(Some("held.csv"), &unbalanced()).unwrap();
    let split = &prepared.split;
    assert_eq!(split.labels, ["a", "b"]);
    assert_eq!(rows(&split.train), (0..40).collect::<Vec<_>>());
    assert_eq!(rows(&split.validation), (0..6).collect::<Vec<_>>());
    assert_eq!(rows(&split.test), (0..9).collect::<Vec<_>>(), "a test set may have one label");
    assert_eq!(split.train[3].text, "text, 3");
    assert_eq!([prepared.counts.read, prepared.counts.used()], [55, 55]);
    let class = |label: &str, [train, validation, test]: [usize; 3]| ClassRows {
        label: label.into(),
        train,
        validation,
        test,
    };
    assert_eq!(prepared.split.class_rows(), [class("a", [13, 3, 0]), class("b", [27, 3, 9])]);

    let again = dir.prepare(Some("held.csv"), &unbalanced()).unwrap();
    assert_reused(&again, &prepared);
}

#[test]
fn the_validation_set_is_split_off_without_a_file() {
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
    let classes = dir.prepare(None, &stratified).unwrap().split.class_rows();
    assert_eq!([classes[0].validation, classes[1].validation], [2, 3], "of 13 and 27");
}

#[test]
fn only_the_training_set_is_balanced() {
    let dir = Dir::new();
    let prepared = dir.prepare(Some("held.csv"), &SplitConfig::default()).unwrap();
    assert_eq!(
        prepared.split.class_rows().iter().map(|class| class.train).collect::<Vec<_>>(),
        [13, 13]
    );
    assert_eq!(prepared.split.validation.len(), 6);
    assert_eq!(prepared.split.test.len(), 9);
    let mut used = rows(&prepared.split.train);
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 26);
}

#[test]
fn labels_missing_from_the_training_set_are_named() {
    let dir = Dir::new();
    fs::write(dir.path("test.csv"), "text,label\nx,b\n,c\ny,c\n").unwrap();
    let error = dir.prepare(None, &unbalanced()).unwrap_err();
    assert!(matches!(error, Error::UnknownLabel { row: 3, .. }));
    let message = error.to_string();
    assert!(
        message.contains("test.csv, row 3: unknown label \"c\"; the training file "),
        "{message}"
    );
    assert!(message.contains("train.csv"), "{message}");
    assert!(!dir.path("out").exists());
}

#[test]
fn every_changed_file_or_setting_prevents_reuse() {
    let dir = Dir::new();
    let check = |validation, change: &dyn Fn(LabeledFiles) -> LabeledFiles, reused: bool| {
        let files = change(dir.files(validation));
        let prepared = prepare(&files, &unbalanced(), dir.path("out")).unwrap();
        assert_eq!(prepared.reused, reused);
    };
    let same = |files: LabeledFiles| files;
    check(Some("held.csv"), &same, false);
    check(Some("held.csv"), &same, true);
    check(None, &same, false);
    check(None, &same, true);
    let with = |options: &TableOptions| {
        let options = options.clone();
        move |files| LabeledFiles { options: options.clone(), ..files }
    };
    check(None, &with(&TableOptions::default().format(Format::Csv)), false);
    let columns = Columns { text: Some("text".into()), label: None };
    check(None, &with(&TableOptions::with_columns(&columns)), false);
    check(None, &with(&TableOptions::with_columns(&columns)), true);
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
    let data = LabeledFiles::new(path).text("body").label("y");
    let config = SplitConfig { stratify: true, ..unbalanced() };
    let prepared = prepare(&data, &config, dir.path().join("out")).unwrap();
    let counts = &prepared.counts;
    assert_eq!([counts.read, counts.empty_text, counts.without_label], [103, 1, 1]);
    assert_eq!(counts.singletons, ["9"]);
    assert_eq!(prepared.split.labels, ["0", "1", "9"]);
    let nine = &prepared.split.class_rows()[2];
    assert_eq!([nine.train, nine.validation, nine.test], [1, 0, 0], "what is seen once is trained");
    let of_0 = &prepared.split.class_rows()[0];
    assert_eq!([of_0.train, of_0.validation, of_0.test], [36, 5, 10], "of 51");

    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.path().join("out").join(MANIFEST_FILE)).unwrap())
            .unwrap();
    assert_eq!(manifest["options"]["columns"]["text"], "body");
    assert_eq!(manifest["counts"]["without_label"], 1);
    assert_eq!(manifest["settings"]["stratify"], true);
    let again = prepare(&data, &config, dir.path().join("out")).unwrap();
    assert_reused(&again, &prepared);
}

#[test]
fn settings_of_older_files_are_read() {
    let older = r#"{"seed":1,"balance":true,"train":0.7,"validation":0.1,"quotes":"keep"}"#;
    let config: SplitConfig = serde_json::from_str(older).unwrap();
    assert_eq!(config, SplitConfig { seed: 1, ..SplitConfig::default() });
}

#[test]
fn a_validation_file_needs_a_test_file() {
    let dir = Dir::new();
    let files = LabeledFiles { test: None, ..dir.files(Some("held.csv")) };
    for error in [files.read().unwrap_err(), files.sha256().unwrap_err()] {
        let Error::ValidationWithoutTest { path } = &error else { panic!("{error:?}") };
        assert!(path.ends_with("held.csv"), "{error}");
    }
}

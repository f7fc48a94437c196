//! Files of a prepared split.

use std::{fs, path::PathBuf};

use dataset::{LabeledFiles, LabeledText, MANIFEST_FILE, PreparedSplit, SplitConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::prepare;

/// Directory with a source of 60 examples.
struct Dir {
    dir: TempDir,
}

impl Dir {
    fn new() -> Self {
        let dir = Self { dir: tempfile::tempdir().unwrap() };
        let line = |row: usize| {
            let label = if row.is_multiple_of(3) { "spam" } else { "ham" };
            let text =
                ["plain", "a, b", "\"quoted\"", "say \"hi\"", "", "  spaces\u{92} "][row % 6];
            format!("{label}\t{text}\n")
        };
        fs::write(dir.source(), (0..60).map(line).collect::<String>()).unwrap();
        dir
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source.tsv")
    }

    /// Path of a file of the prepared split.
    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("new/out").join(name)
    }

    fn prepare(&self, config: &SplitConfig) -> PreparedSplit {
        prepare(&LabeledFiles::new(self.source()), config, self.out("")).unwrap()
    }

    /// Prepares with the default settings and checks that the split is correct, and that its
    /// files are reused or rewritten.
    fn check(&self, reused: bool) {
        let prepared = self.prepare(&SplitConfig::default());
        let data = LabeledText::open(self.source()).unwrap().read().unwrap();
        assert_eq!(prepared.split, data.split(&SplitConfig::default()).unwrap());
        assert_eq!(prepared.reused, reused);
    }
}

#[test]
fn a_second_run_reuses_the_files() {
    let dir = Dir::new();
    dir.check(false);
    dir.check(true);
    let mut names: Vec<_> = fs::read_dir(dir.out(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [MANIFEST_FILE, "test.csv", "train.csv", "validation.csv"]);
}

#[test]
fn changed_settings_or_source_rewrite_the_files() {
    let dir = Dir::new();
    dir.check(false);
    for config in [
        SplitConfig { seed: 7, ..SplitConfig::default() },
        SplitConfig { balance: false, ..SplitConfig::default() },
        // JSON has to preserve this setting bit for bit.
        SplitConfig { train: 0.1 + 0.2, ..SplitConfig::default() },
        SplitConfig { quotes: dataset::Quotes::Strip, ..SplitConfig::default() },
    ] {
        assert!(!dir.prepare(&config).reused);
        assert!(dir.prepare(&config).reused);
    }
    dir.check(false);

    // One byte changes; the length stays.
    let changed = fs::read_to_string(dir.source()).unwrap().replacen("plain", "plane", 1);
    fs::write(dir.source(), changed).unwrap();
    dir.check(false);
    dir.check(true);
}

#[test]
fn damaged_files_are_rewritten() {
    let dir = Dir::new();
    dir.check(false);
    for name in ["train.csv", "validation.csv", "test.csv", MANIFEST_FILE] {
        let whole = fs::read(dir.out(name)).unwrap();
        fs::write(dir.out(name), &whole[..whole.len() / 2]).unwrap();
        dir.check(false);
        assert_eq!(fs::read(dir.out(name)).unwrap(), whole, "{name}");
        fs::remove_file(dir.out(name)).unwrap();
        dir.check(false);
        dir.check(true);
    }
}

#[test]
fn inconsistent_manifest_is_ignored() {
    let dir = Dir::new();
    dir.check(false);
    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.out(MANIFEST_FILE)).unwrap()).unwrap();
    let damage = |change: fn(&mut Value)| {
        let mut damaged = manifest.clone();
        change(&mut damaged);
        fs::write(dir.out(MANIFEST_FILE), damaged.to_string()).unwrap();
        dir.check(false);
    };
    damage(|manifest| manifest["version"] = 0.into());
    damage(|manifest| drop(manifest["train"]["rows"].as_array_mut().unwrap().pop()));
    damage(|manifest| manifest["labels"]["spam"] = 2.into());
    damage(|manifest| drop(manifest["labels"].as_object_mut().unwrap().remove("spam")));
}

#[test]
fn manifest_names_its_sources() {
    let dir = Dir::new();
    let prepared = dir.prepare(&SplitConfig::default());
    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.out(MANIFEST_FILE)).unwrap()).unwrap();
    assert_eq!(manifest["source_sha256"], prepared.source_sha256.as_str());
    assert_eq!(manifest["settings"]["seed"], 123);
    assert_eq!(manifest["settings"]["quotes"], "keep");
    assert_eq!(manifest["labels"], serde_json::json!({ "ham": 0, "spam": 1 }));
    assert_eq!(manifest["test"]["file"], "test.csv");
    let row = manifest["test"]["rows"][0].as_u64().unwrap() as usize;
    assert_eq!(row, prepared.split.test[0].row);
}

#[test]
fn unreadable_and_unwritable_files_are_named() {
    let dir = Dir::new();
    let config = SplitConfig::default();
    let absent = LabeledFiles::new(dir.dir.path().join("absent"));
    let error = prepare(&absent, &config, dir.out("")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read ") && error.contains("absent"), "{error}");
    assert!(!dir.out("").exists(), "nothing is written when there is nothing to read");

    // A file in the place of the directory.
    let error = prepare(&LabeledFiles::new(dir.source()), &config, dir.source()).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    assert!(error.to_string().contains("source.tsv"), "{error}");
}

//! Every command builds the same variant of every dependency, so that nothing is compiled
//! twice: `cargo run -p trainer` after `cargo xtask quickstart`, for example.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

/// Packages that are not built by a documented command and may differ.
const EXCEPT: [&str; 5] = [
    // These depend on few crates and are meant to stay so.
    "storage",
    "test-support",
    "unified-features",
    // Their benchmarks (divan) want fewer features of clap than the programs.
    "gpt2-model",
    "kernels",
];

fn cargo(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    let output = command.args(arguments).arg("--locked").current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Features of each dependency. One that build scripts use too may have two sets.
fn features(selection: &[&str], edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let format = ["tree", "--prefix=none", "--format={p}|{f}", "--edges", edges];
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in cargo(&[&format, selection].concat()).lines() {
        // Packages that were listed before are marked; empty lines separate trees.
        let line = line.trim_end_matches(" (*)");
        let Some((package, features)) = line.split_once('|') else { continue };
        // Packages of the workspace are followed by their path.
        if !package.contains("(/") {
            all.entry(package.to_owned()).or_default().insert(features.to_owned());
        }
    }
    all
}

#[test]
fn every_selection_of_packages_has_the_same_dependency_features() {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version=1"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let packages: Vec<&str> = packages.map(|package| package["name"].as_str().unwrap()).collect();
    assert!(packages.contains(&"trainer") && packages.contains(&"xtask"), "{packages:?}");

    let everything = features(&["--workspace"], "normal,build,dev");
    let mut selections = vec![(vec!["--workspace"], "normal,build")];
    for package in packages.into_iter().filter(|package| !EXCEPT.contains(package)) {
        selections.push((vec!["--package", package], "normal,build"));
        selections.push((vec!["--package", package], "normal,build,dev"));
    }
    let mut differences = String::new();
    for (selection, edges) in selections {
        for (package, sets) in features(&selection, edges) {
            for set in sets.difference(&everything[&package]) {
                let expected = &everything[&package];
                differences +=
                    &format!("{selection:?} ({edges}): {package} {set:?}, expected {expected:?}\n");
            }
        }
    }
    assert!(
        differences.is_empty(),
        "add the missing features to crates/unified-features/Cargo.toml:\n{differences}"
    );
}

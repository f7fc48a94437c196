//! Hostile archives with a valid checksum.

use std::io::{Cursor, Write};

use zip::{ZipWriter, write::SimpleFileOptions};

use crate::cases::{Case, dataset_of, files_below, in_torch, libtorch_of, noise, zip};

/// Hostile archive: description, expected error, and function that makes it from honest
/// files.
type Hostile = (&'static str, &'static str, fn(&[(&str, &[u8])]) -> Vec<u8>);

/// The files, and one with another name.
fn with_name(files: &[(&str, &[u8])], name: &str) -> Vec<u8> {
    // A writer may mend names: it is given another one of the same length.
    let honest = "z".repeat(name.len());
    let mut all = files.to_vec();
    all.push((&honest, b"evil"));
    replace(zip(&all), honest.as_bytes(), name.as_bytes())
}

fn replace(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter_map(|(place, window)| (window == from).then_some(place))
        .collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to);
    }
    bytes
}

/// Changes the unpacked sizes that an archive declares.
fn that_says(mut bytes: Vec<u8>, change: fn(u32) -> u32) -> Vec<u8> {
    // Where sizes are, in the header of a file and in the table at the end.
    for (signature, place) in [(b"PK\x03\x04", 22), (b"PK\x01\x02", 24)] {
        let headers: Vec<usize> = bytes
            .windows(4)
            .enumerate()
            .filter_map(|(at, window)| (window == signature).then_some(at))
            .collect();
        for at in headers {
            let field = at + place..at + place + 4;
            let size = u32::from_le_bytes(bytes[field.clone()].try_into().unwrap());
            bytes[field].copy_from_slice(&change(size).to_le_bytes());
        }
    }
    bytes
}

fn link(files: &[(&str, &[u8])], name: &str) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    for (other, content) in files.iter().filter(|(other, _)| *other != name) {
        writer.start_file(*other, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.add_symlink(name, "/etc/passwd", options).unwrap();
    writer.finish().unwrap().into_inner()
}

const HOSTILE: [Hostile; 16] = [
    ("climbs", "it is refused", |files| with_name(files, "../../lib/evil.so")),
    ("climbs within", "it is refused", |files| with_name(files, "torch/../../lib/evil.so")),
    ("climbs and returns", "it is refused", |files| with_name(files, "torch/a/../lib/evil.so")),
    ("is absolute", "it is refused", |files| with_name(files, "/tmp/lib/evil.so")),
    ("has backslashes", "it is refused", |files| with_name(files, "..\\..\\lib\\evil.so")),
    ("has a drive", "it is refused", |files| with_name(files, "C:\\lib\\evil.so")),
    ("has a NUL", "it is refused", |files| with_name(files, "lib/evil.so\0.txt")),
    ("has no name", "it is refused", |files| with_name(files, ".")),
    ("is a link", "it is refused", |files| link(files, files[1].0)),
    ("has a link beside", "it is refused", |files| link(files, "torch/lib/evil.so")),
    ("has a name twice", "two files of one name", |files| with_name(files, files[1].0)),
    ("is a bomb, as it says", "bytes, more than", |files| {
        that_says(zip(&[files, &[("a", b"a"), ("b", b"b"), ("c", b"c")]].concat()), |_| {
            u32::MAX - 1
        })
    }),
    ("is a bomb, and does not say so", "larger than its declared", |files| {
        that_says(zip(files), |size| size / 2)
    }),
    ("is smaller", "not a complete archive", |files| that_says(zip(files), |size| size + 1)),
    ("is cut off", "not a complete archive", |files| {
        let mut bytes = zip(files);
        bytes.truncate(bytes.len() / 2);
        bytes
    }),
    ("is changed inside", "not a complete archive", |files| {
        let mut bytes = zip(files);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    }),
];

#[test]
fn hostile_archives_are_refused() {
    let content = noise(50_000);
    let collection: [(&str, &[u8]); 2] = [("readme", b"hello"), ("SMSSpamCollection", &content)];
    for (what, word, make) in HOSTILE {
        let cases: [Case; 2] = [
            libtorch_of(content.clone(), make(&in_torch(&content))),
            dataset_of(content.clone(), make(&collection)),
        ];
        for case in cases {
            let finished = case.run();
            assert!(!finished.output.status.success(), "an archive that {what} was taken");
            finished.failed(&[word]);
            case.is_absent();
            let evil = files_below(case.root.path()).into_iter();
            let mut evil = evil.filter(|(path, _)| path.to_string_lossy().contains("evil"));
            assert!(evil.next().is_none(), "an archive that {what} was unpacked");
        }
    }
    assert!(!std::path::Path::new("/tmp/lib/evil.so").exists());
}

#[test]
fn valid_archives_of_the_same_construction_are_accepted() {
    // So that what is refused above is refused for what is wrong with it.
    let content = noise(50_000);
    let collection: [(&str, &[u8]); 2] = [("readme", b"hello"), ("SMSSpamCollection", &content)];
    let make =
        |files: &[(&str, &[u8])]| that_says(with_name(files, "torch/odd..name"), |size| size);
    let wheel = libtorch_of(content.clone(), make(&in_torch(&content)));
    wheel.run().succeeded();
    wheel.is_complete();
    let archive = dataset_of(content.clone(), make(&collection));
    archive.run().succeeded();
    archive.is_complete();
}

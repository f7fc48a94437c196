//! Checkpoints that PyTorch wrote (`tests/fixtures/make_pickles.py`), and damaged ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::Value;
use tensor_files::{Error, FormatProblem, PickleProblem, StoredTensor, TensorFiles, find};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/pickles")
}

/// The elements of a tensor; half precision is decoded by hand.
fn values(tensor: &StoredTensor<'_>) -> Vec<f64> {
    let width = tensor.dtype.bitsize() / 8;
    let decode = |bytes: &[u8]| match tensor.dtype {
        Dtype::F32 => f32::from_le_bytes(bytes.try_into().unwrap()).into(),
        Dtype::I64 => i64::from_le_bytes(bytes.try_into().unwrap()) as f64,
        Dtype::BOOL => f64::from(bytes[0]),
        Dtype::BF16 => f32::from_le_bytes([0, 0, bytes[0], bytes[1]]).into(),
        Dtype::F16 => {
            let bits = u16::from_le_bytes(bytes.try_into().unwrap());
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            match exponent {
                0 => fraction * 2f64.powi(-24),
                exponent => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
            }
        }
        other => panic!("{other:?}"),
    };
    tensor.bytes.chunks_exact(width).map(decode).collect()
}

#[test]
fn tensors_are_those_that_pytorch_saved() {
    let golden: Value =
        serde_json::from_slice(&fs::read(fixtures().join("values.json")).unwrap()).unwrap();
    let golden = golden.as_object().unwrap();
    assert_eq!(golden.len(), 8);
    for (file, tensors) in golden {
        let files = TensorFiles::open(&fixtures().join(format!("{file}.bin"))).unwrap();
        let tensors = tensors.as_object().unwrap();
        let names: Vec<&str> = files.names().collect();
        let mut expected: Vec<&str> = tensors.keys().map(String::as_str).collect();
        expected.sort();
        assert_eq!(names, expected, "{file}");
        for (name, expected) in tensors {
            let tensor = files.get(name).unwrap();
            let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
            assert_eq!(tensor.shape, shape, "{file} {name}");
            let expected: Vec<f64> = serde_json::from_value(expected["values"].clone()).unwrap();
            assert_eq!(values(&tensor), expected, "{file} {name}");
        }
    }
}

/// Returns the problem of a file that is not read.
#[track_caller]
fn format_problem(file: &Path) -> FormatProblem {
    match TensorFiles::open(file) {
        Err(Error::Format { path, problem }) => {
            assert_eq!(path, file);
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn anything_but_tensors_is_refused_and_not_executed() {
    let foreign = |module: &str, name: &str| {
        let (module, name) = (module.to_owned(), name.to_owned());
        PickleProblem::ForeignName { module, name }.into()
    };
    for (file, expected) in [
        ("refused_code.bin", foreign("posix", "system")),
        ("refused_module.bin", foreign("torch.nn.modules.container", "Sequential")),
        ("refused_list.bin", PickleProblem::NotADictionary.into()),
        ("refused_legacy.bin", FormatProblem::LegacyPickle),
    ] {
        assert_eq!(format_problem(&fixtures().join(file)), expected, "{file}");
    }
    assert!(!Path::new("executed").exists());
}

/// Contents that are not weights.
#[test]
fn other_contents_are_named() {
    use FormatProblem as P;
    type Check = fn(&P) -> bool;

    let folder = tempfile::tempdir().unwrap();
    let index = "model.safetensors.index.json";
    let outside = r#"{"weight_map": {"a": "../model.safetensors"}}"#;
    let lfs = "version https://git-lfs.github.com/spec/v1\n";
    let absent = r#"{"weight_map": {"a": "absent.bin"}}"#;
    let cases: [(&str, &str, Check); 8] = [
        ("model.safetensors", lfs, |problem| *problem == P::LfsPointer),
        ("model.safetensors", "<!DOCTYPE html>", |problem| {
            matches!(problem, P::Safetensors { .. })
        }),
        ("model.bin", lfs, |problem| *problem == P::LfsPointer),
        ("model.bin", "PK\u{3}\u{4} not read", |problem| matches!(problem, P::Archive { .. })),
        ("model.bin", "\u{7f}", |problem| *problem == P::LegacyPickle),
        (index, "{}", |problem| matches!(problem, P::Index { .. })),
        (index, outside, |problem| matches!(problem, P::ShardPath { .. })),
        (
            index,
            absent,
            |problem| matches!(problem, P::MissingShards { missing: 1, shards: 1, first } if first == "absent.bin"),
        ),
    ];
    for (name, content, is_expected) in cases {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let problem = format_problem(&path);
        assert!(is_expected(&problem), "{name}: {problem}");
    }
}

#[test]
fn safetensors_go_before_pickles_and_whole_files_before_shards() {
    let folder = tempfile::tempdir().unwrap();
    let found = || find(folder.path(), &["model", "pytorch_model"]);
    assert_eq!(found(), None);
    for name in [
        "pytorch_model.bin.index.json",
        "pytorch_model.bin",
        "model.safetensors.index.json",
        "model.safetensors",
    ] {
        let path = folder.path().join(name);
        fs::write(&path, "").unwrap();
        assert_eq!(found(), Some(path));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is changed in a checkpoint, it is read or refused in one sentence.
    #[test]
    fn damage_never_panics(
        file in prop::sample::select(vec!["views", "module", "wrapped", "half", "plain"]),
        changes in prop::collection::vec((0usize..4096, any::<u8>()), 1..4),
        cut in prop::option::of(0usize..4096),
    ) {
        let mut bytes = fs::read(fixtures().join(format!("{file}.bin"))).unwrap();
        for (position, value) in changes {
            let position = position % bytes.len();
            bytes[position] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        fs::write(&path, &bytes).unwrap();
        match TensorFiles::open(&path) {
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.contains("model.bin") && !error.contains('\n'), "{}", error);
            }
            Ok(files) => {
                let tensors: BTreeMap<_, _> =
                    files.names().map(|name| (name, files.get(name).unwrap())).collect();
                for (name, tensor) in tensors {
                    let count: usize = tensor.shape.iter().product();
                    prop_assert_eq!(tensor.bytes.len(), count * tensor.dtype.bitsize() / 8, "{}", name);
                }
            }
        }
    }

    /// A pickle that refers to itself and repeats what it has costs no more than its length.
    #[test]
    fn any_instructions_are_read_or_refused(code in prop::collection::vec(
        prop::sample::select(b"()]}tasuebqhQRNK\x80\x85\x86\x87\x88\x94X\x8c\x00\x01\x02c.".to_vec()),
        0..200,
    )) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        archive.start_file("archive/data.pkl", stored).unwrap();
        std::io::Write::write_all(&mut archive, &code).unwrap();
        archive.finish().unwrap();
        if let Err(error) = TensorFiles::open(&path) {
            prop_assert!(error.to_string().contains("model.bin"), "{error}");
        }
    }
}

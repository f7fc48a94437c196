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
use tensor_files::{StoredTensor, TensorFiles, find};

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

#[test]
fn anything_but_tensors_is_refused_and_not_executed() {
    for (file, expected) in [
        ("refused_code.bin", "posix.system"),
        ("refused_module.bin", "torch.nn.modules.container.Sequential"),
        ("refused_list.bin", "not a dictionary of tensors"),
        ("refused_legacy.bin", "not a checkpoint of PyTorch 1.6 or newer"),
    ] {
        let error = TensorFiles::open(&fixtures().join(file)).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(file), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(!Path::new("executed").exists());
}

/// Contents that are not weights.
#[test]
fn other_contents_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content, expected) in [
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("model.safetensors", "<!DOCTYPE html>", "not a whole safetensors file"),
        ("model.bin", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("model.bin", "PK\u{3}\u{4} not read", "not a whole PyTorch checkpoint"),
        ("model.bin", "\u{7f}", "PyTorch 1.6"),
        ("model.safetensors.index.json", "{}", "not an index of weight files"),
        (
            "model.safetensors.index.json",
            r#"{"weight_map": {"a": "../model.safetensors"}}"#,
            "is not the name of a file beside it",
        ),
        ("model.safetensors.index.json", r#"{"weight_map": {"a": "absent"}}"#, "absent"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let error = TensorFiles::open(&path).unwrap_err().to_string();
        let file = if expected == "absent" { expected } else { name };
        assert!(error.contains(expected) && error.contains(file), "{error}");
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

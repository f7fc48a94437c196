//! Conversion of libtorch errors, and a snapshot of every error message of this crate,
//! `src/snapshots/error_messages.snap`. To update it: `INSTA_UPDATE=always cargo test -p
//! gpt2-model --lib error`, then review the difference.

use test_support::{assert_messages, messages};

use super::*;

fn errors() -> String {
    use Error as E;
    let path = || PathBuf::from("weights/gpt2/model.safetensors");
    let missing = |layer| TensorProblem::Missing { name: format!("h.{layer}.ln_1.bias") };
    messages! {
        elsewhere {
            E::Storage(_),
        }
        E::Config { .. } => E::Config {
            origin: "weights/gpt2/config.json".to_owned(), problem: ConfigProblem::Epsilon(0.0)
        },
        E::Format { .. } => E::Format {
            path: path(), problem: tensor_files::FormatProblem::LfsPointer.into()
        },
        E::Tensors { .. } => E::Tensors {
            path: path(), problems: (0..100).map(missing).collect()
        },
        E::TooLong { .. } => E::TooLong { length: 1025, context: 1024 },
        E::TokenId { .. } => E::TokenId { id: 50_257, vocab_size: 50_257 },
        E::Argument(_) => ArgumentError::NoClass.into(),
        E::NoCuda => E::NoCuda,
        E::NoDevice { .. } => E::NoDevice { number: 3, count: 1 },
        E::UnsupportedDType { .. } => E::UnsupportedDType {
            dtype: DType::Float16, device: Device::Cpu
        },
        E::Kernels(_) => Unsupported::Activation.into(),
        E::Kernel(_) => kernels::Error::Length {
            what: "gradient of GELU", expected: 8, got: 9
        }.into(),
        E::Thread(_) => E::Thread(std::io::Error::from(std::io::ErrorKind::WouldBlock)),
        E::OutOfMemory(_) => TchError::Torch("std::bad_alloc".to_owned()).into(),
        E::Torch(_) => TchError::Torch("shapes differ\nframe #0: c10::Error".to_owned()).into(),
    }
}

fn arguments() -> String {
    use ArgumentError as E;
    let name = || "h.0.attn.c_attn.weight".to_owned();
    messages! {
        E::Lengths { .. } => E::Lengths { rows: 2, tokens: 5, ids: 6 },
        E::EmptyRow => E::EmptyRow,
        E::Deviation { .. } => E::Deviation { deviation: f32::NAN, reason: "not finite".to_owned() },
        E::NoWeights { .. } => E::NoWeights { name: name() },
        E::UnknownParameter { .. } => E::UnknownParameter { name: name() },
        E::Shape { .. } => E::Shape {
            name: name(), expected: vec![768, 2304], shape: vec![2304, 768]
        },
        E::LabelCount { .. } => E::LabelCount { classes: 2, labels: 3 },
        E::HeadBias => E::HeadBias,
        E::NoClass => E::NoClass,
        E::NoLanguageModelHead => E::NoLanguageModelHead,
        E::EmptyPrompt => E::EmptyPrompt,
        E::Logits { .. } => E::Logits { tokens: 7 },
        E::Temperature(_) => E::Temperature(-1.0),
        E::TopK => E::TopK,
        E::TopP(_) => E::TopP(1.5),
        E::MinP(_) => E::MinP(-0.1),
        E::RepetitionPenalty(_) => E::RepetitionPenalty(0.0),
        E::BatchSize => E::BatchSize,
    }
}

fn formats() -> String {
    use FormatProblem as E;
    let tensor = || "h.0.attn.c_attn.weight".to_owned();
    messages! {
        elsewhere {
            E::File(_),
        }
        E::NotFinite { .. } => E::NotFinite { tensor: tensor() },
        E::DType { .. } => E::DType { tensor: tensor(), dtype: safetensors::Dtype::I64 },
        E::UnknownHeadTensor { .. } => E::UnknownHeadTensor { tensor: "score.bias".to_owned() },
        E::HeadShape { .. } => E::HeadShape { shape: vec![2, 16], width: 768 },
        E::OutOfRange { .. } => E::OutOfRange { tensor: tensor(), dtype: DType::Float16 },
        E::Serialize { .. } => E::Serialize { reason: "TensorInvalidInfo".to_owned() },
    }
}

fn unsupported() -> String {
    use Unsupported as E;
    let layer = || "h.0.attn.c_attn".to_owned();
    messages! {
        E::Device(_) => E::Device(Device::Cuda(0)),
        E::Activation => E::Activation,
        E::Kind { .. } => E::Kind { layer: layer(), kind: tch::Kind::Half },
        E::Layer { .. } => E::Layer { layer: layer() },
        E::Trained { .. } => E::Trained { parameter: "h.0.ln_1.weight".to_owned() },
    }
}

#[test]
fn messages_match_the_snapshot() {
    assert_messages! {
        "Error" => errors(),
        "ArgumentError" => arguments(),
        "FormatProblem" => formats(),
        "Unsupported" => unsupported(),
    }
}

#[test]
fn out_of_memory_of_the_kernels_is_recognized() {
    let error = Error::from(kernels::Error::Memory { bytes: 12 });
    assert_eq!(error.to_string(), "there is not enough memory: 12 bytes are missing");
}

fn message(text: &str) -> String {
    Error::from(TchError::Torch(text.to_owned())).to_string()
}

#[test]
fn the_cpp_stack_is_left_out() {
    let text = "\n mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)\nException raised from \
                meta at x.cpp:183\nframe #0: c10::Error::Error() + 0x58\n";
    assert_eq!(message(text), "libtorch: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)");
    assert_eq!(message(""), "libtorch: no message");
}

#[test]
fn out_of_memory_is_recognized() {
    let cpu = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't \
               allocate memory: you tried to allocate 4096 bytes. Error code 12 (Cannot \
               allocate memory)\nframe #0: c10::ThrowEnforceNotMet()\n";
    let cuda = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of \
                8.00 GiB of which 1.00 GiB is free.\nException raised from malloc at \
                CUDACachingAllocator.cpp:1437\nframe #0: c10::Error::Error()\n";
    let late = "Exception raised\nCUDA error: out of memory\nframe #0: x\n";
    let windows = "[enforce fail at alloc_cpu.cpp:115] data. DefaultCPUAllocator: not enough \
                   memory: you tried to allocate 8 bytes.";
    for (text, kept) in [
        (cpu, "you tried to allocate 4096 bytes"),
        (cuda, "Tried to allocate 2.00 GiB"),
        (late, "CUDA error: out of memory"),
        (windows, "you tried to allocate 8 bytes"),
        ("std::bad_alloc", "std::bad_alloc"),
        ("could not create a primitive", "could not create a primitive"),
    ] {
        let error = Error::from(TchError::Torch(text.to_owned()));
        assert!(matches!(error, Error::OutOfMemory(_)), "{error:?}");
        let message = error.to_string();
        for words in ["there is not enough memory", kept] {
            assert!(message.contains(words), "{words:?} is not in {message:?}");
        }
        assert!(!message.contains('\n') && !message.contains("frame #"), "{message}");
    }
}

//! Snapshot of every error message of this crate, `src/snapshots/error_messages.snap`. To update
//! it: `INSTA_UPDATE=always cargo test -p trainer --lib error`, then review the difference.

use std::path::Path;

use test_support::{assert_messages, messages};

use super::*;
use crate::{
    config::{Conflict, EntryError, Range},
    inference::{
        MetadataProblem, TensorProblem,
        scoring::{ArrayTaskError, ScoringError},
    },
    metrics::ClassificationError,
    reports::PlotError,
};

fn path(name: &str) -> PathBuf {
    Path::new(name).to_owned()
}

fn settings() -> String {
    use SettingsError as E;
    let option = || "lr".to_owned();
    let label = || "spam".to_owned();
    let problem = || EntryError::Unknown { option: "rnak".to_owned() };
    messages! {
        E::OutOfRange { .. } => E::OutOfRange {
            option: option(), expected: Range::NonNegative, value: "-1".to_owned()
        },
        E::File { .. } => E::File { path: path("run.toml"), line: 2, problem: problem() },
        E::ModelDefaults { .. } => E::ModelDefaults {
            path: path("weights/gpt2/fine_tuning.json"), problem: problem()
        },
        E::Entry(_) => E::Entry(problem()),
        E::NotUtf8 { .. } => E::NotUtf8 { path: path("a.csv") },
        E::NoEffect { .. } => E::NoEffect { option: "rank".to_owned(), requires: "--train lora" },
        E::Conflict(_) => E::Conflict(Conflict::SeedAndSeeds),
        E::ContinuedAdapter { .. } => E::ContinuedAdapter {
            option: "rank".to_owned(), expected: "8".to_owned(), value: "16".to_owned()
        },
        E::Pair { .. } => E::Pair { option: "rank-pattern", pair: "c_attn".to_owned() },
        E::MixedTargetModules => E::MixedTargetModules,
        E::OnlyHead { .. } => E::OnlyHead { head: "score".to_owned() },
        E::TooFewSeeds { .. } => E::TooFewSeeds { seeds: vec![5] },
        E::RepeatedSeed { .. } => E::RepeatedSeed { seed: 5 },
        E::UnknownLabel { .. } => E::UnknownLabel {
            label: "eggs".to_owned(), labels: vec!["ham".to_owned(), label()]
        },
        E::RepeatedLabel { .. } => E::RepeatedLabel { label: label() },
        E::ClassWeight { .. } => E::ClassWeight { label: label(), weight: -1.0 },
        E::LongerThanContext { .. } => E::LongerThanContext { value: 2000, context: 1024 },
        E::SamplePrompt { .. } => E::SamplePrompt { tokens: 1100, context: 1024 },
        E::TooManyCandidates { .. } => E::TooManyCandidates { value: 60_000, vocabulary: 50_257 },
        E::Vocabulary { .. } => E::Vocabulary {
            path: path("weights/other/config.json"), vocab_size: 32_000, expected: 50_257
        },
    }
}

fn checkpoints() -> String {
    use CheckpointError as E;
    messages! {
        E::Damaged(_) => E::Damaged("wrong checksum".to_owned()),
        E::Tensor { .. } => E::Tensor { name: "value.3".to_owned(), shape: vec![16, 768] },
        E::Settings { .. } => E::Settings { changed: vec!["lr was 0.1".to_owned()] },
        E::Input { .. } => E::Input { input: "model" },
        E::Metrics { .. } => E::Metrics { path: path("runs/a/metrics.jsonl") },
    }
}

fn entries() -> String {
    use EntryError as E;
    let option = || "lr".to_owned();
    messages! {
        E::Syntax(_) => E::Syntax("key with no value, expected `=`".to_owned()),
        E::Unknown { .. } => E::Unknown { option: option() },
        E::NotFinite { .. } => E::NotFinite { option: option() },
        E::Empty { .. } => E::Empty { option: option() },
        E::Invalid { .. } => E::Invalid {
            option: option(), reason: "invalid type: string \"fast\", expected f64".to_owned()
        },
    }
}

fn conflicts() -> String {
    use Conflict as E;
    messages! {
        E::SeedAndSeeds => E::SeedAndSeeds,
        E::StepwiseWithoutPadding => E::StepwiseWithoutPadding,
        E::StepwiseDType => E::StepwiseDType,
        E::StepwiseLanguageModel => E::StepwiseLanguageModel,
        E::MixedData { .. } => E::MixedData { table: path("a.jsonl"), text: path("b.txt") },
        E::KernelsLanguageModel => E::KernelsLanguageModel,
        E::KernelsTrain => E::KernelsTrain,
        E::KernelsMixedPrecision => E::KernelsMixedPrecision,
        E::KernelsDora => E::KernelsDora,
        E::KernelsPadding => E::KernelsPadding,
        E::KernelsCheckpointing => E::KernelsCheckpointing,
        E::KernelsDType => E::KernelsDType,
        E::ValidationWithoutTest => E::ValidationWithoutTest,
        E::PissaDType => E::PissaDType,
        E::CheckpointingDropout => E::CheckpointingDropout,
        E::CheckpointingPadding => E::CheckpointingPadding,
        E::PoolingPadding => E::PoolingPadding,
        E::SeedsOfPipe { .. } => E::SeedsOfPipe { path: path("-") },
    }
}

fn ranges() -> String {
    messages! {
        Range::Count(_) => Range::Count(1024),
        Range::Finite => Range::Finite,
        Range::Positive => Range::Positive,
        Range::NonNegative => Range::NonNegative,
        Range::Fraction => Range::Fraction,
        Range::OpenFraction => Range::OpenFraction,
        Range::BelowOne => Range::BelowOne,
    }
}

fn not_found() -> String {
    use NotFoundError as E;
    let directory = || path("weights/gpt2");
    messages! {
        E::Snapshot { .. } => E::Snapshot { directory: path("models--me--small") },
        E::ManySnapshots { .. } => E::ManySnapshots {
            directory: path("models--me--small"), snapshots: 2
        },
        E::PublishedModel { .. } => E::PublishedModel {
            directory: directory(), file: "config.json", model: "gpt2".to_owned()
        },
        E::HubModel { .. } => E::HubModel {
            repository: "me/small".to_owned(), directory: path("weights/me--small"),
            file: "config.json"
        },
        E::Adapter { .. } => E::Adapter { directory: path("runs/a/adapter") },
        E::Model { .. } => E::Model { directory: path("some/model"), file: "config.json" },
        E::Data { .. } => E::Data { path: path("nowhere.csv") },
        E::DataNotAFile { .. } => E::DataNotAFile { path: path("texts") },
        E::DefaultData { .. } => E::DefaultData {
            path: path("datasets/sms-spam/SMSSpamCollection")
        },
    }
}

fn run_directory() -> String {
    use RunDirectoryError as E;
    let out = || path("runs/a");
    messages! {
        E::NotADirectory { .. } => E::NotADirectory { path: out() },
        E::Locked { .. } => E::Locked { path: out() },
        E::Foreign { .. } => E::Foreign { path: out(), name: "train.csv" },
        E::HasResults { .. } => E::HasResults { path: out() },
        E::Unfinished { .. } => E::Unfinished { path: out() },
        E::Finished { .. } => E::Finished { path: out() },
        E::OtherSettings { .. } => E::OtherSettings {
            path: out(), changed: vec!["lr was 0.1".to_owned(), "dora was not given".to_owned()]
        },
        E::ReplacesInput { .. } => E::ReplacesInput { file: path("runs/a/train.csv"), out: out() },
        E::NoFreeName { .. } => E::NoFreeName { runs: path("runs") },
        E::ForeignSeedsReport { .. } => E::ForeignSeedsReport { path: path("runs/a/seeds.json") },
        E::DamagedReport { .. } => E::DamagedReport {
            path: path("runs/a/seed-1/report.json"), reason: "EOF at line 3".to_owned()
        },
        E::OtherInput { .. } => E::OtherInput { path: out(), input: "dataset" },
        E::NoSettings { .. } => E::NoSettings { path: out() },
    }
}

fn adapter() -> String {
    use AdapterError as E;
    let directory = || path("runs/a/adapter");
    let metadata = || path("runs/a/adapter/gpt2_lora.json");
    let weights = || path("runs/a/adapter/adapter_model.safetensors");
    let labels = || vec!["ham".to_owned(), "spam".to_owned()];
    messages! {
        E::Missing { .. } => E::Missing { directory: path("runs/a/adapter") },
        E::NotADirectory { .. } => E::NotADirectory { path: path("notes.txt") },
        E::NotAnAdapter { .. } => E::NotAnAdapter {
            directory: directory(),
            advice: "give --adapter the directory adapter of a run".to_owned(),
        },
        E::CompleteModel { .. } => E::CompleteModel {
            directory: path("runs/a/model"), advice: "leave out --model"
        },
        E::TaskType { .. } => E::TaskType {
            path: path("adapter_config.json"), task_type: "TOKEN_CLS".to_owned()
        },
        E::Metadata { .. } => E::Metadata {
            path: metadata(), problem: MetadataProblem::NoLabels
        },
        E::Tensor { .. } => E::Tensor {
            path: weights(),
            problem: TensorProblem::HeadBias { name: "score.bias", classes: 2 },
        },
        E::NoHead { .. } => E::NoHead { directory: path("weights/gpt2") },
        E::NoHeadInBase { .. } => E::NoHeadInBase { path: weights(), base: path("weights/gpt2") },
        E::Mismatch { .. } => E::Mismatch {
            directory: directory(), reason: "no layer matches h.12.attn.c_attn".to_owned()
        },
        E::UnnamedBase { .. } => E::UnnamedBase { directory: directory() },
        E::MissingBase { .. } => E::MissingBase {
            directory: directory(), base: "gpt2".to_owned(), reason: "not found".to_owned()
        },
        E::OtherTokenizer { .. } => E::OtherTokenizer {
            directory: "runs/a/adapter".into(),
            expected: Some("0123456789abcdef".to_owned()),
            base: "weights/gpt2".into(),
            given: None,
        },
        E::OtherBase { .. } => E::OtherBase {
            directory: directory(),
            expected: "0123456789abcdef".to_owned(),
            base: path("weights/gpt2"),
            given: "fedcba9876543210".to_owned(),
            advice: "give --model the model that it was trained on (gpt2)".to_owned(),
            metadata: metadata(),
        },
        E::LabelsKnown { .. } => E::LabelsKnown { path: metadata(), labels: labels() },
        E::EmptyLabel { .. } => E::EmptyLabel { number: 2 },
        E::RepeatedLabel { .. } => E::RepeatedLabel { label: "spam".to_owned() },
        E::LabelCount { .. } => E::LabelCount { directory: directory(), classes: 2, labels: 3 },
        E::OtherLabels { .. } => E::OtherLabels {
            directory: directory(), expected: labels(), given: vec!["eggs".to_owned()]
        },
        E::LanguageModel { .. } => E::LanguageModel { directory: path("weights/gpt2") },
        E::LanguageModelAdapter { .. } => E::LanguageModelAdapter { directory: directory() },
        E::Classifier { .. } => E::Classifier { directory: directory() },
        E::UnknownName { .. } => E::UnknownName { name: "x".to_owned(), known: labels() },
        E::HeadBias => E::HeadBias,
        E::ForeignEvaluation { .. } => E::ForeignEvaluation { path: path("evaluation.html") },
    }
}

fn metadata() -> String {
    use MetadataProblem as E;
    messages! {
        E::Json(_) => E::Json("expected value at line 1 column 1".to_owned()),
        E::Lora(_) => E::Lora("rank: expected 1 or more, got 0".to_owned()),
        E::NoLabels => E::NoLabels,
        E::RepeatedLabels(_) => E::RepeatedLabels(vec!["spam".to_owned(), "spam".to_owned()]),
        E::MaxLength { .. } => E::MaxLength {
            value: 2000, context: 1024, base: path("weights/gpt2")
        },
    }
}

fn tensors() -> String {
    use TensorProblem as E;
    let name = "score.weight";
    messages! {
        E::HeadBias { .. } => E::HeadBias { name: "score.bias", classes: 2 },
        E::Head { .. } => E::Head {
            name, shape: vec![3, 768], expected: [2, 768], base: path("weights/gpt2")
        },
        E::SingleLogit { .. } => E::SingleLogit { name, shape: vec![1, 768] },
        E::Parameter(_) => E::Parameter("the model has no parameter h.12.ln_1.bias".to_owned()),
    }
}

fn scoring() -> String {
    use ScoringError as E;
    let directory = || path("out");
    let lost = "rank 1: join failed, the connection to rank 0 was lost: Connection reset";
    let variable = "JOB_COMPLETIONS";
    messages! {
        E::OneOutput { .. } => E::OneOutput { output: path("out.csv"), processes: 4 },
        E::Foreign { .. } => E::Foreign { directory: directory(), name: "notes.txt".to_owned() },
        E::Manifest { .. } => E::Manifest {
            path: path("out/_manifest.json"), reason: "missing field `files`".to_owned()
        },
        E::Changed { .. } => E::Changed {
            directory: directory(),
            what: "--text-column".to_owned(),
            expected: "the default".to_owned(),
            given: "body".to_owned(),
        },
        E::Lost { .. } => E::Lost { reason: lost.to_owned() },
        E::NoPart { .. } => E::NoPart { task: 2, parts: 1, variable: "SLURM_ARRAY_TASK_ID" },
        E::ArrayTask(_) => ArrayTaskError::Invalid { variable, value: "many".to_owned() }.into(),
    }
}

fn array_task() -> String {
    use ArrayTaskError as E;
    let variable = "SLURM_ARRAY_TASK_ID";
    messages! {
        E::Invalid { .. } => E::Invalid { variable, value: "a".to_owned() },
        E::NoCount { .. } => E::NoCount {
            present: "JOB_COMPLETION_INDEX", missing: "JOB_COMPLETIONS"
        },
        E::NotConsecutive { .. } => E::NotConsecutive {
            variable, count: 2, first: 3, step: 1, id: 7
        },
    }
}

fn classification() -> String {
    use ClassificationError as E;
    let label = || "spam".to_owned();
    messages! {
        E::NoLabels => E::NoLabels,
        E::RepeatedLabel { .. } => E::RepeatedLabel { label: label(), first: 0, second: 2 },
        E::NoExamples => E::NoExamples,
        E::UnknownClass { .. } => E::UnknownClass { example: 1, class: 2, last: 1 },
        E::Length { .. } => E::Length { example: 1, found: 1, expected: 2 },
        E::Probability { .. } => E::Probability { example: 1, label: label(), value: -2.5 },
        E::Sum { .. } => E::Sum { example: 1, sum: 0.5 },
    }
}

fn errors() -> String {
    use Error as E;
    let examples = || "rows [3, 1] of train.csv".to_owned();
    let seed_and_seeds = SettingsError::Conflict(Conflict::SeedAndSeeds);
    messages! {
        elsewhere {
            E::Dataset(_),
            E::Distributed(_),
            E::Model(_),
            E::Lora(_),
            E::Storage(_),
        }
        E::Plot(_) => PlotError { title: "Loss", reason: "the font is invalid".to_owned() }.into(),
        E::Classification(_) => ClassificationError::NoLabels.into(),
        E::Settings(_) => seed_and_seeds.into(),
        E::NotFound(_) => NotFoundError::Data { path: path("nowhere.csv") }.into(),
        E::Adapter(_) => AdapterError::HeadBias.into(),
        E::RunDirectory(_) => RunDirectoryError::Locked { path: path("runs/a") }.into(),
        E::Scoring(_) => ScoringError::Foreign { directory: path("out"), name: "a".to_owned() }.into(),
        E::Signals(_) => E::Signals("System error: too many".to_owned()),
        E::Internal(_) => E::Internal("the data is not tokenized"),
        E::Serialize { .. } => E::Serialize { value: "report", reason: "key".to_owned() },
        E::Checkpoint { .. } => E::Checkpoint {
            path: path("runs/a/checkpoints/step-00000010.safetensors"),
            problem: CheckpointError::Damaged("wrong checksum".to_owned()),
        },
        E::Interrupted { .. } => E::Interrupted { step: 7, steps: 130 },
        E::TooLong { .. } => E::TooLong { text: 2, tokens: 2000, context: 1024 },
        E::NotFinite { .. } => E::NotFinite { text: 2, adapter: path("runs/a/adapter") },
        E::Anomaly { .. } => E::Anomaly {
            step: 7, parameter: "score.A".to_owned(), examples: examples()
        },
        E::DivergedAtEnd { .. } => E::DivergedAtEnd { steps: 130, parameter: "score.A".to_owned() },
        E::Diverged { .. } => E::Diverged { step: 7, loss: f64::NAN, examples: examples() },
    }
}

#[test]
fn messages_match_the_snapshot() {
    assert_messages! {
        "Error" => errors(),
        "SettingsError" => settings(),
        "EntryError" => entries(),
        "CheckpointError" => checkpoints(),
        "Range" => ranges(),
        "Conflict" => conflicts(),
        "NotFoundError" => not_found(),
        "RunDirectoryError" => run_directory(),
        "AdapterError" => adapter(),
        "MetadataProblem" => metadata(),
        "TensorProblem" => tensors(),
        "ScoringError" => scoring(),
        "ArrayTaskError" => array_task(),
        "ClassificationError" => classification(),
    }
}

//! Remedies for errors of the libraries, in terms of command-line options.

use std::{error::Error as StdError, io};

use dataset::{
    BatchError, ColumnError, ColumnRole, CompletionError, CorpusError, QuoteProblem, SplitError,
    TableOptionError,
};

use crate::error::Error;

/// Returns the remedy for an error whose library does not know the command line.
///
/// ```
/// use dataset::{TableOptions, TableReader};
///
/// let csv = "id,body\n1,see you\n".as_bytes();
/// let read = TableReader::from_reader(csv, "a.csv", &TableOptions::default(), false);
/// let error = trainer::Error::from(read.err().unwrap());
/// assert!(trainer::remedy(&error).unwrap().starts_with("name the text column with --text-column"));
/// ```
pub fn remedy(error: &(dyn StdError + 'static)) -> Option<String> {
    match error.downcast_ref::<Error>() {
        Some(Error::Dataset(error)) => dataset_remedy(error),
        Some(Error::Model(error)) => model_remedy(error),
        Some(Error::Lora(error)) => adapter_remedy(error),
        Some(Error::Storage(error)) => file_remedy(error),
        Some(Error::Distributed(error)) => distributed_remedy(error),
        Some(_) => None,
        None => {
            let of_model = || error.downcast_ref().and_then(model_remedy);
            error.downcast_ref().and_then(dataset_remedy).or_else(of_model)
        }
    }
}

fn distributed_remedy(error: &distributed::Error) -> Option<String> {
    use distributed::{EnvironmentProblem, Error};
    let remedy = match error {
        Error::Environment(EnvironmentProblem::NoMaster { .. }) => {
            "set MASTER_ADDR, and MASTER_PORT if port 29500 is in use, for every process"
        }
        Error::TimedOut { .. } => {
            "check that every process was started and can reach the others, or raise --timeout"
        }
        Error::Lost { .. } => "--resume continues from the last checkpoint, if there is one",
        Error::Differs { .. } => {
            "start every process with the same program, options, threads and files"
        }
        Error::Uneven { .. } => {
            "start another number of processes, raise --gradient-accumulation-steps and lower \
             --batch-size by the same factor, or use --reduce ring, which divides micro-batches \
             unevenly"
        }
        _ => return None,
    };
    Some(remedy.to_owned())
}

fn dataset_remedy(error: &dataset::Error) -> Option<String> {
    let remedy = match error {
        dataset::Error::Storage(error) => return file_remedy(error),
        dataset::Error::Columns { problem, line, .. } => match problem {
            ColumnError::Missing { role, .. } | ColumnError::Ambiguous { role, .. } => {
                // Where the text column was found, the line is a header.
                let line = line.filter(|_| {
                    matches!(problem, ColumnError::Missing { role: ColumnRole::Text, .. })
                });
                let row = line.map(|line| format!(", or give --no-header if line {line} is a row"));
                let row = row.unwrap_or_default();
                return Some(format!("name the {role} column with --{role}-column{row}"));
            }
            ColumnError::Same { .. } => "name two columns with --text-column and --label-column",
            _ => return None,
        },
        dataset::Error::SingleRowLabels { texts, labels, .. } if texts < labels => {
            "name the columns with --text-column and --label-column"
        }
        dataset::Error::SingleRowLabels { .. } => "name the label column with --label-column",
        dataset::Error::NotUtf8 { .. } => {
            "name the encoding of the table with --encoding (latin-1, utf-16, or utf-8-lossy to \
             replace such bytes), or save the file as UTF-8"
        }
        dataset::Error::Encoding { found, .. } => {
            return Some(format!("leave out --encoding, or use --encoding {found}"));
        }
        dataset::Error::TableOption(TableOptionError::SeparatorIsQuoteChar { .. }) => {
            "name another quotation mark with --quote-char, or the separator with --separator"
        }
        dataset::Error::Quotes { problem: QuoteProblem::Ambiguous, .. } => {
            "if quotation marks are text here, use --quote-char none, else --quote-char '\"'"
        }
        dataset::Error::Quotes { .. } => "if quotation marks are text here, use --quote-char none",
        dataset::Error::Header { .. } => {
            "name the columns with --text-column and --label-column, or use --no-header if the \
             line is an example"
        }
        // The classes of an adapter that does not name them.
        dataset::Error::UnknownLabel { labels, .. }
            if labels.iter().all(|label| label.starts_with("LABEL_")) =>
        {
            "name the classes of the adapter with --labels"
        }
        dataset::Error::UnknownLabel { .. } => {
            "remove or correct such rows, or name another column with --label-column"
        }
        dataset::Error::NoExamples { rows, .. } if *rows > 0 => {
            "name the columns with --text-column and --label-column"
        }
        dataset::Error::TooFewLabels { label: Some(_), .. } => {
            "use data with two or more labels, or name another column with --label-column"
        }
        dataset::Error::Batch(BatchError::NoCompleteBatch { examples, .. }) => {
            return Some(format!("use --batch-size {examples} or less, or more data"));
        }
        dataset::Error::Split { problem: SplitError::EmptySet { balanced: true, .. }, .. } => {
            "use more data, or --balance none"
        }
        dataset::Error::Split { problem: SplitError::EmptySet { .. }, .. } => "use more data",
        dataset::Error::Corpus { problem: CorpusError::TooFewDocuments { .. }, .. } => {
            "use more text, check --documents, or give --format for a table of examples"
        }
        dataset::Error::Corpus { problem: CorpusError::NotText { .. }, .. } => {
            "for a table of examples give --format jsonl, csv, tsv or parquet; decompress a text"
        }
        dataset::Error::Corpus { problem: CorpusError::TooFewTokens { .. }, .. } => {
            "use more text, or lower --batch-size or --max-length"
        }
        dataset::Error::Completions(problem) => return completion_remedy(problem),
        _ => return None,
    };
    Some(remedy.to_owned())
}

fn completion_remedy(problem: &CompletionError) -> Option<String> {
    let remedy = match problem {
        CompletionError::Schema { .. } => {
            "rename the columns, or name them with --text-column, or --prompt-column and \
             --completion-column; --prompt-template makes prompts of any columns"
        }
        CompletionError::Column { .. } => {
            "correct --text-column, --prompt-column or --completion-column"
        }
        CompletionError::Unused { .. } => {
            "leave out the option that names it, or name prompt and completion with \
             --prompt-column and --completion-column"
        }
        CompletionError::NoCompletion { .. } => {
            "name the completion with --completion-column, or leave out --prompt-template"
        }
        CompletionError::NoExamples { rows: 0, .. } => "give a file with examples",
        CompletionError::NoExamples { .. } => {
            "name the columns with --text-column, or --prompt-column and --completion-column; in a \
             conversation, messages of the role assistant are learned"
        }
        CompletionError::TooFew { .. } => "add examples, or give --validation-data",
        CompletionError::AllDropped { set: "evaluation", .. } => "shorten the prompts",
        CompletionError::AllDropped { .. } => "raise --max-length, or shorten the prompts",
        _ => return None,
    };
    Some(remedy.to_owned())
}

/// Remedy for running out of memory.
const USE_LESS_MEMORY: &str = "use a smaller model, or fewer or shorter texts at a \
    time (in training --batch-size, --max-length, --gradient-checkpointing), or close other \
    programs";

fn file_remedy(error: &storage::Error) -> Option<String> {
    let remedy = match error.kind() {
        io::ErrorKind::OutOfMemory => USE_LESS_MEMORY,
        io::ErrorKind::IsADirectory => "give a file",
        _ => return None,
    };
    Some(remedy.to_owned())
}

fn model_remedy(error: &gpt2_model::Error) -> Option<String> {
    use gpt2_model::{ArgumentError, Error};
    let remedy = match error {
        Error::Storage(error) => return file_remedy(error),
        Error::OutOfMemory(_) => USE_LESS_MEMORY,
        Error::Argument(ArgumentError::TopK) => {
            "leave out --top-k to sample among all tokens, or use --top-k 1 or more"
        }
        Error::Argument(ArgumentError::TopP(_)) => "correct --top-p",
        Error::Argument(ArgumentError::MinP(_)) => "correct --min-p",
        Error::Argument(ArgumentError::RepetitionPenalty(_)) => "correct --repetition-penalty",
        Error::Argument(ArgumentError::BatchSize) => "use --batch-size 1 or more",
        Error::Argument(ArgumentError::Temperature(_)) => {
            "leave out --temperature and --top-k to take the most probable token"
        }
        Error::Argument(ArgumentError::EmptyPrompt) => "give the text to continue with --prompt",
        Error::TooLong { .. } => "shorten the text to continue (--prompt)",
        Error::NoCuda => {
            "run `cargo xtask fetch-libtorch --device cuda` and build again, or use --device cpu"
        }
        Error::NoDevice { .. } => {
            "look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use --device cpu"
        }
        Error::Kernels(_) => "use --arithmetic fused",
        Error::UnsupportedDType { .. } => {
            "use --dtype bfloat16 or float32, or a CUDA device (--device)"
        }
        _ => return None,
    };
    Some(remedy.to_owned())
}

fn adapter_remedy(error: &lora::Error) -> Option<String> {
    match error {
        lora::Error::Setting { setting, .. } => {
            // The key of a pattern follows its name.
            let name = setting.split(' ').next().unwrap_or_default().replace('_', "-");
            let option = if name == "dropout" { "lora-dropout".to_owned() } else { name };
            Some(format!("correct --{option}"))
        }
        lora::Error::UnknownTarget { .. } => {
            Some("name layers of the model with --target-modules, or use all-linear".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use dataset::LabeledFiles;
    use gpt2_model::{ArgumentError, DType};
    use lora::{LoraConfig, Targets};
    use tch::{Device, TchError};

    use super::*;

    #[test]
    fn remedies_name_the_option() {
        let memory = || TchError::Torch("CUDA out of memory. Tried to allocate 2 GiB".to_owned());
        let dataset = |error: dataset::Error| Error::from(error);
        let empty_set = |balanced| {
            let problem = SplitError::EmptySet { balanced, sizes: [2, 0, 2] };
            dataset(dataset::Error::Split { path: None, problem })
        };
        let incomplete = BatchError::NoCompleteBatch { batch_size: 8, examples: 3 };
        let documents = CorpusError::TooFewDocuments { documents: 1 };
        let tokens = CorpusError::TooFewTokens { tokens: 9, batch_size: 4, width: 32 };
        let one_label = dataset::Error::TooFewLabels { path: None, label: Some("ham".to_owned()) };
        let lora = |config: LoraConfig| Error::from(config.check().unwrap_err());
        let pattern = Targets::Pattern("(".to_owned());
        let rank_pattern = [("c_fc".to_owned(), 0)].into();
        let alpha_pattern = [("c_fc".to_owned(), f64::NAN)].into();
        let unknown = lora::Error::UnknownTarget { targets: Vec::new(), layers: Vec::new() };
        for (error, option) in [
            (dataset(incomplete.into()), "--batch-size 3"),
            (empty_set(true), "--balance none"),
            (empty_set(false), "more data"),
            (dataset(documents.into()), "--documents"),
            (dataset(CorpusError::NotText { kind: "Parquet" }.into()), "--format"),
            (dataset(tokens.into()), "--max-length"),
            (dataset(one_label), "--label-column"),
            (lora(LoraConfig { rank: 0, ..LoraConfig::default() }), "--rank"),
            (lora(LoraConfig { alpha: f64::NAN, ..LoraConfig::default() }), "--alpha"),
            (lora(LoraConfig { dropout: 1.0, ..LoraConfig::default() }), "--lora-dropout"),
            (lora(LoraConfig { targets: pattern, ..LoraConfig::default() }), "--target-modules"),
            (lora(LoraConfig { rank_pattern, ..LoraConfig::default() }), "--rank-pattern"),
            (lora(LoraConfig { alpha_pattern, ..LoraConfig::default() }), "--alpha-pattern"),
            (unknown.into(), "--target-modules"),
            (gpt2_model::Error::from(ArgumentError::TopK).into(), "--top-k"),
            (gpt2_model::Error::from(ArgumentError::Temperature(0.0)).into(), "--temperature"),
            (gpt2_model::Error::from(ArgumentError::TopP(0.0)).into(), "--top-p"),
            (gpt2_model::Error::from(ArgumentError::MinP(2.0)).into(), "--min-p"),
            (
                gpt2_model::Error::from(ArgumentError::RepetitionPenalty(0.0)).into(),
                "--repetition-penalty",
            ),
            (gpt2_model::Error::from(ArgumentError::BatchSize).into(), "--batch-size"),
            (gpt2_model::Error::from(ArgumentError::EmptyPrompt).into(), "--prompt"),
            (gpt2_model::Error::TooLong { length: 9, context: 8 }.into(), "--prompt"),
            (Error::from(memory()), "--batch-size"),
            (lora::Error::from(memory()).into(), "--batch-size"),
            (gpt2_model::Error::NoCuda.into(), "--device cpu"),
            (gpt2_model::Error::NoDevice { number: 3, count: 1 }.into(), "--device cpu"),
            (DType::Float16.check(Device::Cpu).unwrap_err().into(), "--dtype bfloat16"),
        ] {
            let found = remedy(&error).unwrap();
            assert!(found.contains(option), "{error}; {found}");
        }
        let other = Error::from(TchError::Torch("shapes differ\nframe #0".to_owned()));
        assert_eq!(other.to_string(), "libtorch: shapes differ");
        assert_eq!(remedy(&other), None);
    }

    fn remedy_of(csv: &str, change: impl FnOnce(LabeledFiles) -> LabeledFiles) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        fs::write(&path, csv).unwrap();
        let error = change(LabeledFiles::new(path)).read().unwrap_err();
        let remedy = remedy(&error);
        assert_eq!(super::remedy(&Error::from(error)), remedy);
        remedy
    }

    #[test]
    fn columns_are_named_with_options() {
        for (csv, options) in [
            ("id,label\n1,a\n", "--text-column, or give --no-header if line 1 is a row"),
            ("text,id\na,1\n", "--label-column"),
            ("text,Label,LABEL\na,b,c\n", "--label-column"),
            ("text,label\n,a\nb,\n", "--text-column and --label-column"),
            ("text,label\na,1\nb,2\nc,3\n", "--label-column"),
        ] {
            let remedy = remedy_of(csv, |files| files).unwrap();
            assert!(remedy.ends_with(options), "{csv:?}: {remedy}");
        }
        let same = remedy_of("text,label\na,b\n", |files| files.label("text")).unwrap();
        assert!(same.contains("--text-column and --label-column"), "{same}");
    }

    #[test]
    fn other_errors_have_no_remedy() {
        assert_eq!(remedy_of("text,label\na,b,c\n", |files| files), None);
        assert_eq!(remedy(&Error::Internal("a")), None);
    }
}

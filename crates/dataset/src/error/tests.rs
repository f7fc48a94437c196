//! Snapshot of every error message of this crate, `src/snapshots/error_messages.snap`. To update
//! it: `INSTA_UPDATE=always cargo test -p dataset --lib error`, then review the difference.

use test_support::{assert_messages, messages};

use super::*;
use crate::table::{ColumnRole, Encoding, Format};

fn path() -> PathBuf {
    "a.csv".into()
}

fn names() -> Vec<String> {
    vec!["text".to_owned(), "label".to_owned()]
}

fn errors() -> String {
    use Error as E;
    let label = || "spam".to_owned();
    messages! {
        elsewhere {
            E::Storage(_),
            E::Completions(_),
        }
        E::Line { .. } => E::Line {
            path: path(), line: 3, reason: "there is no tab between a label and a text".to_owned()
        },
        E::NotUtf8 { .. } => E::NotUtf8 { path: path(), line: 3, byte: 0xe9 },
        E::Quotes { .. } => E::Quotes { path: path(), line: 3, problem: QuoteProblem::Open },
        E::Header { .. } => E::Header { path: path(), line: 1, cells: list(&names()) },
        E::Row { .. } => E::Row {
            path: path(), row: 2, reason: "the text has a NUL byte".to_owned()
        },
        E::Table { .. } => E::Table { path: path(), reason: "the file has no examples".to_owned() },
        E::Columns { .. } => E::Columns {
            path: path(), line: Some(1), problem: ColumnError::Same { column: "body".to_owned() }
        },
        E::SingleRowLabels { .. } => E::SingleRowLabels {
            path: Some(path()), singletons: 40, labels: 50, texts: 2, example: label()
        },
        E::UnknownLabel { .. } => E::UnknownLabel {
            path: path(),
            position: Position::Line(7),
            label: label(),
            of: "the training file train.csv".to_owned(),
            labels: vec!["ham".to_owned(), "eggs".to_owned()],
        },
        E::NoExamples { .. } => E::NoExamples {
            path: path(), rows: 3, without_text: 2, without_label: 1, columns: names()
        },
        E::TooFewLabels { .. } => E::TooFewLabels { path: Some(path()), label: Some(label()) },
        E::Frame(_) => polars::prelude::PolarsError::NoData("no columns".into()).into(),
        E::State(_) => StateError::Block { expected: 624, words: 623 }.into(),
        E::Encoding { .. } => E::Encoding {
            path: path(),
            given: Encoding::Latin1,
            found: Encoding::Utf16,
            sign: "a byte order mark of UTF-16",
        },
        E::TableOption(_) => TableOptionError::NoFile.into(),
        E::TableWriter(_) => TableWriterError::ParquetStream { name: "-".into() }.into(),
        E::ValidationWithoutTest { .. } => E::ValidationWithoutTest { path: path() },
        E::Split { .. } => E::Split {
            path: Some(path()), problem: SplitError::EmptySet { balanced: true, sizes: [2, 0, 2] }
        },
        E::EmptyTrainingSet => E::EmptyTrainingSet,
        E::Batch(_) => BatchError::ZeroSize.into(),
        E::Corpus { .. } => E::Corpus {
            files: vec!["a.txt".into(), "b.txt".into(), "c.txt".into()],
            problem: CorpusError::TooFewDocuments { documents: 1 },
        },
        E::SpecialToken { .. } => E::SpecialToken {
            path: "gpt2-ja/generation_config.json".into(),
            name: "pad_token_id",
            may_be_list: false,
            value: "[0,1]".to_owned(),
        },
        E::Tokenizer { .. } => E::Tokenizer {
            path: "gpt2-ja/tokenizer.json".into(),
            reason: "expected value at line 1 column 1".to_owned(),
        },
        E::SentencePiece { .. } => E::SentencePiece { path: "gpt2-ja/spiece.model".into() },
        E::EndOfText { .. } => E::EndOfText { folder: "gpt2-zh".into() },
    }
}

fn quotes() -> String {
    use QuoteProblem as E;
    messages! {
        E::Open => E::Open,
        E::Behind { .. } => E::Behind { opened: 2 },
        E::Ambiguous => E::Ambiguous,
    }
}

fn columns() -> String {
    use ColumnError as E;
    messages! {
        E::Missing { .. } => E::Missing {
            role: ColumnRole::Text, name: "body".to_owned(), columns: names()
        },
        E::Twice { .. } => E::Twice { name: "text".to_owned() },
        E::Ambiguous { .. } => E::Ambiguous {
            role: ColumnRole::Label, columns: ["Label".to_owned(), "LABEL".to_owned()]
        },
        E::Same { .. } => E::Same { column: "body".to_owned() },
    }
}

fn table_options() -> String {
    use TableOptionError as E;
    messages! {
        E::Format { .. } => "xlsx".parse::<Format>().unwrap_err(),
        E::Separator { .. } => E::Separator { text: "ab".to_owned() },
        E::QuoteChar { .. } => E::QuoteChar { text: "a".to_owned() },
        E::Encoding { .. } => E::Encoding { name: "utf-7".to_owned() },
        E::SeparatorIsQuoteChar { .. } => E::SeparatorIsQuoteChar {
            path: "a.csv".into(), character: '\''
        },
        E::NoFile => E::NoFile,
    }
}

fn table_writer() -> String {
    use TableWriterError as E;
    messages! {
        E::ParquetStream { .. } => E::ParquetStream { name: "standard output".into() },
        E::AddedValues { .. } => E::AddedValues {
            column: "label".to_owned(), values: 1, rows: 2
        },
        E::AddedColumns { .. } => E::AddedColumns { added: 1, expected: 2 },
    }
}

fn split() -> String {
    use SplitError as E;
    messages! {
        E::Fractions { .. } => E::Fractions { train: 0.9, validation: 0.1 },
        E::SeparateFractions { .. } => E::SeparateFractions { train: 0.7, validation: f64::NAN },
        E::EmptySet { .. } => E::EmptySet { balanced: false, sizes: [1, 0, 1] },
    }
}

fn batches() -> String {
    use BatchError as E;
    messages! {
        E::ZeroSize => E::ZeroSize,
        E::NoCompleteBatch { .. } => E::NoCompleteBatch { batch_size: 8, examples: 3 },
        E::Index { .. } => E::Index { index: 3, examples: 3 },
        E::PaddingWidth { .. } => E::PaddingWidth { longest: 5, width: 4 },
    }
}

fn corpus() -> String {
    use CorpusError as E;
    messages! {
        E::HeldOut(_) => E::HeldOut(1.0),
        E::NotText { .. } => E::NotText { kind: "compressed with gzip" },
        E::TooFewDocuments { .. } => E::TooFewDocuments { documents: 0 },
        E::EmptyWindows { .. } => E::EmptyWindows { width: 0, batch_size: 4 },
        E::TooFewTokens { .. } => E::TooFewTokens { tokens: 20, batch_size: 4, width: 32 },
    }
}

fn state() -> String {
    use StateError as E;
    messages! {
        E::Block { .. } => E::Block { expected: 624, words: 623 },
        E::Next { .. } => E::Next { most: 624, next: 625 },
    }
}

fn completions() -> String {
    use CompletionError as E;
    let name = || "chat.jinja".to_owned();
    let reason = || "unknown filter (line 2 of the template)".to_owned();
    messages! {
        E::Schema { .. } => E::Schema { path: path(), columns: names() },
        E::Column { .. } => {
            E::Column { path: path(), name: "question".to_owned(), columns: names() }
        },
        E::Unused { .. } => {
            E::Unused { path: path(), name: "answer".to_owned(), schema: "messages" }
        },
        E::Template { .. } => E::Template { name: name(), reason: reason() },
        E::Render { .. } => {
            E::Render { name: name(), place: "a.csv, line 3".to_owned(), reason: reason() }
        },
        E::NoCompletion { .. } => E::NoCompletion { path: path(), schema: "text" },
        E::NoExamples { .. } => E::NoExamples { path: path(), rows: 3, empty: 3 },
        E::TooFew { .. } => E::TooFew { path: path(), examples: 1 },
        E::AllDropped { .. } => E::AllDropped { set: "training", max_length: 8 },
    }
}

#[test]
fn messages_match_the_snapshot() {
    assert_messages! {
        "Error" => errors(),
        "QuoteProblem" => quotes(),
        "ColumnError" => columns(),
        "TableOptionError" => table_options(),
        "TableWriterError" => table_writer(),
        "SplitError" => split(),
        "BatchError" => batches(),
        "CorpusError" => corpus(),
        "StateError" => state(),
        "CompletionError" => completions(),
    }
}

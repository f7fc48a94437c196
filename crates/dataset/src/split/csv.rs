//! A set as CSV: `Label,Text`, quoted where necessary.

use std::{io::Cursor, sync::Arc};

use polars::{
    df,
    prelude::{
        CsvReadOptions, CsvWriter, DataType, Field, PolarsResult, Schema, SerReader, SerWriter,
    },
};

use crate::labeled::Example;

pub(crate) fn to_csv(examples: &[Example]) -> PolarsResult<Vec<u8>> {
    let labels: Vec<u64> = examples.iter().map(|example| example.label as u64).collect();
    let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut df!["Label" => labels, "Text" => texts]?)?;
    Ok(bytes)
}

/// Returns classes and texts.
pub(crate) fn from_csv(bytes: &[u8]) -> PolarsResult<Vec<(usize, String)>> {
    let schema = Schema::from_iter([
        Field::new("Label".into(), DataType::UInt64),
        Field::new("Text".into(), DataType::String),
    ]);
    let table = CsvReadOptions::default()
        .with_schema(Some(Arc::new(schema)))
        .map_parse_options(|options| options.with_missing_is_null(false))
        .into_reader_with_file_handle(Cursor::new(bytes))
        .finish()?;
    let (labels, texts) = (table.column("Label")?.u64()?, table.column("Text")?.str()?);
    let rows = labels.iter().zip(texts.iter()).map(|(label, text)| {
        // No class is this large: an absent one is refused where classes are checked.
        (label.map_or(usize::MAX, |label| label as usize), text.unwrap_or_default().to_owned())
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(texts: Vec<String>) {
        let example = |(row, text): (usize, String)| Example { label: row % 3, text, row };
        let examples: Vec<Example> = texts.into_iter().enumerate().map(example).collect();
        let read = from_csv(&to_csv(&examples).unwrap()).unwrap();
        assert!(read.into_iter().eq(examples.into_iter().map(|e| (e.label, e.text))));
    }

    #[test]
    fn csv_is_written_like_pandas() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/csv.json");
        let fixture: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let texts: Vec<String> = serde_json::from_value(fixture["texts"].clone()).unwrap();
        let example = |(row, text): (usize, String)| Example { label: row % 2, text, row };
        let examples: Vec<Example> = texts.into_iter().enumerate().map(example).collect();
        assert_eq!(String::from_utf8(to_csv(&examples).unwrap()).unwrap(), fixture["csv"]);
    }

    #[test]
    fn special_texts_round_trip() {
        let texts = ["", "\"", "\"\"", "\r", "a\r", "\n", "a\r\n", ",", "null", "\u{feff}", " "];
        round_trip(texts.map(str::to_owned).to_vec());
        texts.into_iter().for_each(|text| round_trip(vec![text.to_owned()]));
    }

    proptest! {
        #[test]
        fn texts_round_trip(texts in prop::collection::vec(any::<String>(), 1..40)) {
            round_trip(texts);
        }

        #[test]
        fn texts_of_special_characters_round_trip(
            texts in prop::collection::vec("[\",\r\n ax]{0,8}", 1..40),
        ) {
            round_trip(texts);
        }
    }
}

//! Values of typed columns in text formats.

use polars::prelude::{
    Column, DataFrame, DataType, IntoColumn, JsonFormat, JsonWriter, NamedFrom, PolarsResult,
    SerWriter, Series, StringChunked, TimeUnit, TimeZone,
};

use crate::guard::guarded;

/// Returns the columns as JSON and CSV can hold them: dates and times as in ISO 8601, bytes as
/// hexadecimal digits, categories as strings.
pub(crate) fn plain(frame: &DataFrame) -> PolarsResult<DataFrame> {
    let columns = frame.columns().iter().map(plain_column).collect::<PolarsResult<_>>()?;
    DataFrame::new(frame.height(), columns)
}

fn plain_column(column: &Column) -> PolarsResult<Column> {
    match column.dtype() {
        DataType::Categorical(..) | DataType::Enum(..) => column.cast(&DataType::String),
        DataType::Datetime(_, zone) => {
            let utc = zone.as_ref().is_some_and(|zone| *zone == TimeZone::UTC);
            let format = match zone {
                None => "%Y-%m-%dT%H:%M:%S%.f",
                Some(_) if utc => "%Y-%m-%dT%H:%M:%S%.fZ",
                Some(_) => "%Y-%m-%dT%H:%M:%S%.f%:z",
            };
            Ok(column.datetime()?.to_string(format)?.into_column())
        }
        DataType::Duration(unit) => {
            let per_second = match unit {
                TimeUnit::Nanoseconds => 1_000_000_000,
                TimeUnit::Microseconds => 1_000_000,
                TimeUnit::Milliseconds => 1_000,
            };
            let count = column.cast(&DataType::Int64)?;
            let text = |count: i64| duration(count, per_second);
            let texts = count.i64()?.iter().map(|count| count.map(text));
            Ok(named(column, texts.collect::<StringChunked>()))
        }
        DataType::Binary => {
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let texts = column.binary()?.iter().map(|bytes| bytes.map(hex));
            Ok(named(
                column,
                texts.collect::<Vec<Option<String>>>().iter().map(Option::as_deref).collect(),
            ))
        }
        _ => Ok(column.clone()),
    }
}

fn named(column: &Column, texts: StringChunked) -> Column {
    texts.with_name(column.name().clone()).into_column()
}

/// Returns a duration as in ISO 8601.
fn duration(count: i64, per_second: i64) -> String {
    let (seconds, rest) = (count.unsigned_abs(), per_second.unsigned_abs());
    let sign = if count < 0 { "-" } else { "" };
    let digits = rest.ilog10() as usize;
    let fraction = format!(".{:0digits$}", seconds % rest);
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{sign}PT{}{fraction}S", seconds / rest)
}

/// Returns the columns as CSV can hold them: as [`plain`], and nested values as JSON. An empty
/// cell is written without quotes, unless it is the only one.
pub(crate) fn cells(frame: &DataFrame) -> PolarsResult<DataFrame> {
    let alone = frame.width() == 1;
    let cell = |column: &Column| {
        let column = if column.dtype().is_nested() { json(column)? } else { column.clone() };
        let DataType::String = column.dtype() else { return Ok(column) };
        let texts = column.str()?.iter();
        let texts: StringChunked = if alone {
            texts.map(|text| Some(text.unwrap_or_default())).collect()
        } else {
            texts.map(|text| text.filter(|text| !text.is_empty())).collect()
        };
        Ok(named(&column, texts))
    };
    let columns = plain(frame)?.columns().iter().map(cell).collect::<PolarsResult<_>>()?;
    DataFrame::new(frame.height(), columns)
}

/// Returns each value of a column as JSON; a missing one stays missing.
fn json(column: &Column) -> PolarsResult<Column> {
    let frame = DataFrame::new(column.len(), vec![column.clone().with_name("".into())])?;
    let lines = json_lines(frame)?;
    // Each line is {"":VALUE}.
    let value = |line: &str| -> Option<String> {
        let value = line.strip_prefix("{\"\":")?.strip_suffix('}')?;
        (value != "null").then(|| value.to_owned())
    };
    let values: Vec<Option<String>> = String::from_utf8_lossy(&lines).lines().map(value).collect();
    Ok(Series::new(column.name().clone(), values).into_column())
}

/// Returns rows as JSON Lines. polars panics on types that it cannot write.
pub(crate) fn json_lines(mut frame: DataFrame) -> PolarsResult<Vec<u8>> {
    let mut bytes = Vec::new();
    guarded(|| {
        JsonWriter::new(&mut bytes).with_json_format(JsonFormat::JsonLines).finish(&mut frame)
    })?;
    Ok(bytes)
}

//! Whole records in their source format.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use arrow_array::RecordBatch;
use arrow_json::{WriterBuilder, writer::LineDelimited};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};

/// Records of a chunk.
#[derive(Clone, Debug)]
pub(crate) enum Records {
    /// TSV and CSV: one cell per name in each row.
    Cells { names: Arc<[String]>, rows: Vec<Vec<String>> },
    /// JSON Lines.
    Objects(Vec<Object>),
    /// Parquet.
    Batch(RecordBatch),
}

impl Default for Records {
    fn default() -> Self {
        Self::Objects(Vec::new())
    }
}

impl Records {
    /// Returns the columns in their order; for objects, in the order of first occurrence.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Cells { names, .. } => names.to_vec(),
            Self::Batch(batch) => {
                batch.schema().fields().iter().map(|field| field.name().clone()).collect()
            }
            Self::Objects(objects) => {
                let mut seen = HashSet::new();
                let keys = objects.iter().flat_map(|object| object.0.iter().map(|(key, _)| key));
                keys.filter(|key| seen.insert(key.as_str())).cloned().collect()
            }
        }
    }

    /// The records as JSON objects, or why they cannot be.
    pub fn objects(&self) -> Result<Cow<'_, [Object]>, String> {
        match self {
            Self::Objects(objects) => Ok(Cow::Borrowed(objects)),
            Self::Cells { names, rows } => {
                let object = |row: &Vec<String>| -> Result<Object, serde_json::Error> {
                    let pair =
                        |(name, cell): (&String, &String)| Ok((name.clone(), to_raw_value(cell)?));
                    names.iter().zip(row).map(pair).collect::<Result<_, _>>().map(Object)
                };
                let objects = rows.iter().map(object).collect::<Result<_, _>>();
                objects.map(Cow::Owned).map_err(|error| error.to_string())
            }
            Self::Batch(batch) => batch_objects(batch).map(Cow::Owned),
        }
    }
}

/// Rows of a batch as JSON objects, each column in its JSON spelling.
fn batch_objects(batch: &RecordBatch) -> Result<Vec<Object>, String> {
    let explain = |error: &dyn fmt::Display| {
        format!("a column of this table has no spelling as text, write Parquet: {error}")
    };
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|error| explain(&error))?;
    let bytes = writer.into_inner();
    let text = str::from_utf8(&bytes).map_err(|error| explain(&error))?;
    let objects = text.lines().map(|line| serde_json::from_str(line).map_err(|e| explain(&e)));
    objects.collect()
}

/// A JSON object: its keys in their order, its values as they were written.
#[derive(Clone, Debug)]
pub(crate) struct Object(pub Vec<(String, Box<RawValue>)>);

impl Object {
    /// Returns the keys.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// A JSON value as the text of a cell: a string as it is, anything else as JSON
/// spells it, `None` for `null`.
pub(crate) fn cell(value: &RawValue) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    match value.get() {
        "null" => Ok(None),
        string if string.starts_with('"') => {
            serde_json::from_str(string).map(|text: String| Some(Cow::Owned(text)))
        }
        other => Ok(Some(Cow::Borrowed(other))),
    }
}

//! JSON objects whose values keep their spelling.

use std::{borrow::Cow, collections::HashMap, fmt};

use polars::prelude::{Column, DataFrame, NamedFrom, Series};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A JSON object: its keys in their order, its values as they were written. polars would change
/// the spelling of numbers, and floats next to integers would lose digits.
#[derive(Clone, Debug)]
pub(crate) struct Object(pub Vec<(String, Box<RawValue>)>);

impl Object {
    /// Returns the keys.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Returns the keys whose values are neither strings nor `null`.
    pub fn names_of_other_types(&self) -> impl Iterator<Item = &str> {
        let is_other = |value: &RawValue| !value.get().starts_with('"') && value.get() != "null";
        self.0.iter().filter(move |(_, value)| is_other(value)).map(|(name, _)| name.as_str())
    }

    /// Returns the keys of all objects, in the order of their first occurrence.
    pub fn names_of(objects: &[Self]) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let keys = objects.iter().flat_map(|object| object.0.iter().map(|(key, _)| key));
        keys.filter(|key| seen.insert(key.as_str())).cloned().collect()
    }
}

/// Returns objects as columns of strings with these names; `Err` has the index of the row that
/// does not fit, and the reason.
pub(crate) fn to_frame(objects: &[Object], names: &[String]) -> Result<DataFrame, (usize, String)> {
    let places: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
    let mut columns = vec![vec![None; objects.len()]; names.len()];
    for (row, object) in objects.iter().enumerate() {
        for (name, value) in &object.0 {
            let place = *places.get(name.as_str()).ok_or_else(|| (row, late_column(name)))?;
            columns[place][row] =
                cell(value).map_err(|error| (row, format!("{name:?} is not text: {error}")))?;
        }
    }
    let columns = names.iter().zip(&columns).map(|(name, values)| strings(name, values)).collect();
    DataFrame::new(objects.len(), columns).map_err(|error| (0, error.to_string()))
}

pub(crate) fn late_column(name: &str) -> String {
    format!(
        "it has the column {name:?}, which the first rows have not, and the columns are written by \
         now; give every record the same columns, or rename this one"
    )
}

/// Returns a JSON value as the text of a cell: a string as it is, anything else in its JSON
/// spelling, `None` for `null`.
pub(crate) fn cell(value: &RawValue) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    match value.get() {
        "null" => Ok(None),
        string if string.starts_with('"') => {
            serde_json::from_str(string).map(|text: String| Some(Cow::Owned(text)))
        }
        other => Ok(Some(Cow::Borrowed(other))),
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

/// Returns a column of strings.
pub(crate) fn strings<S: AsRef<str>>(name: &str, values: &[Option<S>]) -> Column {
    let values: Vec<Option<&str>> =
        values.iter().map(|value| value.as_ref().map(AsRef::as_ref)).collect();
    Series::new(name.into(), values).into()
}

//! Comparison with TensorBoard's own package; `tests/fixtures/tensorboard/make.py` at the
//! root of the project made the files.

use serde::Deserialize;

use crate::reports::tensorboard::{
    EventWriter,
    event_reader::{read, scalars},
};

/// File with the same records, by TensorBoard's `RecordWriter`.
const SCALARS: &[u8] =
    include_bytes!("../../../../../../tests/fixtures/tensorboard/scalars.tfevents");
/// File by its `EventFileWriter`, with other kinds of records too.
const OTHERS: &[u8] =
    include_bytes!("../../../../../../tests/fixtures/tensorboard/others.tfevents");
const VALUES: &str = include_str!("../../../../../../tests/fixtures/tensorboard/values.json");

#[derive(Deserialize)]
struct Values {
    /// Time of the first record of `scalars.tfevents`.
    begun: f64,
    /// Tag, step, value, time, as TensorBoard reads them.
    scalars: Vec<(String, u64, f64, f64)>,
    others: Vec<(String, u64, f64, f64)>,
}

fn values() -> Values {
    serde_json::from_str(VALUES).unwrap()
}

#[track_caller]
fn same(found: Vec<(String, i64, f32, f64)>, expected: Vec<(String, u64, f64, f64)>) {
    let found: Vec<_> = found
        .into_iter()
        .map(|(tag, step, value, time)| (tag, step as u64, f64::from(value), time))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn same_values_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tfevents");
    let values = values();
    assert!(values.scalars.len() > 5);
    let mut writer = EventWriter::create_file(&path, values.begun).unwrap();
    for (tag, step, value, time) in &values.scalars {
        writer.scalar(tag, *step, *value, *time).unwrap();
    }
    writer.flush().unwrap();
    assert!(std::fs::read(&path).unwrap() == SCALARS, "other bytes than TensorBoard's");
}

#[test]
fn tensorboard_files_are_read_correctly() {
    let values = values();
    same(scalars(SCALARS), values.scalars);
    assert!(!values.others.is_empty());
    let records = read(OTHERS).unwrap();
    let summaries = records.iter().flat_map(|record| &record.summary);
    let mut written = summaries.flat_map(|summary| &summary.values);
    assert!(written.any(|value| value.simple_value.is_none()), "no record of another kind");
    same(scalars(OTHERS), values.others);
}

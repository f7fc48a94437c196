//! Property tests.

use std::fs;

use proptest::prelude::*;

use crate::reports::tensorboard::{
    EventWriter,
    event_reader::{read, scalars},
    writer::FILE_VERSION,
};

fn written(values: &[(String, u32, f32, f64)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tfevents");
    let mut writer = EventWriter::create_file(&path, 1.5).unwrap();
    for (tag, step, value, time) in values {
        writer.scalar(tag, u64::from(*step), f64::from(*value), *time).unwrap();
    }
    drop(writer);
    fs::read(path).unwrap()
}

fn values() -> impl Strategy<Value = Vec<(String, u32, f32, f64)>> {
    let value = (".{0,20}", any::<u32>(), any::<f32>(), 0.0f64..4e9);
    prop::collection::vec(value, 0..20)
}

proptest! {
    #[test]
    fn written_scalars_are_read_back(values in values()) {
        let bytes = written(&values);
        let records = read(&bytes).unwrap();
        prop_assert_eq!(records[0].file_version.as_deref(), Some(FILE_VERSION));
        prop_assert_eq!(records[0].wall_time, 1.5);
        let found = scalars(&bytes);
        prop_assert_eq!(found.len(), values.len());
        for ((tag, step, value, time), expected) in found.into_iter().zip(values) {
            let (step, value) = (u32::try_from(step).unwrap(), value.to_bits());
            let expected = (expected.0, expected.1, expected.2.to_bits(), expected.3);
            prop_assert_eq!((tag, step, value, time), expected);
        }
    }

    #[test]
    fn flipped_bit_is_detected(values in values(), at in any::<prop::sample::Index>()) {
        let mut bytes = written(&values);
        let bit = at.index(8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn truncated_file_is_detected(values in values(), at in any::<prop::sample::Index>()) {
        let bytes = written(&values);
        let cut = &bytes[..at.index(bytes.len())];
        let whole = read(&bytes).unwrap();
        // Where the cut is between records, the records before it are all there.
        if let Ok(records) = read(cut) {
            prop_assert_eq!(&records[..], &whole[..records.len()]);
            prop_assert!(records.len() < whole.len());
        }
    }
}

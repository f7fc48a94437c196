//! Reader of event files for tests, which verifies every checksum.

use prost::Message;

use super::{proto::Record, record::masked_crc};

/// Returns all records of a file, or its first defect.
pub(super) fn read(mut bytes: &[u8]) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = checked(&mut bytes, 8)?;
        let length = u64::from_le_bytes(length.try_into().map_err(|_| "no length")?);
        let length = usize::try_from(length).map_err(|error| error.to_string())?;
        let record = checked(&mut bytes, length)?;
        records.push(Record::decode(record).map_err(|error| error.to_string())?);
    }
    Ok(records)
}

/// Takes `length` bytes and the checksum after them.
fn checked<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or("cut off")?;
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or("cut off")?;
    if u32::from_le_bytes(*crc) != masked_crc(taken) {
        return Err("wrong checksum".to_owned());
    }
    *bytes = rest;
    Ok(taken)
}

/// Returns tag, step, value and time of every scalar of a file, in order.
pub(super) fn scalars(bytes: &[u8]) -> Vec<(String, i64, f32, f64)> {
    let mut scalars = Vec::new();
    for record in read(bytes).unwrap() {
        for value in record.summary.into_iter().flat_map(|summary| summary.values) {
            if let Some(scalar) = value.simple_value {
                scalars.push((value.tag, record.step, scalar, record.wall_time));
            }
        }
    }
    scalars
}

//! TFRecord file format of TensorFlow: each record is its length in eight bytes, their
//! checksum, the bytes, and their checksum; numbers are little-endian.

use crc::{CRC_32_ISCSI, Crc, Table};

/// CRC-32C (Castagnoli).
static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
/// Offset added to a checksum, so that a record of records has no checksum of a checksum.
const MASK: u32 = 0xa282_ead8;

/// Computes the checksum as stored in a file.
pub(super) fn masked_crc(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes).rotate_right(15).wrapping_add(MASK)
}

/// Encodes a record as stored in a file.
pub(super) fn framed(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(record.len() + 16);
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(record);
    bytes.extend(masked_crc(record).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_rfc_3720() {
        // Appendix B.4: 32 bytes of zeros, of ones, and counting.
        assert_eq!(CRC32C.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(CRC32C.checksum(&[0xff; 32]), 0x62a8_ab43);
        let counting: Vec<u8> = (0..32).collect();
        assert_eq!(CRC32C.checksum(&counting), 0x46dd_794e);
    }
}

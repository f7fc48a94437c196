//! Files of settings, none larger than memory should hold.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

/// A file above this, in bytes, holds no settings.
const LARGEST_FILE: u64 = 16 << 20;

/// The bytes of a file of settings.
///
/// # Errors
/// What the system says; [`ErrorKind::FileTooLarge`] above 16 MiB.
pub fn read_settings(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        let reason = format!("it is longer than {} MiB, which no settings are", LARGEST_FILE >> 20);
        return Err(io::Error::new(ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// The text of a file of settings.
///
/// # Errors
/// As [`read_settings`], and for what is no UTF-8.
#[allow(dead_code, reason = "not all crates that are built with this file read text")]
pub fn read_settings_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_settings(path)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not valid UTF-8"))
}

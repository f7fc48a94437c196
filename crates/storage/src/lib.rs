//! Durable files, checksums, size-limited settings files and terminal-safe text.
//!
//! The leaf crate of the workspace: it knows neither tensors nor tables. After a crash or a power
//! cut, a file has its old content or its new content, never a mixture. Every [`Error`] names the
//! file or directory at fault.
//!
//! # Main types
//!
//! | Type or function | Purpose |
//! |---|---|
//! | [`write_atomic`], [`write_json`], [`write_json_lines`] | Replace a file as a whole |
//! | [`AtomicFile`] | Replaces a file by a stream of bytes |
//! | [`JsonLines`] | File that grows line by line and keeps a running checksum |
//! | [`create_directory`], [`rename`] | Directory and file names that survive a power cut |
//! | [`read_limited`], [`read_limited_text`], [`read_at_most`] | Read files up to a size limit, and refuse larger ones |
//! | [`sha256`], [`sha256_file`], [`Sha256`] | Checksums |
//! | [`terminal_safe`] | Escapes control characters in text from files |
//!
//! # Example
//!
//! ```
//! let directory = tempfile::tempdir()?;
//! let runs = directory.path().join("runs/first");
//! storage::create_directory(&runs)?;
//!
//! let settings = runs.join("settings.json");
//! storage::write_json(&settings, &[1, 2])?;
//! assert_eq!(storage::read_limited_text(&settings)?, "[\n  1,\n  2\n]\n");
//! assert_eq!(storage::sha256_file(&settings)?, storage::sha256(b"[\n  1,\n  2\n]\n"));
//!
//! let missing = storage::read_limited(&runs.join("absent.json")).unwrap_err();
//! assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
//! assert_eq!(storage::terminal_safe("red \u{1b}[31m"), "red \\u{1b}[31m");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod atomic;
mod checksum;
mod directory;
mod error;
mod json;
mod json_lines;
mod settings;
mod terminal_text;

pub use atomic::{AtomicFile, create_atomic, write_atomic};
pub use checksum::{Sha256, sha256, sha256_file};
pub use directory::{create_directory, rename};
pub use error::{Error, Result};
pub use json::{create_json, write_json, write_json_lines};
pub use json_lines::{JsonLines, Written};
pub use settings::{read_at_most, read_limited, read_limited_text};
pub use terminal_text::terminal_safe;

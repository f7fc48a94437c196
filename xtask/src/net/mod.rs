//! Files from servers that may be slow, moved, or down.

mod checksum;
mod client;
mod download;
mod progress;
mod retry;

pub use checksum::{Expected, Sum};
pub use client::{Client, Request, header};
pub use download::{download, part_of};
pub use progress::Progress;

//! Downloads from servers that may be slow, moved, down or hostile.

pub mod address;
mod checksum;
mod client;
mod download;
mod progress;
mod retry;

pub use checksum::{Expected, Sum};
pub use client::{Client, MOST_REDIRECTS, Refusal, Request, Response, header};
pub use download::{download, fetch_part, part_of};
pub use progress::Progress;
pub use retry::{Failure, of_network, retry};

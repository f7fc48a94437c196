//! Store and backends of a process group, on c10d if the linked libtorch has Gloo.

#[cfg(gloo)]
mod c10d;
#[cfg(not(gloo))]
mod unavailable;

#[cfg(gloo)]
pub use c10d::{Backend, HAS_NCCL, Store, pci_address};
#[cfg(not(gloo))]
pub use unavailable::{Backend, HAS_NCCL, Store, pci_address};

/// Failed call of c10d.
#[derive(Clone, Debug)]
pub struct Failure {
    pub kind: FailureKind,
    /// First line of c10d's message.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    TimedOut,
    #[cfg_attr(not(gloo), expect(dead_code, reason = "there is no connection to lose"))]
    Lost,
    Other,
}

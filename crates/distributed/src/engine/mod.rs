//! Store and backend of a process group, on c10d if the linked libtorch has Gloo.

#[cfg(gloo)]
mod c10d;
#[cfg(not(gloo))]
mod unavailable;

#[cfg(gloo)]
pub use c10d::{Backend, Store};
#[cfg(not(gloo))]
pub use unavailable::{Backend, Store};

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

//! Snapshot of every error message of this crate, `src/snapshots/error_messages.snap`. To update
//! it: `INSTA_UPDATE=always cargo test -p storage --lib error`, then review the difference.

use test_support::{assert_messages, messages};

use super::*;

fn errors() -> String {
    use Error as E;
    let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
    messages! {
        E::Read { .. } => E::read("data/a.csv")(refused()),
        E::Write { .. } => E::write("runs/a")(refused()),
    }
}

#[test]
fn messages_match_the_snapshot() {
    assert_messages! {
        "Error" => errors(),
    }
}

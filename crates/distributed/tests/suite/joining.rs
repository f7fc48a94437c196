//! Joining a group.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use test_support::Port;

use crate::ranks::{Rank, start};

const TIMEOUT: Duration = Duration::from_secs(3);

#[test]
fn rank_that_never_starts_is_named_by_all() {
    let port = Port::reserve();
    for rank in start("join", &port, [0, 1], 3, TIMEOUT) {
        let (begin, line) = (Instant::now(), rank.line());
        assert!(line.ends_with("join timed out after 3 s, waiting for rank 2"), "{line}");
        assert!(begin.elapsed() < 3 * TIMEOUT);
    }
}

#[test]
fn rank_0_that_never_starts_is_named() {
    let port = Port::reserve();
    let ranks = start("join", &port, [1], 2, TIMEOUT);
    let line = ranks[0].line();
    assert!(line.starts_with("rank 1: join timed out") && line.ends_with("rank 0"), "{line}");
}

#[test]
fn port_in_use_is_refused_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let begin = Instant::now();
    let line = Rank::start("join", port, 0, 2, Duration::from_secs(600)).line();
    assert!(line.starts_with("rank 0: join is not possible: "), "{line}");
    assert!(line.contains("address already in use"), "{line}");
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn second_process_with_a_rank_is_refused() {
    let port = Port::reserve();
    let ranks = start("join", &port, [0, 1, 1], 3, TIMEOUT);
    let lines: Vec<String> = ranks.iter().map(Rank::line).collect();
    assert!(lines[0].ends_with("waiting for rank 2"), "{lines:?}");
    let refused = |line: &&String| line.contains("another process has rank 1 at 127.0.0.1:");
    assert_eq!(lines[1..].iter().filter(refused).count(), 1, "{lines:?}");
}

#[test]
fn different_world_sizes_are_refused() {
    let port = Port::reserve();
    let mut ranks = start("join", &port, [0, 1], 3, TIMEOUT);
    ranks.push(Rank::start("join", port.number(), 2, 4, TIMEOUT));
    for rank in ranks {
        assert_eq!(rank.line(), "world size: rank 2 differs from the other ranks");
    }
}

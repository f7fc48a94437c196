//! Ranks that are killed or stopped.

use std::time::{Duration, Instant};

use test_support::{Port, counted};

use crate::ranks::{Rank, start};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(2);

/// Sends a signal to a rank during operations. Returns the line of each other rank, and the time
/// until it came.
fn lines_after(
    role: &str,
    world: usize,
    timeout: Duration,
    (victim, signal): (usize, &str),
) -> Vec<(String, Duration)> {
    let port = Port::reserve();
    let mut ranks = start(role, &port, 0..world, world, timeout);
    for rank in &ranks {
        assert_eq!(rank.line(), "running");
    }
    let victim = ranks.remove(victim);
    let begin = Instant::now();
    victim.signal(signal);
    ranks.iter().map(|rank: &Rank| (rank.line(), begin.elapsed())).collect()
}

#[track_caller]
fn assert_killed_rank_is_named(role: &str, victim: usize) {
    let lines = lines_after(role, 3, LONG, (victim, "KILL"));
    assert_eq!(lines.len(), 2);
    for (line, time) in lines {
        let words = format!("sum failed, the connection to rank {victim} was lost: ");
        assert!(line.contains(&words), "{line}");
        assert!(time < Duration::from_secs(2), "{time:?}: {line}");
    }
    counted(1, "killed ranks");
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn killed_rank_is_named_within_two_seconds() {
    assert_killed_rank_is_named("endless 0", 1);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn killed_rank_0_is_named_within_two_seconds() {
    assert_killed_rank_is_named("endless 0", 0);
}

/// Rank 1 is busy for 400 ms between operations, and notices later than rank 0.
#[test]
#[ignore = "run by cargo xtask soak"]
fn slow_rank_names_the_killed_rank_too() {
    assert_killed_rank_is_named("endless 400", 2);
}

#[track_caller]
fn assert_stopped_rank_is_named(victim: usize) {
    let lines = lines_after("endless 0", 2, SHORT, (victim, "STOP"));
    assert_eq!(lines.len(), 1);
    let (line, time) = &lines[0];
    let words = format!("sum timed out after 2 s, waiting for rank {victim}");
    assert!(line.ends_with(&words), "{line}");
    // An operation that was under way has waited before.
    assert!(*time > SHORT - Duration::from_millis(500), "{time:?}");
    assert!(*time < SHORT + Duration::from_secs(5), "{time:?}");
    counted(1, "stopped ranks");
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn stopped_rank_is_named_after_the_timeout() {
    assert_stopped_rank_is_named(1);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn stopped_rank_0_is_named_after_the_timeout() {
    assert_stopped_rank_is_named(0);
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn stopped_rank_is_named_by_all_others() {
    for (line, time) in lines_after("endless 0", 4, SHORT, (2, "STOP")) {
        assert!(line.contains("rank 2"), "{line}");
        assert!(time < SHORT + Duration::from_secs(5), "{time:?}");
    }
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn tickets_end_after_the_timeout_if_rank_0_is_stopped() {
    for (line, time) in lines_after("endless_tickets", 2, SHORT, (0, "STOP")) {
        assert_eq!(line, "rank 1: ticket timed out after 2 s, waiting for rank 0");
        assert!(time < SHORT + Duration::from_secs(5), "{time:?}");
    }
}

#[test]
#[ignore = "run by cargo xtask soak"]
fn tickets_survive_other_ranks() {
    let port = Port::reserve();
    let ranks = start("endless_tickets", &port, 0..3, 3, LONG);
    for rank in &ranks {
        assert_eq!(rank.line(), "running");
    }
    ranks[2].signal("KILL");
    ranks[0].signal("KILL");
    let line = ranks[1].line();
    assert!(
        line.starts_with("rank 1: ticket failed, the connection to rank 0 was lost: "),
        "{line}"
    );
}

//! Tensors on a GPU. One GPU is enough: NCCL refuses two ranks on a GPU of one machine, but
//! `NCCL_HOSTID` makes every rank a machine of its own, and NCCL then uses sockets on loopback.

use std::time::{Duration, Instant};

use test_support::{Port, counted};

use crate::{
    rank::{digest, sum_in_one_process},
    ranks::{PATIENCE, Rank, Variables, different_calls},
};

/// Time in which CUDA and NCCL have started.
const STARTED: Duration = Duration::from_secs(20);

/// Variables of a rank with a GPU that NCCL takes for its own.
fn with_nccl(rank: usize) -> Variables {
    let fixed = [("DEVICE", "0"), ("NCCL_SOCKET_IFNAME", "lo"), ("NCCL_IB_DISABLE", "1")];
    let mut all: Variables = fixed.map(|(name, value)| (name, value.to_owned())).into();
    all.push(("NCCL_HOSTID", format!("machine {rank}")));
    all
}

/// Variables of a rank that shares its GPU.
fn with_shared_gpu(_: usize) -> Variables {
    vec![("DEVICE", "0".to_owned())]
}

fn start(
    role: &str,
    world: usize,
    timeout: Duration,
    variables: fn(usize) -> Variables,
) -> Vec<Rank> {
    let port = Port::reserve();
    let start = |rank| Rank::start_with(role, port.number(), rank, world, timeout, variables(rank));
    (0..world).map(start).collect()
}

#[track_caller]
fn lines_of(role: &str, world: usize, variables: fn(usize) -> Variables) -> Vec<String> {
    start(role, world, PATIENCE, variables).iter().map(Rank::line).collect()
}

#[test]
#[ignore = "needs a CUDA device"]
fn nccl_is_chosen_if_each_rank_has_a_gpu() {
    for world in [2, 4] {
        assert_eq!(lines_of("transport", world, with_nccl), vec!["NCCL"; world]);
    }
}

#[test]
#[ignore = "needs a CUDA device"]
fn ranks_that_share_a_gpu_use_gloo() {
    let expected = "Gloo and not by NCCL, because ranks 0, 1 share a GPU";
    assert_eq!(lines_of("transport", 2, with_shared_gpu), [expected; 2]);
}

#[test]
#[ignore = "needs a CUDA device"]
fn tree_sum_has_the_bits_of_one_process() {
    // Each transport, the lengths of which differ in padding, and a rank on the CPU.
    let one_on_cpu = |rank| if rank == 0 { Vec::new() } else { with_nccl(rank) };
    for (world, micro_batches, variables) in [
        (2, 8, with_nccl as fn(usize) -> Variables),
        (3, 12, with_nccl),
        (4, 8, with_nccl),
        (2, 8, with_shared_gpu),
        (3, 12, one_on_cpu),
    ] {
        let expected = digest(&sum_in_one_process(micro_batches));
        let role = format!("sum tree {micro_batches} {micro_batches}");
        assert_eq!(lines_of(&role, world, variables), vec![expected; world], "{world} ranks");
    }
}

#[test]
#[ignore = "needs a CUDA device"]
fn ring_sum_has_the_same_bits_on_all_ranks() {
    for world in [2, 4] {
        let lines = lines_of("sum ring 8 8", world, with_nccl);
        assert_eq!(lines, vec![lines[0].clone(); world]);
    }
}

#[test]
#[ignore = "needs a CUDA device"]
fn broadcast_and_gather_work() {
    for role in ["broadcast", "gather"] {
        for world in [2, 4] {
            assert_eq!(lines_of(role, world, with_nccl), vec!["done"; world], "{role}");
        }
    }
}

#[test]
#[ignore = "needs a CUDA device"]
fn different_calls_are_errors_and_not_hangs() {
    assert_eq!(lines_of("differ", 3, with_nccl), vec![different_calls(); 3]);
}

#[test]
#[ignore = "needs a CUDA device"]
fn different_devices_are_errors_and_not_hangs() {
    let expected = "device of the tensor in sum: rank 1 differs from the other ranks";
    assert_eq!(lines_of("mixed", 3, with_nccl), [expected; 3]);
}

/// Returns the lines of the ranks other than rank 1 after a signal to it, and the time until then.
#[track_caller]
fn lines_after(signal: &str, world: usize, timeout: Duration) -> Vec<(String, Duration)> {
    let mut ranks = start("endless 0", world, timeout, with_nccl);
    for rank in &ranks {
        assert_eq!(rank.line(), "running");
    }
    let victim = ranks.remove(1);
    let begin = Instant::now();
    victim.signal(signal);
    ranks.iter().map(|rank| (rank.line(), begin.elapsed())).collect()
}

#[test]
#[ignore = "needs a CUDA device"]
fn killed_rank_is_named_within_two_seconds() {
    let mut lines = 0;
    // Each time, the rank dies at another point of an operation.
    for world in [2, 2, 2, 2, 3, 3] {
        for (line, time) in lines_after("KILL", world, Duration::from_secs(600)) {
            println!("{time:?}: {line}");
            assert!(line.contains("the connection to rank 1 was lost: "), "{line}");
            assert!(time < Duration::from_secs(2), "{time:?}: {line}");
            lines += 1;
        }
    }
    counted(lines, "survivors of a killed rank");
}

#[test]
#[ignore = "needs a CUDA device"]
fn stopped_rank_is_named_after_the_timeout() {
    for (line, time) in lines_after("STOP", 2, STARTED) {
        println!("{time:?}: {line}");
        assert!(line.ends_with("timed out after 20 s, waiting for rank 1"), "{line}");
        assert!(time < STARTED + Duration::from_secs(10), "{time:?}");
    }
}

/// The numbers of docs/distributed.md: gradients of the recipe on GPT-2 124M.
#[test]
#[ignore = "needs a CUDA device"]
fn sums_are_timed() {
    for (name, variables) in
        [("NCCL", with_nccl as fn(usize) -> Variables), ("Gloo", with_shared_gpu)]
    {
        for order in ["tree", "ring"] {
            let lines = lines_of(&format!("time {order} 2666528"), 2, variables);
            println!("{order}: {lines:?}");
            assert!(lines.iter().all(|line| line.contains(name)), "{lines:?}");
        }
    }
}

//! Collective operations.

use crate::{
    rank::{digest, sum_in_one_process},
    ranks::{different_calls, lines_of},
};

#[track_caller]
fn assert_all_done(role: &str, world: usize) {
    assert_eq!(lines_of(role, world), vec!["done"; world], "{role}");
}

#[test]
fn tree_sum_has_the_bits_of_one_process() {
    for (world, micro_batches) in [(2, 8), (3, 12), (4, 8)] {
        let expected = digest(&sum_in_one_process(micro_batches));
        let role = format!("sum tree {micro_batches} {micro_batches}");
        assert_eq!(lines_of(&role, world), vec![expected; world], "{world} ranks");
    }
}

#[test]
fn tree_sum_of_a_short_step_has_the_bits_of_one_process() {
    // Ranks 2 and 3 have no micro-batches.
    assert_eq!(lines_of("sum tree 8 3", 4), vec![digest(&sum_in_one_process(3)); 4]);
}

#[test]
fn ring_sum_has_the_same_bits_on_all_ranks() {
    let lines = lines_of("sum ring 8 8", 3);
    assert_eq!(lines, vec![lines[0].clone(); 3]);
    assert_ne!(lines[0], digest(&sum_in_one_process(8)), "the orders do not differ");
}

#[test]
fn uneven_micro_batches_are_refused() {
    for line in lines_of("sum tree 8 8", 3) {
        assert!(line.starts_with("8 micro-batches per step cannot be shared by 3"), "{line}");
    }
}

#[test]
fn broadcast_copies_all_types_from_rank_0() {
    assert_all_done("broadcast", 3);
}

#[test]
fn largest_value_is_known_to_all() {
    assert_all_done("max", 3);
}

#[test]
fn bytes_of_any_length_come_from_rank_0() {
    assert_all_done("broadcast_bytes", 3);
}

#[test]
fn items_are_computed_once_and_known_to_all() {
    for items in [0, 2, 10] {
        assert_all_done(&format!("map {items}"), 3);
    }
}

#[test]
fn gather_returns_rows_of_different_numbers() {
    assert_all_done("gather", 3);
}

#[test]
fn no_rank_passes_a_barrier_before_all_reach_it() {
    assert_all_done("barrier", 4);
}

#[test]
fn each_ticket_is_given_once() {
    let lines = lines_of("tickets", 4);
    let mut tickets: Vec<u64> = lines
        .iter()
        .flat_map(|line| line.split(' '))
        .map(|ticket| ticket.parse().unwrap())
        .collect();
    tickets.sort_unstable();
    assert_eq!(tickets, (0..20).collect::<Vec<u64>>());
}

#[test]
fn agreement_names_the_rank_that_differs() {
    assert_eq!(lines_of("agree", 3), vec!["seed: rank 1 differs from the other ranks"; 3]);
}

#[test]
fn different_calls_are_errors_and_not_aborts() {
    assert_eq!(lines_of("differ", 3), vec![different_calls(); 3]);
}

#[test]
fn tensors_on_the_cpu_travel_by_gloo() {
    assert_eq!(lines_of("transport", 3), ["Gloo"; 3]);
}

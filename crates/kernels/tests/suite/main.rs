//! Every kernel, with every instruction set of this machine, against float64.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::needless_range_loop, reason = "references are written like their formulas")]

mod allocations;
mod attention;
mod elementwise;
mod generation;
mod layer_norm;
mod optimizer;
mod product;
mod product_properties;
mod reference;

use std::io::Write as _;

use kernels::Isa;

/// Instruction sets that this CPU lacks are skipped, reported and counted.
#[test]
fn every_instruction_set_is_tested_or_reported() {
    let available = Isa::available();
    let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
    let skipped: Vec<&&str> = Isa::NAMES.iter().filter(|name| !names.contains(name)).collect();
    // Not captured by the test harness.
    let mut terminal = std::io::stderr();
    let (count, all) = (skipped.len(), Isa::NAMES.len());
    writeln!(terminal, "instruction sets skipped: {count} of {all} {skipped:?}").unwrap();
    assert_eq!(names.len() + skipped.len(), all);
    assert_eq!(available[0], Isa::PORTABLE);
    assert_eq!(available.last(), Some(&Isa::detect()));
}

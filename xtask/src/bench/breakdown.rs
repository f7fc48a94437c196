//! Share of each kind of work in the time of a training step.

use std::path::Path;

use anyhow::Result;

use super::{
    contender::Contender,
    protocol::{Breakdown, Trained},
    rust_contender::{self, PACKED},
    table::aligned,
};

/// Steps before anything is measured.
const WARM_UP: u32 = 2;

/// Measures steps of the recipe on the CPU kernels.
pub fn measure(
    root: &Path,
    folder: &Path,
    data: Option<&Path>,
    steps: u32,
    threads: usize,
) -> Result<Breakdown> {
    let program = rust_contender::build(root)?;
    let job = folder.join("job");
    rust_contender::write_job(root, &program, &job, data)?;
    let command = rust_contender::contender(root, &program, PACKED, &job, threads);
    let log = folder.join("breakdown.log");
    measure_one(Contender::start(PACKED, command, &log)?, steps)
}

fn measure_one(mut one: Contender, steps: u32) -> Result<Breakdown> {
    one.ask::<Trained>(&format!("train {WARM_UP}"))?;
    let breakdown = one.ask(&format!("breakdown {steps}"))?;
    one.quit()?;
    Ok(breakdown)
}

/// The shares as a table.
pub fn text(breakdown: &Breakdown, threads: usize) -> String {
    let Breakdown { seconds, steps, limit_gflops, work } = breakdown;
    let head = ["", "share %", "ms/step", "Gflop/s", "% of limit"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(work.iter().map(|one| {
        let gflops = one.operations / one.seconds / 1e9;
        let speed = |number: f64, digits: usize| {
            if one.operations > 0.0 { format!("{number:.digits$}") } else { String::new() }
        };
        vec![
            one.name.clone(),
            format!("{:.1}", 100.0 * one.seconds / seconds),
            format!("{:.1}", 1e3 * one.seconds / *steps as f64),
            speed(gflops, 1),
            speed(100.0 * gflops / limit_gflops, 0),
        ]
    }));
    format!(
        "{steps} steps of {PACKED} on {threads} threads, {:.1} ms each; the limit of the \
         CPU is {limit_gflops:.1} Gflop/s, measured in the first-level cache\n{}",
        1e3 * seconds / *steps as f64,
        aligned(&lines)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::protocol::parse;

    #[test]
    fn shares_and_speeds_are_listed() {
        let line = r#"{"seconds": 2.0, "steps": 4, "limit_gflops": 160, "work": [
            {"name": "frozen products", "seconds": 1.5, "operations": 180e9},
            {"name": "optimizer", "seconds": 0.5, "operations": 0}]}"#;
        let text = text(&parse(line).unwrap(), 2);
        assert!(text.starts_with("4 steps of packed on 2 threads, 500.0 ms each; the limit"));
        assert!(
            text.contains("frozen products     75.0    375.0    120.0          75\n"),
            "{text}"
        );
        assert!(text.contains("optimizer           25.0    125.0"), "{text}");
    }
}

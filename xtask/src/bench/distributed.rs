//! Training steps that several processes on this machine share.

use std::{net::TcpListener, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    contender::Contender,
    protocol::{Timed, Trained},
    rust_contender,
    table::aligned,
};

/// Contender whose steps have four micro-batches.
const SHARED: &str = "packed-shared";
/// Numbers of processes.
const PROCESSES: [usize; 3] = [1, 2, 4];
/// Sums and copies that are measured together, and how often: the shortest time counts.
const REPEATED: u32 = 20;
const TIMES: usize = 5;

/// Cost of a step and of its parts.
#[derive(Debug, Serialize)]
pub struct Shared {
    pub processes: usize,
    pub threads_per_process: usize,
    /// Sums over all processes, in a tree and in Gloo's ring.
    pub tree_ms: f64,
    pub ring_ms: f64,
    /// Copy of the gradients in memory.
    pub copy_ms: f64,
    pub step_ms: f64,
}

pub fn measure(
    root: &Path,
    folder: &Path,
    data: Option<&Path>,
    steps: u32,
    threads: usize,
) -> Result<Vec<Shared>> {
    let program = rust_contender::build(root)?;
    let job = folder.join("job");
    rust_contender::write_job(root, &program, &job, data)?;
    let start = |processes: usize| -> Result<Vec<Contender>> {
        // The cores of the machine are shared too.
        let threads = (threads / processes).max(1);
        let port = free_port()?.to_string();
        let start = |rank: usize| {
            say!("loading {SHARED}, rank {rank} of {processes}");
            let mut command = rust_contender::contender(root, &program, SHARED, &job, threads);
            command.envs([("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &port)]);
            command.env("RANK", rank.to_string()).env("WORLD_SIZE", processes.to_string());
            Contender::start(SHARED, command, &folder.join(format!("{SHARED}-{rank}.log")))
        };
        let mut ranks = (0..processes).map(start).collect::<Result<Vec<_>>>()?;
        Contender::ask_all::<Timed>(&mut ranks, "join")?;
        Ok(ranks)
    };
    let mut groups = PROCESSES.map(start).into_iter().collect::<Result<Vec<_>>>()?;
    let mut best = [[f64::INFINITY; 4]; PROCESSES.len()];
    for round in 0..=TIMES {
        for (ranks, best) in groups.iter_mut().zip(&mut best) {
            let measured = measure_once(ranks, steps)?;
            // The first round warms up.
            if round > 0 {
                best.iter_mut().zip(measured).for_each(|(best, ms)| *best = best.min(ms));
            }
        }
    }
    let shared = |(processes, [tree_ms, ring_ms, copy_ms, step_ms]): (usize, [f64; 4])| Shared {
        processes,
        threads_per_process: (threads / processes).max(1),
        tree_ms,
        ring_ms,
        copy_ms,
        step_ms,
    };
    Ok(PROCESSES.into_iter().zip(best).map(shared).collect())
}

/// Milliseconds of a sum in a tree, in a ring, of a copy, and of a step.
fn measure_once(ranks: &mut [Contender], steps: u32) -> Result<[f64; 4]> {
    let mut ms = [0.0; 4];
    for (ms, work) in ms.iter_mut().zip(["sum tree", "sum ring", "copy"]) {
        let Timed { seconds } = Contender::ask_all(ranks, &format!("{work} {REPEATED}"))?;
        *ms = 1e3 * seconds / f64::from(REPEATED);
    }
    let trained: Trained = Contender::ask_all(ranks, &format!("train {steps}"))?;
    ms[3] = 1e3 * trained.seconds / trained.steps as f64;
    Ok(ms)
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port of this machine is free")?;
    Ok(listener.local_addr()?.port())
}

/// The costs as a table.
pub fn text(all: &[Shared]) -> String {
    let heading =
        ["processes", "threads each", "tree ms", "ring ms", "copy ms", "step ms", "speed"];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    let first = all.first().map_or(f64::NAN, |one| one.step_ms);
    lines.extend(all.iter().map(|one| {
        vec![
            one.processes.to_string(),
            one.threads_per_process.to_string(),
            format!("{:.1}", one.tree_ms),
            format!("{:.1}", one.ring_ms),
            format!("{:.2}", one.copy_ms),
            format!("{:.0}", one.step_ms),
            format!("{:.2}x", first / one.step_ms),
        ]
    }));
    format!("steps of four micro-batches; shortest of {TIMES} rounds\n{}", aligned(&lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_relative_to_one_process() {
        let shared = |processes, step_ms| Shared {
            processes,
            threads_per_process: 1,
            tree_ms: 1.0,
            ring_ms: 0.5,
            copy_ms: 0.25,
            step_ms,
        };
        let text = text(&[shared(1, 300.0), shared(2, 200.0)]);
        assert!(text.ends_with("1.0      0.5     0.25      200  1.50x\n"), "{text}");
    }
}

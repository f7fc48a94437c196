//! The Rust side of `cargo xtask bench`: a process that loads a job and then does
//! units of work as they are asked for on standard input, a line each, and
//! answers each with a line of JSON. Being asked in turn with others, it is
//! measured under the same conditions.
//!
//!     contender write-job DIR [--data FILE]
//!     contender write-shape DIR ROWS TOKENS LAYERS RANK
//!     contender run NAME --job DIR [--threads N | --device DEVICE]
//!
//! Run with nothing that it knows, as by `cargo bench`, it says so and succeeds.

mod job;
mod roof;
mod work;

use std::{
    io::{BufRead, Write},
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use gpt2_model::{Arithmetic, DType, resolve_device};
use job::Job;
use tch::Device;
use trainer::{StepConfig, process::prepare_process};
use work::{Predicting, Training};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write-job", folder] => job::write(Path::new(folder), None),
        ["write-job", folder, "--data", data] => {
            job::write(Path::new(folder), Some(Path::new(data)))
        }
        ["write-shape", folder, rows, tokens, layers, rank] => {
            let number = |word: &&str| word.parse().context("a shape is four numbers");
            let [rows, tokens, layers, rank] = [rows, tokens, layers, rank];
            let shape = [number(rows)?, number(tokens)?, number(layers)?, number(rank)?];
            job::write_shape(Path::new(folder), shape)
        }
        ["run", name, "--job", folder] => run(name, Path::new(folder), None, Device::Cpu),
        ["run", name, "--job", folder, "--threads", threads] => {
            let threads = threads.parse().context("--threads is not a number")?;
            run(name, Path::new(folder), Some(threads), Device::Cpu)
        }
        ["run", name, "--job", folder, "--device", device] => {
            let choice = device.parse().map_err(|error: String| anyhow!(error))?;
            run(name, Path::new(folder), None, resolve_device(choice)?)
        }
        _ => {
            eprintln!("this program is run by `cargo xtask bench`");
            Ok(())
        }
    }
}

/// Something that does units of work.
trait Contender {
    /// Does what was asked for; `None` if it knows no such work.
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>>;
}

fn run(name: &str, folder: &Path, threads: Option<i32>, device: Device) -> Result<()> {
    // This is the first thing that the program does, on its only thread.
    prepare_process(if name == "book" { Arithmetic::Stepwise } else { Arithmetic::Fused });
    if let Some(threads) = threads {
        tch::set_num_threads(threads);
    }
    let start = Instant::now();
    let job = Job::read(folder, device)?;
    let mut contender: Box<dyn Contender> = match name {
        "packed" => Box::new(Training::packed(job, StepConfig::default(), false)?),
        "packed-bfloat16" => {
            let config = StepConfig { dtype: DType::Bfloat16, ..StepConfig::default() };
            Box::new(Training::packed(job, config, false)?)
        }
        "packed-checkpointed" => Box::new(Training::packed(job, StepConfig::default(), true)?),
        "book" => Box::new(Training::book(job)?),
        "predict" => Box::new(Predicting::new(job)?),
        _ => bail!("unknown contender {name}"),
    };
    say(&json!({ "load_seconds": start.elapsed().as_secs_f64() }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["quit"] {
            return say(&json!({ "peak_memory_bytes": peak_memory()? }));
        }
        match contender.answer(&words)? {
            Some(answer) => say(&answer)?,
            None => bail!("{name} cannot do \"{line}\""),
        }
    }
    Ok(())
}

fn say(answer: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

/// The most memory that this process has had at a time.
fn peak_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("no /proc here")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(1024 * kilobytes.context("/proc/self/status has no VmHWM")?)
}

//! Rust contender of `cargo xtask bench`: a process that loads a job, reads units of work from
//! standard input, one per line, and answers each with a line of JSON. Contenders take turns, so
//! that all are measured under the same conditions.
//!
//!     contender write-job DIR [--data FILE]
//!     contender write-shape DIR ROWS TOKENS LAYERS RANK
//!     contender run NAME --job DIR [--threads N | --device DEVICE]
//!
//! With other arguments, as from `cargo bench`, it prints a note and succeeds.

mod job;
mod language_model;
mod roof;
mod shared;
mod steps;
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
use language_model::LanguageModelTraining;
use shared::SharedTraining;
use tch::Device;
use trainer::process::{peak_memory, prepare_process};
use work::{Generating, Predicting, Training};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write-job", folder] => job::write(Path::new(folder), None),
        ["write-job", folder, "--data", data] => {
            job::write(Path::new(folder), Some(Path::new(data)))
        }
        ["write-shape", folder, rows, tokens, layers, rank] => {
            let number = |word: &&str| word.parse().context("expected four integers");
            let [rows, tokens, layers, rank] = [rows, tokens, layers, rank];
            let shape = [number(rows)?, number(tokens)?, number(layers)?, number(rank)?];
            job::write_shape(Path::new(folder), shape)
        }
        ["run", name, "--job", folder] => run(name, Path::new(folder), None, Device::Cpu),
        ["run", name, "--job", folder, "--threads", threads] => {
            let threads = threads.parse().context("--threads: expected an integer")?;
            run(name, Path::new(folder), Some(threads), Device::Cpu)
        }
        ["run", name, "--job", folder, "--device", device] => {
            let choice = device.parse().map_err(|error: String| anyhow!(error))?;
            run(name, Path::new(folder), None, resolve_device(choice)?)
        }
        _ => {
            eprintln!("note: this program is run by `cargo xtask bench`");
            Ok(())
        }
    }
}

/// Contender, which does units of work.
trait Contender {
    /// Does a unit of work; `None` if it is unknown.
    fn answer(&mut self, words: &[&str]) -> Result<Option<Value>>;
}

fn run(name: &str, folder: &Path, threads: Option<i32>, device: Device) -> Result<()> {
    // The process has one thread and has not computed yet, as `prepare_process` requires.
    prepare_process(if name == "book" { Arithmetic::Stepwise } else { Arithmetic::Fused });
    if let Some(threads) = threads {
        tch::set_num_threads(threads);
    }
    let start = Instant::now();
    let job = Job::read(folder, device)?;
    let libtorch = Some(Arithmetic::Fused);
    let mut contender: Box<dyn Contender> = match name {
        "packed" => Box::new(Training::packed(job, None, DType::Float32)?),
        "packed-libtorch" => Box::new(Training::packed(job, libtorch, DType::Float32)?),
        "packed-bfloat16" => Box::new(Training::packed(job, None, DType::Bfloat16)?),
        "packed-bfloat16-libtorch" => Box::new(Training::packed(job, libtorch, DType::Bfloat16)?),
        "packed-checkpointed" => Box::new(Training::checkpointed(job)?),
        "packed-shared" => Box::new(SharedTraining::new(job)?),
        "book" => Box::new(Training::book(job)?),
        "predict" => Box::new(Predicting::new(job, None, DType::Float32)?),
        "predict-libtorch" => Box::new(Predicting::new(job, libtorch, DType::Float32)?),
        "predict-bfloat16" => Box::new(Predicting::new(job, None, DType::Bfloat16)?),
        "predict-bfloat16-libtorch" => Box::new(Predicting::new(job, libtorch, DType::Bfloat16)?),
        "generate" => Box::new(Generating::new(job)?),
        "language-model" => Box::new(LanguageModelTraining::new(job, None, DType::Float32)?),
        "language-model-libtorch" => {
            Box::new(LanguageModelTraining::new(job, libtorch, DType::Float32)?)
        }
        "language-model-bfloat16" => {
            Box::new(LanguageModelTraining::new(job, None, DType::Bfloat16)?)
        }
        _ => bail!("unknown contender {name}"),
    };
    print(&json!({ "load_seconds": start.elapsed().as_secs_f64() }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["quit"] {
            return print(
                &json!({ "peak_memory_bytes": peak_memory().context("this system does not report the peak memory")? }),
            );
        }
        match contender.answer(&words)? {
            Some(answer) => print(&answer)?,
            None => bail!("{name}: unknown work {line:?}"),
        }
    }
    Ok(())
}

fn print(answer: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

//! Upper bound of the training speed: the speed of float32 matrix products, and the number of
//! their operations in a training step.

use std::{thread, time::Instant};

use anyhow::{Result, anyhow};
use gpt2_model::{Gpt2Config, Linear, LinearLayer};
use kernels::{Isa, Matrix, MatrixMut, PackedWeights, Precision, Scratch, Write};
use serde_json::{Value, json};
use tch::{Device, Kind, TchError, Tensor};

use crate::job::Job;

/// Repetitions of each product, of which the fastest counts.
const REPETITIONS: usize = 20;

/// The four linear layers of a block, `(in, out)`.
fn shapes(config: &Gpt2Config) -> [(i64, i64); 4] {
    let (dim, inner) = (config.n_embd, config.inner());
    [(dim, 3 * dim), (dim, dim), (dim, inner), (inner, dim)]
}

/// Measures the speed of the products of a block at the mean number of tokens per step, as
/// computed by libtorch (MKL on x86) and by the model (oneDNN).
pub fn measure(job: &Job, config: &Gpt2Config) -> Result<Value> {
    let tokens: usize = job.batches.iter().map(|batch| job.tokens(batch)).sum();
    let mean_tokens = tokens as f64 / job.batches.len() as f64;
    let rows = mean_tokens.round() as i64;
    let _no_grad = tch::no_grad_guard();
    let (mut flops, mut seconds) = (0.0, [0.0; 2]);
    for (input, output) in shapes(config) {
        let options = (Kind::Float, Device::Cpu);
        let x = Tensor::f_randn([rows, input], options)?;
        let weight = Tensor::f_randn([output, input], options)?;
        let layer = Linear::new(weight.shallow_clone(), None);
        flops += (2 * rows * input * output) as f64;
        seconds[0] += fastest(|| x.f_linear::<Tensor>(&weight, None))?;
        seconds[1] += fastest(|| layer.forward(&x))?;
    }
    let [mkl, onednn] = seconds.map(|seconds| flops / seconds / 1e9);
    Ok(json!({
        "gflops": { "mkl": mkl, "onednn": onednn },
        "rows": rows,
        "flops_per_token": step_flops(job, config, mean_tokens) / mean_tokens,
    }))
}

/// Measures the limit of the CPU: the Gflop/s of a float32 product whose operands stay in the
/// first-level cache, on all threads at once.
pub fn kernel_limit(threads: usize) -> Result<f64> {
    const SHAPE: [usize; 3] = [12, 256, 32];
    const PRODUCTS: usize = 2_000;
    let [rows, inner, columns] = SHAPE;
    let work = || -> Result<(), kernels::Error> {
        let (left, right) = (vec![0.5; rows * inner], vec![0.25; inner * columns]);
        let mut output = vec![0.0; rows * columns];
        let right = Matrix::new(&right, inner, columns)?;
        let packed = PackedWeights::pack(Isa::detect(), Precision::Float32, &right)?;
        let mut scratch = Scratch::new();
        for _ in 0..PRODUCTS {
            let left = Matrix::new(&left, rows, inner)?;
            let to = &mut MatrixMut::new(&mut output, rows, columns)?;
            packed.multiply(&left, to, Write::Replace, &mut scratch)?;
        }
        Ok(())
    };
    let mut best = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        thread::scope(|scope| -> Result<()> {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            all.into_iter().try_for_each(|one| {
                one.join().map_err(|_| anyhow!("a thread panicked"))?.map_err(Into::into)
            })
        })?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok((2 * rows * inner * columns * PRODUCTS * threads) as f64 / best / 1e9)
}

fn fastest(mut product: impl FnMut() -> Result<Tensor, TchError>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        let _ = product()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Floating-point operations of the matrix products of a step on `tokens` tokens, without
/// attention, norms, activations and optimizer.
fn step_flops(job: &Job, config: &Gpt2Config, tokens: f64) -> f64 {
    let (pooled, rank) = (job.batch_size as f64, job.rank as f64);
    let layers = config.n_layer;
    let mut sum = 0.0;
    for layer in 0..layers {
        let last = layer + 1 == layers;
        for (place, (input, output)) in shapes(config).into_iter().enumerate() {
            let (input, output) = (input as f64, output as f64);
            // Query, key and value have separate adapters.
            let adapters = if place == 0 { 3.0 } else { 1.0 };
            // After keys and values, the last block computes only pooled tokens.
            let rows = match (last, place) {
                (true, 0) => (2.0 * tokens + pooled) / 3.0,
                (true, _) => pooled,
                (false, _) => tokens,
            };
            // No gradient is needed below the first adapter.
            let passes = if layer == 0 && place == 0 { 1.0 } else { 2.0 };
            sum += 2.0 * rows * input * output * passes;
            let adapter = 2.0 * rows * rank * (adapters * input + output);
            // Forward pass, gradients of A and B, gradient of the input.
            sum += adapter * (1.0 + passes);
        }
    }
    sum
}

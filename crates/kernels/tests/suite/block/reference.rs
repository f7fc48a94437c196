//! The same block in float64: a naive forward pass, and its gradient by central differences.

use super::worker::{Block, Worker};
use super::{HEADS, LAYERS, RANK, SCALE, WIDTH};
use crate::reference::numerical_gradient;

pub struct Reference {
    pub output: Vec<f64>,
    pub input_gradient: Vec<f64>,
    pub adapter_gradient: Vec<f64>,
}

pub fn run(block: &Block, worker: &Worker) -> Reference {
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&x| f64::from(x)).collect() };
    let (input, adapters) = (wide(&worker.input), wide(&block.adapters));
    let weights = wide(&worker.output_gradient);
    let loss = |output: &[f64]| output.iter().zip(&weights).map(|(a, b)| a * b).sum::<f64>();
    Reference {
        output: forward(block, worker, &adapters, &input),
        input_gradient: numerical_gradient(&input, |x| loss(&forward(block, worker, &adapters, x))),
        adapter_gradient: numerical_gradient(&adapters, |x| {
            loss(&forward(block, worker, x, &input))
        }),
    }
}

fn forward(block: &Block, worker: &Worker, adapters: &[f64], input: &[f64]) -> Vec<f64> {
    let qkv = linear(block, worker, adapters, 0, &norm(block, 0, input));
    let attended = attention(worker.lengths, &qkv);
    let mut middle = linear(block, worker, adapters, 1, &attended);
    middle.iter_mut().zip(input).for_each(|(sum, x)| *sum += x);
    let mut hidden = linear(block, worker, adapters, 2, &norm(block, 1, &middle));
    for x in &mut hidden {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (*x + 0.044715 * x.powi(3));
        *x *= 0.5 * (1.0 + inner.tanh());
    }
    let mut output = linear(block, worker, adapters, 3, &hidden);
    output.iter_mut().zip(&middle).for_each(|(sum, x)| *sum += x);
    output
}

fn norm(block: &Block, number: usize, input: &[f64]) -> Vec<f64> {
    let [gamma, beta] = &block.norms[number];
    let mut output = Vec::new();
    for row in input.chunks(WIDTH) {
        let mean = row.iter().sum::<f64>() / WIDTH as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / WIDTH as f64;
        for (x, (gamma, beta)) in row.iter().zip(gamma.iter().zip(beta)) {
            let normalized = (x - mean) / (variance + f64::from(1e-5_f32)).sqrt();
            output.push(normalized * f64::from(*gamma) + f64::from(*beta));
        }
    }
    output
}

fn linear(
    block: &Block,
    worker: &Worker,
    adapters: &[f64],
    layer: usize,
    input: &[f64],
) -> Vec<f64> {
    let [inputs, outputs, slices] = LAYERS[layer];
    let range = block.ranges()[layer].clone();
    let (a, b) = adapters[range].split_at(slices * RANK * inputs);
    let mut output = Vec::new();
    for (token, row) in input.chunks(inputs).enumerate() {
        let mask = &worker.mask(layer)[token * inputs..(token + 1) * inputs];
        let inner: Vec<f64> = a
            .chunks(inputs)
            .map(|a| (0..inputs).map(|i| a[i] * row[i] * f64::from(mask[i])).sum())
            .collect();
        for out in 0..outputs {
            let weight = &block.weights[layer][out * inputs..(out + 1) * inputs];
            let mut sum = f64::from(block.biases[layer][out]);
            sum += row.iter().zip(weight).map(|(x, w)| x * f64::from(*w)).sum::<f64>();
            let slice = out / (outputs / slices);
            for rank in 0..RANK {
                let inner = inner[slice * RANK + rank];
                sum += f64::from(SCALE) * b[out * RANK + rank] * inner;
            }
            output.push(sum);
        }
    }
    output
}

fn attention(lengths: &[usize], qkv: &[f64]) -> Vec<f64> {
    let size = WIDTH / HEADS;
    let mut output = vec![0.0; qkv.len() / 3];
    let mut start = 0;
    for &length in lengths {
        for head in 0..HEADS {
            let slice = |token: usize, slice: usize| {
                let first = (start + token) * 3 * WIDTH + slice * WIDTH + head * size;
                &qkv[first..first + size]
            };
            for token in 0..length {
                let exponentials: Vec<f64> = (0..=token)
                    .map(|key| {
                        let score: f64 =
                            slice(token, 0).iter().zip(slice(key, 1)).map(|(q, k)| q * k).sum();
                        (score / (size as f64).sqrt()).exp()
                    })
                    .collect();
                let sum: f64 = exponentials.iter().sum();
                for (key, exponential) in exponentials.iter().enumerate() {
                    for index in 0..size {
                        let to = (start + token) * WIDTH + head * size + index;
                        output[to] += exponential / sum * slice(key, 2)[index];
                    }
                }
            }
        }
        start += length;
    }
    output
}

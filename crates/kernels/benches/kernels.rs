//! Speed of the kernels: `cargo bench --profile dev -p kernels`. Products and attention are given
//! in floating point operations ("items") a second.

#![allow(clippy::unwrap_used, reason = "benchmark")]

use divan::{Bencher, counter::ItemsCount};
use kernels::{
    AdamW, Attention, Gelu, Isa, LayerNorm, Matrix, MatrixMut, PackedWeights, Precision, Scratch,
    Statistics, Write, multiply, multiply_few_rows, padded_stride,
};

fn main() {
    println!("instruction set: {}", Isa::detect());
    divan::main();
}

/// Tokens in a batch.
const ROWS: [usize; 4] = [64, 128, 245, 512];
/// Inputs and outputs of the linear layers of GPT-2 124M.
const SHAPES: [[usize; 2]; 4] = [[768, 2304], [768, 768], [768, 3072], [3072, 768]];

/// Numbers between −0.5 and 0.5 (a linear congruential generator).
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn operations(count: usize) -> ItemsCount {
    ItemsCount::new(2 * count)
}

/// Tokens, inputs and outputs of every product.
fn products() -> impl Iterator<Item = [usize; 3]> {
    SHAPES.into_iter().flat_map(|[inputs, outputs]| ROWS.map(|rows| [rows, inputs, outputs]))
}

/// The product of a frozen weight with the rows of each thread.
fn product(bencher: Bencher<'_, '_>, [rows, inputs, outputs]: [usize; 3], precision: Precision) {
    let weight = numbers(inputs * outputs);
    let weight = Matrix::new(&weight, outputs, inputs).unwrap().transposed();
    let packed = PackedWeights::pack(Isa::detect(), precision, &weight).unwrap();
    let stride = padded_stride(inputs);
    let input = numbers(rows * stride);
    let input = Matrix::with_stride(&input, rows, inputs, stride).unwrap();
    bencher
        .counter(operations(rows * inputs * outputs))
        .with_inputs(|| (vec![0.0; rows * outputs], Scratch::new()))
        .bench_refs(|(output, scratch)| {
            let mut output = MatrixMut::new(output, rows, outputs).unwrap();
            packed.multiply(&input, &mut output, Write::Replace, scratch).unwrap();
        });
}

#[divan::bench(args = products(), threads = [1, 2])]
fn product_float32(bencher: Bencher<'_, '_>, sizes: [usize; 3]) {
    product(bencher, sizes, Precision::Float32);
}

#[divan::bench(args = products(), threads = [1, 2])]
fn product_bfloat16(bencher: Bencher<'_, '_>, sizes: [usize; 3]) {
    product(bencher, sizes, Precision::BFloat16);
}

/// The gradient of `a: [rank, inputs]` of an adapter: `(g * b)ᵀ * x`.
#[divan::bench(args = [[122, 8, 768], [122, 16, 768], [122, 48, 768], [122, 16, 3072]])]
fn adapter_gradient(bencher: Bencher<'_, '_>, [rows, rank, inputs]: [usize; 3]) {
    let (inner, input) = (numbers(rows * rank), numbers(rows * inputs));
    let inner = Matrix::new(&inner, rows, rank).unwrap().transposed();
    let input = Matrix::new(&input, rows, inputs).unwrap();
    let mut gradient = vec![0.0; rank * inputs];
    let mut scratch = Scratch::new();
    bencher.counter(operations(rows * rank * inputs)).bench_local(|| {
        let mut gradient = MatrixMut::new(&mut gradient, rank, inputs).unwrap();
        let isa = Isa::detect();
        multiply(isa, 1.0, &inner, &input, &mut gradient, Write::Add, &mut scratch).unwrap();
    });
}

#[divan::bench]
fn pack_transposed(bencher: Bencher<'_, '_>) {
    let weight = numbers(768 * 3072);
    let weight = Matrix::new(&weight, 3072, 768).unwrap().transposed();
    bencher
        .counter(ItemsCount::new(weight.shape()[0] * weight.shape()[1]))
        .bench_local(|| PackedWeights::pack(Isa::detect(), Precision::Float32, &weight).unwrap());
}

#[divan::bench(args = [Gelu::Tanh, Gelu::Erf])]
fn gelu_forward(bencher: Bencher<'_, '_>, gelu: Gelu) {
    let input = numbers(128 * 3072);
    let mut output = vec![0.0; input.len()];
    bencher
        .counter(ItemsCount::new(input.len()))
        .bench_local(|| gelu.forward(Isa::detect(), &input, &mut output).unwrap());
}

#[divan::bench(args = [Gelu::Tanh, Gelu::Erf])]
fn gelu_backward(bencher: Bencher<'_, '_>, gelu: Gelu) {
    let input = numbers(128 * 3072);
    let mut gradient = vec![0.0; input.len()];
    bencher
        .counter(ItemsCount::new(input.len()))
        .bench_local(|| gelu.backward(Isa::detect(), &input, &mut gradient).unwrap());
}

#[divan::bench(args = [false, true])]
fn layer_norm(bencher: Bencher<'_, '_>, backward: bool) {
    let (input, parameters) = (numbers(128 * 768), numbers(768));
    let norm = LayerNorm { gamma: &parameters, beta: &parameters, epsilon: 1e-5 };
    let input = Matrix::new(&input, 128, 768).unwrap();
    let mut statistics = vec![Statistics::default(); 128];
    let mut output = vec![0.0; 128 * 768];
    bencher.counter(ItemsCount::new(128_usize * 768)).bench_local(|| {
        let mut output = MatrixMut::new(&mut output, 128, 768).unwrap();
        if backward {
            norm.backward(Isa::detect(), &input, &statistics, &input, &mut output).unwrap();
        } else {
            norm.forward(Isa::detect(), &input, &mut output, &mut statistics).unwrap();
        }
    });
}

/// Lengths of sequences.
const LENGTHS: [usize; 4] = [32, 128, 512, 1024];
/// Attention of GPT-2 124M.
const ATTENTION: Attention = Attention { heads: 12, head_size: 64, scale: 0.125 };

#[divan::bench(args = LENGTHS)]
fn attention_forward(bencher: Bencher<'_, '_>, length: usize) {
    let qkv = numbers(length * 2304);
    let qkv = Matrix::new(&qkv, length, 2304).unwrap();
    let (mut output, mut log_sums) = (vec![0.0; length * 768], vec![0.0; 12 * length]);
    let mut scratch = Scratch::new();
    // Two products of which the causal half is needed.
    bencher.counter(operations(length * length * 768)).bench_local(|| {
        let mut output = MatrixMut::new(&mut output, length, 768).unwrap();
        let isa = Isa::detect();
        ATTENTION.forward(isa, &qkv, &mut output, &mut log_sums, &mut scratch).unwrap();
    });
}

#[divan::bench(args = LENGTHS)]
fn attention_backward(bencher: Bencher<'_, '_>, length: usize) {
    let isa = Isa::detect();
    let qkv = numbers(length * 2304);
    let qkv = Matrix::new(&qkv, length, 2304).unwrap();
    let (mut output, mut log_sums) = (vec![0.0; length * 768], vec![0.0; 12 * length]);
    let mut scratch = Scratch::new();
    let mut matrix = MatrixMut::new(&mut output, length, 768).unwrap();
    ATTENTION.forward(isa, &qkv, &mut matrix, &mut log_sums, &mut scratch).unwrap();
    let output = Matrix::new(&output, length, 768).unwrap();
    let mut gradient = vec![0.0; length * 2304];
    // Four products of the causal half; a fifth, the scores, is computed again.
    bencher.counter(operations(2 * length * length * 768)).bench_local(|| {
        let mut gradient = MatrixMut::new(&mut gradient, length, 2304).unwrap();
        let (qkv, output) = (&qkv, &output);
        ATTENTION
            .backward(isa, qkv, output, &log_sums, output, &mut gradient, &mut scratch)
            .unwrap();
    });
}

#[divan::bench]
fn adamw(bencher: Bencher<'_, '_>) {
    let optimizer =
        AdamW { learning_rate: 5e-5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    // The adapters of rank 16 on q, k, v and the other linear layers of GPT-2 124M.
    let count = 12 * 16 * (6 * 768 + 2 * 768 + 2 * (768 + 3072));
    let gradient = numbers(count);
    let [mut parameter, mut mean, mut square] = [0; 3].map(|_| numbers(count));
    square.iter_mut().for_each(|square| *square *= *square);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let isa = Isa::detect();
        optimizer.step(isa, 1, &gradient, &mut parameter, &mut mean, &mut square).unwrap();
    });
}

/// The product of a step of text generation: few rows, and a weight that no cache holds.
#[divan::bench(args = [1, 4, 8, 16], threads = [1, 2])]
fn few_rows(bencher: Bencher<'_, '_>, rows: usize) {
    let [inputs, outputs] = [768, 25_000];
    let weight = numbers(inputs * outputs);
    let weight = Matrix::new(&weight, outputs, inputs).unwrap();
    let input = numbers(rows * inputs);
    let input = Matrix::new(&input, rows, inputs).unwrap();
    bencher
        .counter(divan::counter::BytesCount::new(4 * inputs * outputs))
        .with_inputs(|| vec![0.0; rows * outputs])
        .bench_refs(|output| {
            let mut output = MatrixMut::new(output, rows, outputs).unwrap();
            multiply_few_rows(Isa::detect(), &input, &weight, &mut output, Write::Replace).unwrap();
        });
}

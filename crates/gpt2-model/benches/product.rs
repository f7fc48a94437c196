//! The product with a frozen weight, as libtorch computes matrix products and as
//! the model does: `cargo bench -p gpt2-model`.

use divan::{Bencher, black_box};
use gpt2_model::{Arithmetic, Linear, LinearLayer};
use tch::{Device, Kind, Tensor};

/// Tokens in a batch.
const ROWS: [i64; 4] = [64, 245, 512, 960];

fn main() {
    divan::main();
}

/// The first layer of the MLP of GPT-2 124M.
fn layer(rows: i64, arithmetic: Arithmetic) -> (Tensor, Linear) {
    let random = |size: [i64; 2]| Tensor::randn(size, (Kind::Float, Device::Cpu));
    let layer = Linear::new(random([3072, 768]), None).with_arithmetic(arithmetic);
    (random([rows, 768]), layer)
}

/// Floating point operations.
fn operations(rows: i64) -> divan::counter::ItemsCount {
    divan::counter::ItemsCount::new(2 * 768 * 3072 * rows as u64)
}

#[divan::bench(args = ROWS)]
fn matrix_product(bencher: Bencher<'_, '_>, rows: i64) {
    let (input, layer) = layer(rows, Arithmetic::Stepwise);
    bencher.counter(operations(rows)).bench_local(|| black_box(layer.forward(&input).is_ok()));
}

#[divan::bench(args = ROWS)]
fn as_the_model_does(bencher: Bencher<'_, '_>, rows: i64) {
    let (input, layer) = layer(rows, Arithmetic::Fused);
    bencher.counter(operations(rows)).bench_local(|| black_box(layer.forward(&input).is_ok()));
}

#[divan::bench(args = ROWS)]
fn in_bfloat16(bencher: Bencher<'_, '_>, rows: i64) {
    let (input, layer) = layer(rows, Arithmetic::Fused);
    let layer = Linear::new(layer.weight().to_kind(Kind::BFloat16), None);
    bencher.counter(operations(rows)).bench_local(|| black_box(layer.forward(&input).is_ok()));
}

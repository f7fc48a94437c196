//! A training step of one transformer block with LoRA on its four linear layers, as a consumer
//! writes it: frozen weights, joined adapters of queries, keys and values, dropout, two workers
//! with their own sequences and buffers. Outputs and gradients are compared with float64, and the
//! step must not allocate.

mod reference;
mod worker;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kernels::{AdamW, Isa, Precision, add};

use worker::{Block, Worker};

/// Features of a token.
pub const WIDTH: usize = 32;
/// Features in the MLP.
pub const HIDDEN: usize = 4 * WIDTH;
/// Attention heads.
pub const HEADS: usize = 2;
/// Rank of the adapters, of each slice.
pub const RANK: usize = 3;
/// Scale of the adapters.
pub const SCALE: f32 = 1.5;
/// Inputs, outputs and slices of the linear layers: queries, keys and values; output of attention;
/// the two of the MLP.
pub const LAYERS: [[usize; 3]; 4] =
    [[WIDTH, 3 * WIDTH, 3], [WIDTH, WIDTH, 1], [WIDTH, HIDDEN, 1], [HIDDEN, WIDTH, 1]];
/// Lengths of the sequences of each worker.
const SEQUENCES: [&[usize]; 2] = [&[6, 1], &[4, 3]];

/// Counts allocations of the current thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[track_caller]
fn assert_close(isa: Isa, what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut expected.iter().copied());
    let error = norm(&mut got.iter().zip(expected).map(|(got, want)| f64::from(*got) - want));
    assert!(error <= tolerance * size, "{isa}: {what} differs by {error:e} of {size:e}");
}

#[test]
fn block_with_adapters_equals_float64_without_allocating() {
    for isa in Isa::available() {
        for (precision, tolerance) in [(Precision::Float32, 2e-6), (Precision::BFloat16, 2e-2)] {
            let mut block = Block::new(isa, precision);
            let mut workers = SEQUENCES.map(Worker::new);
            for (number, worker) in workers.iter_mut().enumerate() {
                worker.fill(10 * number as u64 + 1);
            }
            // The first step lets work memory grow.
            workers.iter_mut().for_each(|worker| worker.step(&block).unwrap());
            let before = ALLOCATIONS.with(Cell::get);
            workers.iter_mut().for_each(|worker| worker.step(&block).unwrap());
            block.repack().unwrap();
            assert_eq!(ALLOCATIONS.with(Cell::get), before, "the step allocates");

            let mut sums = vec![0.0; block.adapters.len()];
            let mut expected = vec![0.0; block.adapters.len()];
            for worker in &workers {
                add(&worker.gradient, &mut sums).unwrap();
                let reference = reference::run(&block, worker);
                assert_close(isa, "output", &worker.output, &reference.output, tolerance);
                let by_input = &reference.input_gradient;
                assert_close(isa, "input gradient", &worker.input_gradient, by_input, tolerance);
                for (sum, gradient) in expected.iter_mut().zip(&reference.adapter_gradient) {
                    *sum += gradient;
                }
            }
            for (layer, range) in block.ranges().into_iter().enumerate() {
                let what = format!("adapter {layer}");
                assert_close(isa, &what, &sums[range.clone()], &expected[range], tolerance);
            }
        }
    }
}

/// Two threads give the bits of one, and a few steps of AdamW reduce the loss.
#[test]
fn two_threads_train_like_one() {
    let train = |threads: bool| {
        let mut block = Block::new(Isa::detect(), Precision::Float32);
        let mut workers = SEQUENCES.map(Worker::new);
        for (number, worker) in workers.iter_mut().enumerate() {
            worker.fill(10 * number as u64 + 1);
        }
        let optimizer = AdamW {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
        };
        let count = block.adapters.len();
        let [mut mean, mut square] = [0; 2].map(|_| vec![0.0; count]);
        let mut losses = Vec::new();
        for step in 1..=5 {
            if threads {
                std::thread::scope(|scope| {
                    for worker in &mut workers {
                        scope.spawn(|| worker.step(&block).unwrap());
                    }
                });
            } else {
                workers.iter_mut().for_each(|worker| worker.step(&block).unwrap());
            }
            losses.push(workers.iter().map(Worker::loss).sum::<f64>());
            let mut sum = vec![0.0; count];
            workers.iter().for_each(|worker| add(&worker.gradient, &mut sum).unwrap());
            optimizer
                .step(block.isa, step, 1.0, &sum, &mut block.adapters, &mut mean, &mut square)
                .unwrap();
            block.repack().unwrap();
        }
        (losses, block.adapters)
    };
    let (losses, adapters) = train(true);
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    assert_eq!((losses, adapters), train(false));
}

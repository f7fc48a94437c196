//! Kernels allocate nothing once their sizes have been seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kernels::{
    Attention, Isa, Matrix, MatrixMut, PackedWeights, Precision, Scratch, Write, multiply,
};

use crate::reference::numbers;

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

#[test]
fn products_and_attention_allocate_nothing_the_second_time() {
    let (tokens, width) = (20, 24);
    let attention = Attention { heads: 3, head_size: 8, scale: 0.3 };
    let (qkv, weight) = (numbers(tokens * 3 * width, 1), numbers(3 * width * width, 2));
    for isa in Isa::available() {
        let right = Matrix::new(&weight, 3 * width, width).unwrap();
        let packed = [Precision::Float32, Precision::BFloat16]
            .map(|precision| PackedWeights::pack(isa, precision, &right).unwrap());
        let mut scratch = Scratch::new();
        let (mut output, mut gradient) = (vec![0.0; tokens * width], qkv.clone());
        let mut log_sums = vec![0.0; 3 * tokens];
        let mut step = || {
            let scratch = &mut scratch;
            let qkv = Matrix::new(&qkv, tokens, 3 * width).unwrap();
            let mut to = MatrixMut::new(&mut output, tokens, width).unwrap();
            for packed in &packed {
                packed.multiply(&qkv, &mut to, Write::Replace, scratch).unwrap();
            }
            multiply(isa, 1.0, &qkv, &right, &mut to, Write::Replace, scratch).unwrap();
            attention.forward(isa, &qkv, &mut to, &mut log_sums, scratch).unwrap();
            let (from, of) = (to.as_ref(), to.as_ref());
            let mut to = MatrixMut::new(&mut gradient, tokens, 3 * width).unwrap();
            attention.backward(isa, &qkv, &from, &log_sums, &of, &mut to, scratch).unwrap();
        };
        step();
        let before = ALLOCATIONS.with(Cell::get);
        step();
        assert_eq!(ALLOCATIONS.with(Cell::get), before, "{isa}");
    }
}

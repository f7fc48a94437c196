//! The step of one worker.

use std::ops::Range;

use kernels::{
    Attention, Error, Gelu, Isa, LayerNorm, Matrix, MatrixMut, PackedWeights, Precision, Scratch,
    Statistics, Write, add, add_masked, mask, multiply,
};

use super::{HEADS, HIDDEN, LAYERS, RANK, SCALE, WIDTH};
use crate::reference::numbers;

/// Attention of the block.
const ATTENTION: Attention = Attention { heads: HEADS, head_size: WIDTH / HEADS, scale: 0.25 };

/// A frozen linear layer with an adapter, packed.
struct Linear {
    forward: PackedWeights,
    backward: PackedWeights,
    /// `x * aᵀ` of all slices, and `g * a`.
    down: [PackedWeights; 2],
    /// `h * bᵀ` and `g * b` of each slice, times the scale.
    up: Vec<[PackedWeights; 2]>,
}

/// A transformer block. Weights are `torch.nn.Linear`'s.
pub struct Block {
    pub isa: Isa,
    pub norms: [[Vec<f32>; 2]; 2],
    pub weights: Vec<Vec<f32>>,
    pub biases: Vec<Vec<f32>>,
    /// For each layer `a: [slices * rank, inputs]`, then `b: [outputs / slices, rank]` of each slice.
    pub adapters: Vec<f32>,
    linears: Vec<Linear>,
}

/// Places of the adapters of a layer: `a`, and `b` of each slice.
fn places(layer: usize) -> [Range<usize>; 2] {
    let size = |[inputs, outputs, slices]: [usize; 3]| (slices * RANK * inputs, outputs * RANK);
    let start = LAYERS[..layer].iter().map(|&layer| size(layer)).map(|(a, b)| a + b).sum();
    let (a, b) = size(LAYERS[layer]);
    [start..start + a, start + a..start + a + b]
}

/// The four views of an adapter that products take, for `a` and for a slice of `b`.
fn views(adapters: &[f32], layer: usize, slice: Option<usize>) -> [Matrix<'_>; 2] {
    let [inputs, outputs, slices] = LAYERS[layer];
    let [a, b] = places(layer);
    let matrix = match slice {
        None => Matrix::new(&adapters[a], slices * RANK, inputs),
        Some(slice) => {
            let outputs = outputs / slices;
            Matrix::new(&adapters[b][slice * outputs * RANK..], outputs, RANK)
        }
    };
    let matrix = matrix.unwrap();
    [matrix.transposed(), matrix]
}

impl Block {
    pub fn new(isa: Isa, precision: Precision) -> Self {
        let sizes =
            LAYERS.map(|[inputs, outputs, slices]| (inputs + outputs / slices) * slices * RANK);
        let adapters: Vec<f32> =
            numbers(sizes.iter().sum(), 7).iter().map(|value| 0.3 * value).collect();
        let weights: Vec<Vec<f32>> = (0..4)
            .map(|layer| {
                let [inputs, outputs, _] = LAYERS[layer];
                let numbers = numbers(inputs * outputs, 20 + layer as u64);
                numbers.iter().map(|value| 0.3 * value).collect()
            })
            .collect();
        let linears = (0..4)
            .map(|layer| {
                let [inputs, outputs, slices] = LAYERS[layer];
                let weight = Matrix::new(&weights[layer], outputs, inputs).unwrap();
                let adapter = |slice| {
                    views(&adapters, layer, slice)
                        .map(|view| PackedWeights::pack(isa, Precision::Float32, &view).unwrap())
                };
                Linear {
                    forward: PackedWeights::pack(isa, precision, &weight.transposed()).unwrap(),
                    backward: PackedWeights::pack(isa, precision, &weight).unwrap(),
                    down: adapter(None),
                    up: (0..slices).map(|slice| adapter(Some(slice))).collect(),
                }
            })
            .collect();
        let norms = [1, 2].map(|seed| {
            [numbers(WIDTH, seed).iter().map(|x| x + 2.0).collect(), numbers(WIDTH, seed + 5)]
        });
        let biases = LAYERS.iter().map(|layer| numbers(layer[1], 30)).collect();
        let mut block = Self { isa, norms, weights, biases, adapters, linears };
        block.repack().unwrap();
        block
    }

    /// Packs the adapters after they were changed.
    pub fn repack(&mut self) -> Result<(), Error> {
        for (layer, linear) in self.linears.iter_mut().enumerate() {
            for (packed, view) in linear.down.iter_mut().zip(views(&self.adapters, layer, None)) {
                packed.repack(1.0, &view)?;
            }
            for (slice, up) in linear.up.iter_mut().enumerate() {
                for (packed, view) in up.iter_mut().zip(views(&self.adapters, layer, Some(slice))) {
                    packed.repack(SCALE, &view)?;
                }
            }
        }
        Ok(())
    }

    /// Places of the adapters of each layer.
    pub fn ranges(&self) -> [Range<usize>; 4] {
        [0, 1, 2, 3].map(places).map(|[a, b]| a.start..b.end)
    }
}

/// Activations that the gradient of a linear layer needs.
struct Saved {
    /// Mask of the adapter's input, the input, and the masked input, `[tokens, inputs]`.
    mask: Vec<f32>,
    masked: Vec<f32>,
    /// Inner numbers of the adapter, and their gradient, `[tokens, slices * rank]`.
    inner: Vec<f32>,
    inner_gradient: Vec<f32>,
}

/// The buffers of a worker.
pub struct Worker {
    pub lengths: &'static [usize],
    pub input: Vec<f32>,
    pub output: Vec<f32>,
    /// Gradient of the output, with which the loss is an inner product.
    pub output_gradient: Vec<f32>,
    pub input_gradient: Vec<f32>,
    /// Gradient of the adapters.
    pub gradient: Vec<f32>,
    saved: [Saved; 4],
    statistics: [Vec<Statistics>; 2],
    normalized: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    log_sums: Vec<f32>,
    middle: Vec<f32>,
    hidden: [Vec<f32>; 2],
    branch: Vec<f32>,
    gradients: [Vec<f32>; 3],
    masked_gradient: Vec<f32>,
    scratch: Scratch,
}

impl Worker {
    pub fn new(lengths: &'static [usize]) -> Self {
        let tokens: usize = lengths.iter().sum();
        let room = |width: usize| vec![0.0; tokens * width];
        let saved = LAYERS.map(|[inputs, _, slices]| Saved {
            mask: room(inputs),
            masked: room(inputs),
            inner: room(slices * RANK),
            inner_gradient: room(slices * RANK),
        });
        let adapters = places(3)[1].end;
        Self {
            lengths,
            input: room(WIDTH),
            output: room(WIDTH),
            output_gradient: room(WIDTH),
            input_gradient: room(WIDTH),
            gradient: vec![0.0; adapters],
            saved,
            statistics: [0; 2].map(|_| vec![Statistics::default(); tokens]),
            normalized: room(WIDTH),
            qkv: room(3 * WIDTH),
            attended: room(WIDTH),
            log_sums: room(HEADS),
            middle: room(WIDTH),
            hidden: [room(HIDDEN), room(HIDDEN)],
            branch: room(WIDTH),
            gradients: [room(WIDTH), room(3 * WIDTH), room(HIDDEN)],
            masked_gradient: room(HIDDEN),
            scratch: Scratch::new(),
        }
    }

    /// Random inputs, masks and gradient of the output.
    pub fn fill(&mut self, seed: u64) {
        self.input = numbers(self.input.len(), seed);
        self.output_gradient = numbers(self.output.len(), seed + 1);
        for (layer, saved) in self.saved.iter_mut().enumerate() {
            let random = numbers(saved.mask.len(), seed + 2 + layer as u64);
            saved.mask = random.iter().map(|&x| if x > -0.8 { 1.0 / 0.9 } else { 0.0 }).collect();
        }
    }

    pub fn mask(&self, layer: usize) -> &[f32] {
        &self.saved[layer].mask
    }

    pub fn loss(&self) -> f64 {
        let terms = self.output.iter().zip(&self.output_gradient);
        terms.map(|(output, weight)| f64::from(*output) * f64::from(*weight)).sum()
    }

    /// Forward and backward pass.
    pub fn step(&mut self, block: &Block) -> Result<(), Error> {
        self.forward(block)?;
        self.backward(block)
    }

    fn forward(&mut self, block: &Block) -> Result<(), Error> {
        let (isa, tokens) = (block.isa, self.input.len() / WIDTH);
        let scratch = &mut self.scratch;
        norm(block, 0).forward(
            isa,
            &Matrix::new(&self.input, tokens, WIDTH)?,
            &mut MatrixMut::new(&mut self.normalized, tokens, WIDTH)?,
            &mut self.statistics[0],
        )?;
        linear(block, 0, &self.normalized, &mut self.saved[0], &mut self.qkv, scratch)?;
        let mut start = 0;
        for &length in self.lengths {
            let rows = start * WIDTH..(start + length) * WIDTH;
            ATTENTION.forward(
                isa,
                &Matrix::new(&self.qkv[3 * rows.start..], length, 3 * WIDTH)?,
                &mut MatrixMut::new(&mut self.attended[rows], length, WIDTH)?,
                &mut self.log_sums[HEADS * start..HEADS * (start + length)],
                scratch,
            )?;
            start += length;
        }
        linear(block, 1, &self.attended, &mut self.saved[1], &mut self.branch, scratch)?;
        self.middle.copy_from_slice(&self.input);
        add(&self.branch, &mut self.middle)?;

        norm(block, 1).forward(
            isa,
            &Matrix::new(&self.middle, tokens, WIDTH)?,
            &mut MatrixMut::new(&mut self.normalized, tokens, WIDTH)?,
            &mut self.statistics[1],
        )?;
        let [hidden, activated] = &mut self.hidden;
        linear(block, 2, &self.normalized, &mut self.saved[2], hidden, scratch)?;
        Gelu::Tanh.forward(isa, hidden, activated)?;
        linear(block, 3, activated, &mut self.saved[3], &mut self.branch, scratch)?;
        self.output.copy_from_slice(&self.middle);
        add(&self.branch, &mut self.output)
    }

    fn backward(&mut self, block: &Block) -> Result<(), Error> {
        let (isa, tokens) = (block.isa, self.input.len() / WIDTH);
        let [narrow, joined, wide] = &mut self.gradients;
        let adapters = &mut self.gradient;
        let work = &mut (&mut self.masked_gradient[..], &mut self.scratch);
        let residual = &mut self.input_gradient;
        residual.copy_from_slice(&self.output_gradient);

        linear_gradient(block, 3, residual, &mut self.saved[3], wide, adapters, work)?;
        Gelu::Tanh.backward(isa, &self.hidden[0], wide)?;
        linear_gradient(block, 2, wide, &mut self.saved[2], narrow, adapters, work)?;
        norm(block, 1).backward(
            isa,
            &Matrix::new(&self.middle, tokens, WIDTH)?,
            &self.statistics[1],
            &Matrix::new(narrow, tokens, WIDTH)?,
            &mut MatrixMut::new(residual, tokens, WIDTH)?,
            None,
        )?;
        linear_gradient(block, 1, residual, &mut self.saved[1], narrow, adapters, work)?;
        let mut start = 0;
        for &length in self.lengths {
            let rows = start * WIDTH..(start + length) * WIDTH;
            ATTENTION.backward(
                isa,
                &Matrix::new(&self.qkv[3 * rows.start..], length, 3 * WIDTH)?,
                &Matrix::new(&self.attended[rows.start..], length, WIDTH)?,
                &self.log_sums[HEADS * start..HEADS * (start + length)],
                &Matrix::new(&narrow[rows.start..], length, WIDTH)?,
                &mut MatrixMut::new(&mut joined[3 * rows.start..3 * rows.end], length, 3 * WIDTH)?,
                work.1,
            )?;
            start += length;
        }
        linear_gradient(block, 0, joined, &mut self.saved[0], narrow, adapters, work)?;
        norm(block, 0).backward(
            isa,
            &Matrix::new(&self.input, tokens, WIDTH)?,
            &self.statistics[0],
            &Matrix::new(narrow, tokens, WIDTH)?,
            &mut MatrixMut::new(residual, tokens, WIDTH)?,
            None,
        )
    }
}

fn norm(block: &Block, number: usize) -> LayerNorm<'_> {
    let [gamma, beta] = &block.norms[number];
    LayerNorm { gamma, beta, epsilon: 1e-5 }
}

/// The output of a linear layer with its adapter.
fn linear(
    block: &Block,
    layer: usize,
    input: &[f32],
    saved: &mut Saved,
    output: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let [inputs, outputs, slices] = LAYERS[layer];
    let linear = &block.linears[layer];
    let tokens = input.len() / inputs;
    mask(input, &saved.mask, &mut saved.masked)?;
    let masked = Matrix::new(&saved.masked, tokens, inputs)?;
    let mut inner = MatrixMut::new(&mut saved.inner, tokens, slices * RANK)?;
    linear.down[0].multiply(&masked, &mut inner, Write::Replace, scratch)?;

    let input = Matrix::new(input, tokens, inputs)?;
    let mut output = MatrixMut::new(output, tokens, outputs)?;
    let bias = Write::Bias(&block.biases[layer]);
    linear.forward.multiply(&input, &mut output, bias, scratch)?;
    for (slice, up) in linear.up.iter().enumerate() {
        let inner = inner.as_ref().columns(slice * RANK..(slice + 1) * RANK)?;
        let columns = slice * outputs / slices..(slice + 1) * outputs / slices;
        up[0].multiply(&inner, &mut output.columns(columns)?, Write::Add, scratch)?;
    }
    Ok(())
}

/// The gradients of the input and the adapter of a linear layer.
fn linear_gradient(
    block: &Block,
    layer: usize,
    gradient: &[f32],
    saved: &mut Saved,
    input_gradient: &mut [f32],
    adapters: &mut [f32],
    (masked_gradient, scratch): &mut (&mut [f32], &mut Scratch),
) -> Result<(), Error> {
    let [inputs, outputs, slices] = LAYERS[layer];
    let linear = &block.linears[layer];
    let tokens = gradient.len() / outputs;
    let gradient = Matrix::new(gradient, tokens, outputs)?;
    let inner = Matrix::new(&saved.inner, tokens, slices * RANK)?;
    let mut inner_gradient = MatrixMut::new(&mut saved.inner_gradient, tokens, slices * RANK)?;
    let [a, b] = places(layer);
    for (slice, up) in linear.up.iter().enumerate() {
        let ranks = slice * RANK..(slice + 1) * RANK;
        let gradient =
            gradient.columns(slice * outputs / slices..(slice + 1) * outputs / slices)?;
        let mut to = inner_gradient.columns(ranks.clone())?;
        up[1].multiply(&gradient, &mut to, Write::Replace, scratch)?;
        let size = outputs / slices * RANK;
        let to = &mut adapters[b.clone()][slice * size..(slice + 1) * size];
        let to = &mut MatrixMut::new(to, outputs / slices, RANK)?;
        let (left, right) = (gradient.transposed(), inner.columns(ranks)?);
        multiply(block.isa, SCALE, &left, &right, to, Write::Replace, scratch)?;
    }
    let masked = Matrix::new(&saved.masked, tokens, inputs)?;
    let left = inner_gradient.as_ref().transposed();
    let to = &mut MatrixMut::new(&mut adapters[a], slices * RANK, inputs)?;
    multiply(block.isa, 1.0, &left, &masked, to, Write::Replace, scratch)?;

    let mut to = MatrixMut::new(input_gradient, tokens, inputs)?;
    linear.backward.multiply(&gradient, &mut to, Write::Replace, scratch)?;
    let masked_gradient = &mut masked_gradient[..tokens * inputs];
    let mut to = MatrixMut::new(masked_gradient, tokens, inputs)?;
    linear.down[1].multiply(&inner_gradient.as_ref(), &mut to, Write::Replace, scratch)?;
    add_masked(masked_gradient, &saved.mask, input_gradient)
}

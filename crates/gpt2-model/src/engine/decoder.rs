//! Text generation on the CPU kernels.
//!
//! A step reads every weight from memory once, which is what it costs; no copy of the weights is
//! made. The bits of a sequence depend neither on the other sequences of a batch nor on the number
//! of threads, because threads share outputs of products, heads and sequences.

use std::{borrow::Cow, ops::Range, sync::Arc};

use gpt2_config::Activation;
use kernels::{
    Attention, Gelu, Isa, Matrix, MatrixMut, Scratch, Statistics, Write, add, attend, multiply,
    multiply_few_rows, resize,
};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use tch::{Device, Kind, Tensor};

use super::{
    block::NormPass,
    buffer::Buffer,
    pass::{gelu, norm},
    team::divide,
};
use crate::{
    error::{Error, Result},
    generation::decoder::{Decoder, NewTokens},
    model::{block::Block, gpt2::Gpt2, linear::LinearLayer},
    tensor::{float_slice, float_values},
};

/// Model whose next tokens the CPU kernels compute.
pub(crate) struct KernelDecoder<'a> {
    isa: Isa,
    /// `[vocab, dim]`
    tokens: Cow<'a, [f32]>,
    /// `[context, dim]`
    positions: Cow<'a, [f32]>,
    blocks: Vec<DecoderBlock<'a>>,
    norm: NormPass,
    head: Layer<'a>,
    width: usize,
    pool: Arc<ThreadPool>,
    work: Work,
}

/// Transformer block.
struct DecoderBlock<'a> {
    norms: [NormPass; 2],
    attention: Attention,
    /// `None` for ReLU.
    gelu: Option<Gelu>,
    c_attn: Layer<'a>,
    c_proj: Layer<'a>,
    c_fc: Layer<'a>,
    mlp_c_proj: Layer<'a>,
}

/// Linear layer, `y = x Wᵀ + b`.
struct Layer<'a> {
    /// `[out, in]`
    weight: Cow<'a, [f32]>,
    /// `[out]`
    bias: Option<Vec<f32>>,
    outputs: usize,
    inputs: usize,
}

/// Keys and values of a sequence, one pair for each block.
pub(crate) struct Cache {
    blocks: Vec<[Vec<f32>; 2]>,
    capacity: usize,
    length: usize,
}

/// Work memory, kept from step to step.
#[derive(Default)]
struct Work {
    /// Residual stream, `[tokens, dim]`.
    stream: Buffer,
    /// Output of a norm, `[tokens, dim]`.
    normal: Buffer,
    statistics: Vec<Statistics>,
    /// Queries, keys and values, `[tokens, 3 dim]`.
    qkv: Buffer,
    /// Output of attention, `[tokens, dim]`.
    attended: Buffer,
    /// Input and output of the activation function, `[tokens, inner]`.
    hidden: Buffer,
    activated: Buffer,
    /// Output of a residual branch, `[tokens, dim]`.
    branch: Buffer,
    /// Outputs of each thread in a product, and its work memory.
    pieces: Vec<(Vec<f32>, Scratch)>,
}

/// Elements of a tensor, shared with it where that is possible.
fn floats(tensor: &Tensor) -> Result<Cow<'_, [f32]>> {
    Ok(match float_slice(tensor) {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(float_values(tensor)?),
    })
}

impl<'a> Layer<'a> {
    fn new(layer: &'a dyn LinearLayer) -> Result<Self> {
        let (outputs, inputs) = layer.weight().size2()?;
        Ok(Self {
            weight: floats(layer.weight())?,
            bias: layer.bias().map(float_values).transpose()?,
            outputs: outputs as usize,
            inputs: inputs as usize,
        })
    }

    /// Some outputs `[rows, outputs]` of an input `[rows, in]`.
    fn outputs(
        &self,
        isa: Isa,
        input: &Matrix<'_>,
        range: Range<usize>,
        is_step: bool,
        piece: &mut (Vec<f32>, Scratch),
    ) -> Result<(), kernels::Error> {
        let (values, scratch) = piece;
        let [rows, _] = input.shape();
        resize(values, rows * range.len(), 0.0)?;
        let mut output = MatrixMut::new(values, rows, range.len())?;
        let weight = Matrix::new(&self.weight, self.outputs, self.inputs)?.rows(range.clone())?;
        let write = self.bias.as_ref().map_or(Write::Replace, |bias| Write::Bias(&bias[range]));
        if is_step {
            return multiply_few_rows(isa, input, &weight, &mut output, write);
        }
        multiply(isa, 1.0, input, &weight.transposed(), &mut output, write, scratch)
    }

    /// Computes `output` `[rows, out]`, which is reshaped, on the threads of the current pool.
    fn forward(
        &self,
        isa: Isa,
        input: &Buffer,
        is_step: bool,
        output: &mut Buffer,
        pieces: &mut Vec<(Vec<f32>, Scratch)>,
    ) -> Result<()> {
        let count = rayon::current_num_threads();
        pieces.resize_with(count, Default::default);
        let input = input.view()?;
        let ranges: Vec<Range<usize>> = divide(self.outputs, count).collect();
        pieces.par_iter_mut().zip(&ranges).try_for_each(|(piece, range)| {
            self.outputs(isa, &input, range.clone(), is_step, piece)
        })?;
        let [rows, _] = input.shape();
        output.reshape(rows, self.outputs)?;
        for row in 0..rows {
            let output = output.row_mut(row);
            for (range, (piece, _)) in ranges.iter().zip(&*pieces) {
                let values = &piece[row * range.len()..][..range.len()];
                output[range.clone()].copy_from_slice(values);
            }
        }
        Ok(())
    }
}

impl<'a> DecoderBlock<'a> {
    fn new(block: &'a Block, model: &Gpt2) -> Result<Self> {
        let [(_, c_attn), (_, c_proj), (_, c_fc), (_, mlp_c_proj)] = block.linears();
        let heads = model.config.n_head as usize;
        Ok(Self {
            norms: [norm(&block.ln_1)?, norm(&block.ln_2)?],
            attention: Attention {
                heads,
                head_size: model.config.n_embd as usize / heads,
                scale: block.attn.scale as f32,
            },
            gelu: match block.mlp.activation {
                Activation::Relu => None,
                other => Some(gelu(other)?),
            },
            c_attn: Layer::new(c_attn)?,
            c_proj: Layer::new(c_proj)?,
            c_fc: Layer::new(c_fc)?,
            mlp_c_proj: Layer::new(mlp_c_proj)?,
        })
    }

    /// Computes `work.attended` of `work.qkv`, of whole prompts.
    fn attend_within(&self, isa: Isa, lengths: &[usize], work: &mut Work) -> Result<()> {
        let Work { qkv, attended, .. } = work;
        attended.reshape(qkv.rows(), self.attention.heads * self.attention.head_size)?;
        let (qkv, mut rest) = (qkv.view()?, attended.view_mut()?);
        let (mut spans, mut first) = (Vec::with_capacity(lengths.len()), 0);
        for &length in lengths {
            let (output, others) = rest.split_at_row(length)?;
            rest = others;
            spans.push((qkv.rows(first..first + length)?, output));
            first += length;
        }
        let heads = self.attention.heads;
        spans.into_par_iter().try_for_each_init(
            Scratch::default,
            |scratch, (qkv, mut output)| {
                let mut log_sums = Vec::new();
                resize(&mut log_sums, heads * qkv.shape()[0], 0.0)?;
                self.attention.forward(isa, &qkv, &mut output, &mut log_sums, scratch)
            },
        )?;
        Ok(())
    }

    /// Computes `work.attended` of the queries in `work.qkv`, one for each cache.
    fn attend_to_caches(
        &self,
        isa: Isa,
        number: usize,
        caches: &[&Cache],
        work: &mut Work,
    ) -> Result<()> {
        let Attention { heads, head_size, scale } = self.attention;
        let Work { qkv, attended, .. } = work;
        attended.reshape(qkv.rows(), heads * head_size)?;
        let mut outputs = Vec::with_capacity(caches.len() * heads);
        for (row, (cache, output)) in caches.iter().zip(attended.rows_mut()).enumerate() {
            let queries = qkv.row(row).chunks(head_size);
            for (head, (query, output)) in queries.zip(output.chunks_mut(head_size)).enumerate() {
                outputs.push((*cache, head, query, output));
            }
        }
        outputs.into_par_iter().try_for_each_init(
            Scratch::default,
            |scratch, (cache, head, query, output)| {
                let [keys, values] = cache.head(number, head, head_size)?;
                attend(isa, scale, query, [&keys, &values], output, scratch)
            },
        )?;
        Ok(())
    }

    /// Computes `work.activated` of `work.hidden`.
    fn activate(&self, isa: Isa, work: &mut Work) -> Result<()> {
        let Work { hidden, activated, .. } = work;
        activated.reshape(hidden.rows(), hidden.columns())?;
        let size = hidden.values().len().div_ceil(rayon::current_num_threads()).max(1);
        let pieces =
            hidden.values().par_chunks(size).zip(activated.values_mut().par_chunks_mut(size));
        pieces.try_for_each(|(input, output)| match self.gelu {
            Some(gelu) => gelu.forward(isa, input, output),
            None => {
                output.iter_mut().zip(input).for_each(|(output, input)| *output = input.max(0.0));
                Ok(())
            }
        })?;
        Ok(())
    }
}

impl Cache {
    /// Keys and values of a head in a step, `[length, head_size]`, the new token's included.
    fn head(
        &self,
        block: usize,
        head: usize,
        head_size: usize,
    ) -> Result<[Matrix<'_>; 2], kernels::Error> {
        let [keys, values] = &self.blocks[block];
        let start = head * self.capacity * head_size;
        let length = self.length + 1;
        let keys = Matrix::new(&keys[start..], length, head_size)?;
        Ok([keys, Matrix::new(&values[start..], length, head_size)?])
    }

    /// Writes the keys and values of a token at `position`, from its `qkv` `[3 dim]`.
    fn write(&mut self, block: usize, position: usize, qkv: &[f32], head_size: usize) {
        let width = qkv.len() / 3;
        for (slice, all) in (1..).zip(&mut self.blocks[block]) {
            let heads = qkv[slice * width..][..width].chunks(head_size);
            for (head, values) in heads.enumerate() {
                let start = (head * self.capacity + position) * head_size;
                all[start..][..head_size].copy_from_slice(values);
            }
        }
    }
}

impl<'a> KernelDecoder<'a> {
    /// Prepares a model; `None` if the kernels do not support it: another device, an activation
    /// without a kernel, or linear layers that are not plain float32 layers.
    pub fn new(model: &'a Gpt2) -> Result<Option<Self>> {
        let is_plain = |layer: &dyn LinearLayer| {
            layer.low_rank().is_some_and(|layer| layer.terms.is_empty())
                && layer.weight().kind() == Kind::Float
        };
        let has_kernel = |block: &Block| {
            block.mlp.activation == Activation::Relu || gelu(block.mlp.activation).is_ok()
        };
        let mut linears = model.blocks.iter().flat_map(Block::linears);
        if model.device != Device::Cpu
            || !linears.all(|(_, layer)| is_plain(layer))
            || !model.blocks.iter().all(has_kernel)
        {
            return Ok(None);
        }
        let (vocabulary, width) = model.wte.size2()?;
        let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let blocks = model.blocks.iter().map(|block| DecoderBlock::new(block, model));
        Ok(Some(Self {
            isa: Isa::detect(),
            tokens: floats(&model.wte)?,
            positions: floats(&model.wpe)?,
            blocks: blocks.collect::<Result<_>>()?,
            norm: norm(&model.ln_f)?,
            head: Layer {
                weight: floats(model.output_embedding()?)?,
                bias: None,
                outputs: vocabulary as usize,
                inputs: width as usize,
            },
            width: width as usize,
            pool: Arc::new(pool.map_err(|error| Error::Thread(std::io::Error::other(error)))?),
            work: Work::default(),
        }))
    }

    /// Sets `work.stream` to the embeddings of the new tokens.
    fn embed(&mut self, sequences: &[NewTokens<'_, Cache>]) -> Result<()> {
        let (width, stream) = (self.width, &mut self.work.stream);
        stream.reshape(sequences.iter().map(|sequence| sequence.ids.len()).sum(), width)?;
        let tokens =
            sequences.iter().flat_map(|sequence| (sequence.cache.length..).zip(sequence.ids));
        for (row, (position, &id)) in tokens.enumerate() {
            let token = &self.tokens[id as usize * width..][..width];
            stream.row_mut(row).copy_from_slice(token);
            add(&self.positions[position * width..][..width], stream.row_mut(row))?;
        }
        Ok(())
    }

    /// Replaces `work.stream` by the output of a block.
    fn block(
        &mut self,
        number: usize,
        sequences: &mut [NewTokens<'_, Cache>],
        is_step: bool,
    ) -> Result<()> {
        let (isa, block, work) = (self.isa, &self.blocks[number], &mut self.work);
        let Work { stream, normal, statistics, qkv, pieces, .. } = work;
        block.norms[0].apply(isa, stream, normal, statistics)?;
        block.c_attn.forward(isa, normal, is_step, qkv, pieces)?;
        let mut row = 0;
        for NewTokens { cache, ids } in sequences.iter_mut() {
            for position in cache.length..cache.length + ids.len() {
                cache.write(number, position, qkv.row(row), block.attention.head_size);
                row += 1;
            }
        }
        if is_step {
            let caches: Vec<&Cache> = sequences.iter().map(|sequence| &*sequence.cache).collect();
            block.attend_to_caches(isa, number, &caches, work)?;
        } else {
            let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.ids.len()).collect();
            block.attend_within(isa, &lengths, work)?;
        }
        let Work { stream, normal, statistics, attended, hidden, branch, pieces, .. } = work;
        block.c_proj.forward(isa, attended, is_step, branch, pieces)?;
        add(branch.values(), stream.values_mut())?;
        block.norms[1].apply(isa, stream, normal, statistics)?;
        block.c_fc.forward(isa, normal, is_step, hidden, pieces)?;
        block.activate(isa, work)?;
        let Work { stream, activated, branch, pieces, .. } = work;
        block.mlp_c_proj.forward(isa, activated, is_step, branch, pieces)?;
        Ok(add(branch.values(), stream.values_mut())?)
    }

    /// Logits `[sequences, vocab]` of the tokens after the last row of each sequence in
    /// `work.stream`.
    fn next_token_logits(&mut self, lengths: &[usize]) -> Result<Vec<f32>> {
        let (isa, vocabulary) = (self.isa, self.head.outputs);
        let Work { stream, normal, statistics, branch, hidden, pieces, .. } = &mut self.work;
        branch.reshape(lengths.len(), self.width)?;
        let mut end = 0;
        for (row, length) in lengths.iter().enumerate() {
            end += length;
            branch.row_mut(row).copy_from_slice(stream.row(end - 1));
        }
        self.norm.apply(isa, branch, normal, statistics)?;
        self.head.forward(isa, normal, true, hidden, pieces)?;
        let mut logits = Vec::new();
        resize(&mut logits, lengths.len() * vocabulary, 0.0)?;
        for (row, logits) in logits.chunks_mut(vocabulary).enumerate() {
            logits.copy_from_slice(hidden.row(row));
        }
        Ok(logits)
    }
}

impl Decoder for KernelDecoder<'_> {
    type Cache = Cache;

    fn cache(&self, capacity: usize) -> Result<Cache> {
        let allocate = |_: &DecoderBlock<'_>| -> Result<[Vec<f32>; 2]> {
            let mut keys_values = [Vec::new(), Vec::new()];
            for values in &mut keys_values {
                resize(values, capacity * self.width, 0.0)?;
            }
            Ok(keys_values)
        };
        let blocks = self.blocks.iter().map(allocate).collect::<Result<_>>()?;
        Ok(Cache { blocks, capacity, length: 0 })
    }

    fn logits(
        &mut self,
        sequences: &mut [NewTokens<'_, Cache>],
        is_step: bool,
    ) -> Result<Vec<f32>> {
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            self.embed(sequences)?;
            for number in 0..self.blocks.len() {
                self.block(number, sequences, is_step)?;
            }
            let mut lengths = Vec::with_capacity(sequences.len());
            for NewTokens { cache, ids } in sequences {
                cache.length += ids.len();
                lengths.push(ids.len());
            }
            self.next_token_logits(&lengths)
        })
    }
}

//! Values of a model for one pass: weights, terms, norms and dropout masks.

use std::{borrow::Cow, ops::Range, time::Instant};

use gpt2_config::Activation;
use kernels::{Attention, Gelu, Isa, resize};
use tch::{Device, Kind, TchError, Tensor};

use super::{
    attention::AttentionPass,
    block::{BlockPass, NormPass},
    distribution::{Sequences, distribute},
    linear::{LinearPass, Term, Weight},
    panels::Direction,
    shard::Shard,
    team::on_threads,
    tree,
    unsupported::Unsupported,
};
use crate::{
    error::Result,
    model::{
        block::Block,
        gpt2::Gpt2,
        layer_norm::LayerNorm,
        linear::{Linear, LinearLayer, LowRankLayer, LowRankTerm},
        packed::PackedRows,
    },
    tensor::{float_slice, float_values},
};

/// Tokens whose hidden states a pass returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outputs {
    /// The last token of each row.
    Last,
    /// All tokens.
    All,
}

/// A pass over packed rows.
pub(super) struct Pass<'a> {
    blocks: Vec<BlockPass<'a>>,
    /// Sequences of each shard.
    sequences: Vec<Sequences>,
    /// Threads of each shard.
    team: usize,
    width: usize,
    parameters: Vec<Parameters>,
    /// Numbers in the gradients of all parameters.
    gradient_size: usize,
}

/// Matrices of a low-rank term, and the places of their gradients.
struct Parameters {
    a: Tensor,
    b: Tensor,
    /// Places for `Aᵀ` `[in, rank]`, one for each range of outputs that a pass computes apart.
    of_a: Vec<Range<usize>>,
    /// Place for `B` `[outputs, rank]`.
    of_b: Range<usize>,
}

/// Builds the layers of a pass, in the order of computation.
struct Builder {
    parameters: Vec<Parameters>,
    /// Numbers in the gradients of all terms so far.
    gradient_size: usize,
    /// Tokens and rows of the batch.
    tokens: usize,
    rows: usize,
    /// True if gradients follow.
    trains: bool,
}

impl<'a> Pass<'a> {
    /// Prepares a pass on a number of threads, and draws its dropout masks as libtorch's operations
    /// would.
    ///
    /// # Errors
    /// [`Error::Kernels`](crate::Error::Kernels) if the kernels do not support the model.
    pub fn new(
        model: &'a Gpt2,
        rows: &PackedRows,
        threads: usize,
        outputs: Outputs,
        trains: bool,
    ) -> Result<Self> {
        model.check_kernels()?;
        rows.check_context(model.config.n_positions)?;
        let lengths: Vec<usize> = rows.lengths().collect();
        let width = model.config.n_embd as usize;
        let (sequences, team) = distribute(&lengths, threads, width);
        let (tokens, rows) = (lengths.iter().sum(), lengths.len());
        let mut builder =
            Builder { parameters: Vec::new(), gradient_size: 0, tokens, rows, trains };
        let mut blocks = Vec::new();
        for (number, block) in model.blocks.iter().enumerate() {
            let is_last = number + 1 == model.blocks.len();
            blocks.push(builder.block(model, block, is_last && outputs == Outputs::Last)?);
        }
        let Builder { parameters, gradient_size, .. } = builder;
        Ok(Self { blocks, sequences, team, width, parameters, gradient_size })
    }

    /// Outputs of the last block, `[rows, dim]` or of all tokens `[tokens, dim]`, from the
    /// embeddings `[tokens, dim]`.
    pub fn forward(
        &self,
        shards: &mut Vec<Shard>,
        embedded: &[f32],
        keeps_activations: bool,
    ) -> Result<Vec<f32>> {
        let count = self.sequences.len();
        shards.resize_with(count.max(shards.len()), Shard::default);
        let shards = &mut shards[..count];
        for (shard, sequences) in shards.iter_mut().zip(&self.sequences) {
            shard.sequences.clone_from(sequences);
        }
        let (blocks, width) = (&self.blocks, self.width);
        self.run(shards, |shard| shard.forward(blocks, embedded, width, keeps_activations))?;
        let rows: usize = shards.iter().map(|shard| shard.outputs(blocks).len()).sum();
        let mut outputs = Vec::new();
        resize(&mut outputs, rows * self.width, 0.0)?;
        for shard in shards {
            for (row, &index) in shard.outputs(blocks).iter().enumerate() {
                outputs[index * self.width..][..self.width].copy_from_slice(shard.stream.row(row));
            }
        }
        Ok(outputs)
    }

    /// Adds the gradients of all terms to their parameters, given the `gradient` of
    /// the outputs of [`Pass::forward`].
    pub fn backward(&self, shards: &mut [Shard], gradient: &[f32]) -> Result<()> {
        if self.parameters.is_empty() {
            return Ok(());
        }
        let shards = &mut shards[..self.sequences.len()];
        let (blocks, width, count) = (&self.blocks, self.width, self.gradient_size);
        self.run(shards, |shard| shard.backward(blocks, gradient, width, count))?;
        let sum = tree::total(shards.iter_mut().map(|shard| &mut shard.gradients))?;
        for Parameters { a, b, of_a, of_b } in &self.parameters {
            let (rank, width) = a.size2()?;
            for of_a in of_a {
                let gradient = Tensor::f_from_slice(&sum[of_a.clone()])?;
                add_gradient(a, &gradient.f_view([width, rank])?.f_tr()?)?;
            }
            let gradient = Tensor::f_from_slice(&sum[of_b.clone()])?;
            add_gradient(b, &gradient.f_view_as(b)?)?;
        }
        Ok(())
    }

    /// Calls `work` with every shard, each on a thread of its own.
    fn run(
        &self,
        shards: &mut [Shard],
        work: impl Fn(&mut Shard) -> Result<()> + Sync,
    ) -> Result<()> {
        let (start, team) = (Instant::now(), self.team);
        let seconds = on_threads(shards.iter_mut(), |shard| shard.timed(team, &work))?;
        for (shard, seconds) in shards.iter_mut().zip(seconds) {
            let waited = (start.elapsed().as_secs_f64() - seconds).max(0.0);
            shard.profile_mut().waiting.seconds += waited * team as f64;
        }
        Ok(())
    }
}

/// Adds to the gradient of a parameter.
fn add_gradient(parameter: &Tensor, gradient: &Tensor) -> Result<(), TchError> {
    let mut sum = parameter.f_grad()?;
    if sum.defined() {
        let _no_grad = tch::no_grad_guard();
        let _ = sum.f_add_(gradient)?;
        return Ok(());
    }
    // The gradient of the scalar `Σ parameter · gradient`; only autograd creates one.
    parameter.f_mul(gradient)?.f_sum(Kind::Float)?.f_backward()
}

impl Builder {
    fn block<'a>(
        &mut self,
        model: &Gpt2,
        block: &'a Block,
        keeps_last: bool,
    ) -> Result<BlockPass<'a>> {
        let width = model.config.n_embd;
        let kept = if keeps_last { self.rows } else { self.tokens };
        let c_attn = block.attn.c_attn.as_ref();
        let attention = Attention {
            heads: model.config.n_head as usize,
            head_size: (width / model.config.n_head) as usize,
            scale: block.attn.scale as f32,
        };
        let (query, c_attn) = if keeps_last {
            // Computed side by side: what is trained in one needs no gradient of the other.
            let goes_back = self.goes_back();
            let query = self.linear(c_attn, 0..width, kept, goes_back)?;
            let rest = width..3 * width;
            (Some(query), self.linear(c_attn, rest, self.tokens, goes_back)?)
        } else {
            let outputs = 0..3 * width;
            (None, self.linear(c_attn, outputs, self.tokens, self.goes_back())?)
        };
        let mut whole = |layer: &'a dyn LinearLayer| {
            let outputs = 0..layer.weight().size2()?.0;
            self.linear(layer, outputs, kept, self.goes_back())
        };
        Ok(BlockPass {
            isa: Isa::detect(),
            attention: AttentionPass { isa: Isa::detect(), attention },
            gelu: gelu(block.mlp.activation)?,
            norms: [norm(&block.ln_1)?, norm(&block.ln_2)?],
            query,
            c_attn,
            c_proj: whole(block.attn.c_proj.as_ref())?,
            c_fc: whole(block.mlp.c_fc.as_ref())?,
            mlp_c_proj: whole(block.mlp.c_proj.as_ref())?,
        })
    }

    /// Returns whether a gradient of the next layer's input is needed, because a layer before it
    /// is trained.
    fn goes_back(&self) -> bool {
        self.trains && !self.parameters.is_empty()
    }

    /// `outputs` of a layer, whose input has `inputs` rows in the batch.
    fn linear<'a>(
        &mut self,
        layer: &'a dyn LinearLayer,
        outputs: Range<i64>,
        inputs: usize,
        goes_back: bool,
    ) -> Result<LinearPass<'a>> {
        let (_, width) = layer.weight().size2()?;
        let low_rank =
            layer.low_rank().ok_or_else(|| Unsupported::Layer { layer: layer.describe() })?;
        let LowRankLayer { base, terms, dropout } = low_rank;
        let terms: Vec<Term> = terms
            .iter()
            .filter_map(|term| self.term(term, &outputs).transpose())
            .collect::<Result<_>>()?;
        let mask = if dropout > 0.0 && !terms.is_empty() {
            let ones = Tensor::f_ones([inputs as i64, width], (Kind::Float, Device::Cpu))?;
            Some(float_values(&ones.f_dropout(dropout, true)?)?)
        } else {
            None
        };
        let bias = match base.bias() {
            Some(bias) => {
                float_values(&bias.f_narrow(0, outputs.start, outputs.end - outputs.start)?)?
            }
            None => vec![0.0; (outputs.end - outputs.start) as usize],
        };
        let weight = weight(base, &outputs, goes_back)?;
        Ok(LinearPass { isa: Isa::detect(), weight, bias, goes_back, terms, mask })
    }

    /// The overlap of a term with `outputs` of its layer, if there is one.
    fn term(&mut self, term: &LowRankTerm<'_>, outputs: &Range<i64>) -> Result<Option<Term>> {
        let LowRankTerm { a, b, start, scale } = *term;
        let (rows, rank) = b.size2()?;
        let common = outputs.start.max(start)..outputs.end.min(start + rows);
        if common.is_empty() || rank == 0 {
            return Ok(None);
        }
        let [of_a, of_b] = self.places(a, b);
        let (first, length) = (common.start - start, common.end - common.start);
        let offset = of_b.start + (first * rank) as usize;
        Ok(Some(Term {
            a: float_values(&a.f_tr()?)?,
            b: float_values(&b.f_narrow(0, first, length)?.f_tr()?)?,
            rank: rank as usize,
            outputs: (common.start - outputs.start) as usize..(common.end - outputs.start) as usize,
            scale: scale as f32,
            gradients: [of_a, offset..offset + (length * rank) as usize],
        }))
    }

    /// Places of the gradients of `a` and `b`. A second range of outputs shares the place of `b`,
    /// in which it has other rows.
    fn places(&mut self, a: &Tensor, b: &Tensor) -> [Range<usize>; 2] {
        let of_a = self.gradient_size..self.gradient_size + a.numel();
        self.gradient_size = of_a.end;
        let known =
            self.parameters.iter_mut().rev().find(|known| known.a.data_ptr() == a.data_ptr());
        if let Some(known) = known {
            known.of_a.push(of_a.clone());
            return [of_a, known.of_b.clone()];
        }
        let of_b = of_a.end..of_a.end + b.numel();
        self.gradient_size = of_b.end;
        let (a, b) = (a.shallow_clone(), b.shallow_clone());
        self.parameters.push(Parameters { a, b, of_a: vec![of_a.clone()], of_b: of_b.clone() });
        [of_a, of_b]
    }
}

/// The weight of some outputs of a layer, for the gradient of its input too if it `goes_back`.
fn weight<'a>(base: &'a Linear, outputs: &Range<i64>, goes_back: bool) -> Result<Weight<'a>> {
    let weight = base.weight();
    if weight.kind() == Kind::BFloat16 {
        let forward = base.panels(Direction::Forward, outputs)?;
        let backward = goes_back.then(|| base.panels(Direction::Backward, outputs)).transpose()?;
        return Ok(Weight::BFloat16 { forward, backward });
    }
    let (_, width) = weight.size2()?;
    let range = (outputs.start * width) as usize..(outputs.end * width) as usize;
    let Some(values) = float_slice(weight).and_then(|values| values.get(range)) else {
        let rows = weight.f_narrow(0, outputs.start, outputs.end - outputs.start)?;
        return Ok(Weight::Float32(Cow::Owned(float_values(&rows)?)));
    };
    Ok(Weight::Float32(Cow::Borrowed(values)))
}

pub(super) fn norm(norm: &LayerNorm) -> Result<NormPass> {
    let (gamma, beta) = (float_values(&norm.weight)?, float_values(&norm.bias)?);
    Ok(NormPass { gamma, beta, epsilon: norm.epsilon as f32 })
}

/// The kernel of an activation function.
pub(super) fn gelu(activation: Activation) -> Result<Gelu> {
    match activation {
        Activation::GeluNew => Ok(Gelu::Tanh),
        Activation::Gelu => Ok(Gelu::Erf),
        Activation::QuickGelu | Activation::Relu | Activation::Silu | Activation::Tanh => {
            Err(Unsupported::Activation.into())
        }
    }
}

/// Refuses a trained parameter.
fn check_frozen(parameter: &Tensor, name: impl Fn() -> String) -> Result<()> {
    if parameter.requires_grad() {
        return Err(Unsupported::Trained { parameter: name() }.into());
    }
    Ok(())
}

impl Gpt2 {
    /// Returns whether the CPU kernels can compute the model. Names are put together for errors
    /// alone, because every pass checks.
    ///
    /// # Errors
    /// [`Error::Kernels`](crate::Error::Kernels) gives the reason if they cannot.
    pub fn check_kernels(&self) -> Result<()> {
        if self.device != Device::Cpu {
            return Err(Unsupported::Device(self.device).into());
        }
        check_frozen(&self.wte, || "wte.weight".to_owned())?;
        check_frozen(&self.wpe, || "wpe.weight".to_owned())?;
        for (number, block) in self.blocks.iter().enumerate() {
            gelu(block.mlp.activation)?;
            for (name, layer) in block.linears() {
                let layer_name = || format!("h.{number}.{name}");
                let Some(LowRankLayer { base, .. }) = layer.low_rank() else {
                    return Err(Unsupported::Layer { layer: layer_name() }.into());
                };
                let kind = base.weight().kind();
                if !matches!(kind, Kind::Float | Kind::BFloat16) {
                    return Err(Unsupported::Kind { layer: layer_name(), kind }.into());
                }
                check_frozen(layer.weight(), || format!("{}.weight", layer_name()))?;
                if let Some(bias) = layer.bias() {
                    check_frozen(bias, || format!("{}.bias", layer_name()))?;
                }
            }
            for (name, norm) in [("ln_1", &block.ln_1), ("ln_2", &block.ln_2)] {
                check_frozen(&norm.weight, || format!("h.{number}.{name}.weight"))?;
                check_frozen(&norm.bias, || format!("h.{number}.{name}.bias"))?;
            }
        }
        Ok(())
    }
}

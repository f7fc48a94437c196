//! GPT-2 body: embeddings, blocks and the final layer norm.

use std::path::Path;

use gpt2_config::{Gpt2Config, LM_HEAD, TokenIds, weight_file};
use tch::{Device, TchError, Tensor};

use crate::{
    dtype::DType,
    engine::Workspace,
    error::{ArgumentError, Error, Result},
    model::{
        arithmetic::Arithmetic,
        attention::{Attention, QKV},
        block::{Block, Mlp},
        initialization,
        layer_norm::LayerNorm,
        linear::{Linear, LinearLayer, LinearSlot},
        packed::PackedRows,
    },
    weights::read::{self, Loaded, Weights},
};

/// GPT-2 without a head.
#[derive(Debug)]
pub struct Gpt2 {
    pub(crate) config: Gpt2Config,
    pub(crate) device: Device,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) stored_dtype: DType,
    pub(crate) wte: Tensor,
    /// Head of a language model, if it is not `wte`.
    pub(crate) lm_head: Option<Tensor>,
    pub(crate) wpe: Tensor,
    pub(crate) blocks: Vec<Block>,
    pub(crate) ln_f: LayerNorm,
    pub(crate) notes: Vec<String>,
    pub(crate) workspace: Workspace,
}

/// `[batch, seq, dim]` and for each row a position `[batch]` → `[batch, dim]`.
pub(crate) fn at_positions(values: &Tensor, positions: &Tensor) -> Result<Tensor, TchError> {
    let (batch, _, dim) = values.size3()?;
    let index = positions.f_view([batch, 1, 1])?.f_expand([batch, 1, dim], false)?;
    values.f_gather(1, &index, false)?.f_squeeze_dim(1)
}

impl Gpt2 {
    /// Loads a model folder with `config.json` and `model.safetensors` in the Hugging
    /// Face layout of GPT-2: names with or without `transformer.` and the prefixes of
    /// wrappers, float32, float16 or bfloat16. `pytorch_model.bin` and sharded files are
    /// read, too.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Config`] or [`Error::Format`] name the file at
    /// fault; [`Error::Tensors`] names every tensor that is missing, unknown, or of
    /// another shape than the configuration requires.
    pub fn load(folder: impl AsRef<Path>, device: Device) -> Result<Self> {
        let folder = folder.as_ref();
        let config = Gpt2Config::from_file(&folder.join("config.json"))?;
        let Loaded { weights, dtype, notes } = read::load(folder, &config, device)?;
        Ok(Self { notes, ..Self::from_weights(config, weights, dtype, device)? })
    }

    /// Returns the names of the equal slices of the output of a linear layer, which are empty
    /// for a layer that computes one projection ([`LinearSlot::outputs`]).
    pub fn output_slices(layer: &str) -> &'static [&'static str] {
        if layer.ends_with("attn.c_attn") { QKV } else { &[] }
    }

    /// Returns whether a folder has a weight file in a form that [`Gpt2::load`] reads.
    pub fn has_weights(folder: &Path) -> bool {
        weight_file(folder).is_file()
    }

    /// Creates a randomly initialized model; the same seed gives the same weights on
    /// every machine.
    pub fn random(config: &Gpt2Config, seed: u64, device: Device) -> Result<Self> {
        let weights = initialization::random_weights(config, seed, device)?;
        Self::from_weights(config.clone(), weights, DType::Float32, device)
    }

    fn from_weights(
        config: Gpt2Config,
        mut weights: Weights,
        stored_dtype: DType,
        device: Device,
    ) -> Result<Self> {
        let arithmetic = Arithmetic::default();
        let lm_head = weights.remove(LM_HEAD);
        let mut take = |name: &str| {
            weights.remove(name).ok_or_else(|| ArgumentError::NoWeights { name: name.to_owned() })
        };
        let (wte, wpe) = (take("wte.weight")?, take("wpe.weight")?);
        let mut blocks = Vec::new();
        for layer in 0..config.n_layer {
            let mut tensor = |name: &str| take(&format!("h.{layer}.{name}"));
            let mut linear = |name: &str| -> Result<Box<dyn LinearLayer>> {
                // Transposed once for all products.
                let weight = tensor(&format!("{name}.weight"))?.f_tr()?.f_contiguous()?;
                Ok(Box::new(Linear::new(weight, Some(tensor(&format!("{name}.bias"))?))))
            };
            let attn = Attention {
                c_attn: linear("attn.c_attn")?,
                c_proj: linear("attn.c_proj")?,
                heads: config.n_head,
                scale: config.attention_scale(layer),
                arithmetic,
            };
            let mlp = Mlp {
                c_fc: linear("mlp.c_fc")?,
                c_proj: linear("mlp.c_proj")?,
                activation: config.activation_function,
                arithmetic,
            };
            let mut norm = |name: &str| -> Result<LayerNorm> {
                Ok(LayerNorm {
                    weight: tensor(&format!("{name}.weight"))?,
                    bias: tensor(&format!("{name}.bias"))?,
                    epsilon: config.layer_norm_epsilon,
                    arithmetic,
                })
            };
            blocks.push(Block { ln_1: norm("ln_1")?, attn, ln_2: norm("ln_2")?, mlp });
        }
        let ln_f = LayerNorm {
            weight: take("ln_f.weight")?,
            bias: take("ln_f.bias")?,
            epsilon: config.layer_norm_epsilon,
            arithmetic,
        };
        Ok(Self {
            config,
            device,
            arithmetic,
            stored_dtype,
            wte,
            lm_head,
            wpe,
            blocks,
            ln_f,
            notes: Vec::new(),
            workspace: Workspace::default(),
        })
    }

    /// Shape of the model.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// Token embedding `[vocab, dim]`.
    pub fn token_embedding(&self) -> &Tensor {
        &self.wte
    }

    /// Weight `[vocab, dim]` of the language-model head: the token embedding, or a tensor of its
    /// own (`tie_word_embeddings`).
    ///
    /// # Errors
    /// [`Error::Argument`] for a model without the head, such as the body of a classifier.
    pub fn output_embedding(&self) -> Result<&Tensor> {
        match &self.lm_head {
            Some(head) => Ok(head),
            None if self.config.tie_word_embeddings => Ok(&self.wte),
            None => Err(ArgumentError::NoLanguageModelHead.into()),
        }
    }

    /// Returns the body without a language-model head of its own.
    pub(crate) fn without_lm_head(self) -> Self {
        Self { lm_head: None, ..self }
    }

    /// Sets the tokens that begin and end texts and fill batches, which the configuration may not name
    /// or take from another tokenizer.
    #[must_use]
    pub fn with_special_tokens(
        mut self,
        beginning_of_text: Option<i64>,
        ends_of_text: Vec<i64>,
        padding: Option<i64>,
    ) -> Self {
        self.config.bos_token_id = beginning_of_text;
        self.config.eos_token_id = TokenIds(ends_of_text);
        self.config.pad_token_id = padding;
        self
    }

    /// Notes about parts of the weight file that were ignored.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Device of the weights.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Arithmetic of the model.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Number format of the tensors in the weight file: float32 only if all of them
    /// were, and for randomly initialized weights.
    pub fn stored_dtype(&self) -> DType {
        self.stored_dtype
    }

    /// Token ids `[batch, seq]` → hidden states `[batch, seq, dim]`, after the
    /// final layer norm.
    ///
    /// # Errors
    /// [`Error::TooLong`] if `seq` is above the context length, [`Error::Torch`]
    /// if libtorch refuses, an id outside the vocabulary for example.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(self.ln_f.forward(&self.run_blocks(ids)?)?)
    }

    /// Token embeddings `[batch, seq, dim]` → hidden states `[batch, seq, dim]`,
    /// after the final layer norm: [`Gpt2::forward`] for callers that look up
    /// [`Gpt2::token_embedding`] themselves, for example to get gradients of the
    /// looked-up rows alone.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn forward_embedded(&self, tokens: &Tensor) -> Result<Tensor> {
        Ok(self.ln_f.forward(&self.run_embedded(tokens)?)?)
    }

    /// Token ids `[batch, seq]` and for each row a position `[batch]` → hidden
    /// states `[batch, dim]` at these positions, after the final layer norm.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn forward_at(&self, ids: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let pooled = at_positions(&self.run_blocks(ids)?, positions)?;
        Ok(self.ln_f.forward(&pooled)?)
    }

    /// Packed rows → hidden states `[rows, dim]` of their last tokens, after the
    /// final layer norm. Attention is fused, whatever the model's arithmetic.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn forward_last(&self, rows: &PackedRows) -> Result<Tensor> {
        let mut hidden = self.embed_packed(rows)?;
        for block in 0..self.block_count() {
            hidden = self.packed_block(block, &hidden, rows)?;
        }
        self.normalize(&hidden)
    }

    /// Memory of the CPU kernels.
    pub(crate) fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// Returns whether packed rows are computed by the CPU kernels.
    pub(crate) fn uses_kernels(&self) -> bool {
        self.arithmetic == Arithmetic::Kernels
    }

    /// Packed rows → the input of the first block, `[tokens, dim]`.
    pub(crate) fn embed_packed(&self, rows: &PackedRows) -> Result<Tensor> {
        rows.check_context(self.config.n_positions)?;
        let tokens = Tensor::f_embedding(&self.wte, rows.ids(), -1, false, false)?;
        Ok(tokens.f_add(&self.wpe.f_index_select(0, rows.positions())?)?)
    }

    /// `[tokens, dim]` → `[tokens, dim]`, and from the last block `[rows, dim]`.
    pub(crate) fn packed_block(
        &self,
        number: usize,
        input: &Tensor,
        rows: &PackedRows,
    ) -> Result<Tensor, TchError> {
        let block = &self.blocks[number];
        if number + 1 == self.blocks.len() {
            block.forward_last(input, rows)
        } else {
            block.forward_packed(input, rows)
        }
    }

    pub(crate) fn normalize(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.ln_f.forward(hidden)?)
    }

    /// Number of blocks, at least one.
    pub(crate) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Returns whether a block has a trainable parameter.
    pub(crate) fn block_trains(&self, number: usize) -> bool {
        let modules = self.blocks[number].modules();
        modules.iter().flat_map(|(.., parameters)| parameters).any(|(_, p)| p.requires_grad())
    }

    /// Token ids `[batch, seq]` → logits `[batch, seq, vocab]` of the next
    /// token.
    ///
    /// # Errors
    /// As [`Gpt2::forward`] and [`Gpt2::output_embedding`].
    pub fn lm_logits(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(self.forward(ids)?.f_linear::<Tensor>(self.output_embedding()?, None)?)
    }

    /// Embeddings and blocks, without the final layer norm.
    fn run_blocks(&self, ids: &Tensor) -> Result<Tensor> {
        let tokens = Tensor::f_embedding(&self.wte, ids, -1, false, false)?;
        self.run_embedded(&tokens)
    }

    /// Blocks on token embeddings, without the final layer norm.
    pub(crate) fn run_embedded(&self, tokens: &Tensor) -> Result<Tensor> {
        let (_, seq, _) = tokens.size3()?;
        if seq > self.config.n_positions {
            return Err(Error::TooLong { length: seq, context: self.config.n_positions });
        }
        let mut hidden = tokens.f_add(&self.wpe.f_narrow(0, 0, seq)?)?;
        for block in &self.blocks {
            hidden = block.forward(&hidden)?;
        }
        Ok(hidden)
    }

    /// Calls `visit` with every linear layer, in the order of computation.
    ///
    /// # Errors
    /// The first error that `visit` returns; it ends the visit.
    pub fn visit_linears<E>(
        &mut self,
        visit: &mut dyn FnMut(LinearSlot<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (number, block) in self.blocks.iter_mut().enumerate() {
            for (name, outputs, layer) in block.linears_mut() {
                let (name, arithmetic) = (format!("h.{number}.{name}"), self.arithmetic);
                visit(LinearSlot { name: &name, outputs, arithmetic, layer })?;
            }
        }
        Ok(())
    }

    /// Calls `visit` with every module that has parameters, in the order of computation:
    /// its name, a one-line description, and the parameters with their names below it.
    pub(crate) fn visit_modules(
        &self,
        visit: &mut dyn FnMut(String, String, Vec<(String, Tensor)>),
    ) {
        for (name, table) in [("wte", &self.wte), ("wpe", &self.wpe)] {
            let size = table.size();
            let about = format!("Embedding({}, {})", size[0], size[1]);
            visit(name.to_owned(), about, vec![("weight".to_owned(), table.shallow_clone())]);
        }
        for (number, block) in self.blocks.iter().enumerate() {
            for (name, about, parameters) in block.modules() {
                visit(format!("h.{number}.{name}"), about, parameters);
            }
        }
        let (about, parameters) = self.ln_f.described();
        visit("ln_f".to_owned(), about, parameters);
        if let Some(head) = &self.lm_head {
            let size = head.size();
            let about = format!("Linear(in={}, out={}, bias=False)", size[1], size[0]);
            let weight = ("weight".to_owned(), head.shallow_clone());
            visit("lm_head".to_owned(), about, vec![weight]);
        }
    }

    /// Returns every parameter with its name, for example `h.0.attn.c_attn.weight`. The
    /// weight of a linear layer is `[out, in]` here.
    pub fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        self.visit_modules(&mut |module, _, parameters| {
            all.extend(
                parameters.into_iter().map(|(name, value)| (format!("{module}.{name}"), value)),
            );
        });
        all
    }
}

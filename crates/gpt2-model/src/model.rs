//! The body of GPT-2: embeddings, blocks and the final layer norm.

use std::path::Path;

use tch::{Device, TchError, Tensor};

use crate::{
    arithmetic::Arithmetic,
    attention::{Attention, LayerCache, QKV},
    block::{Block, Mlp},
    config::Gpt2Config,
    error::{Error, Result},
    init,
    linear::{Linear, LinearLayer, LinearSlot},
    norm::LayerNorm,
    packed::PackedRows,
    weights::{self, Weights},
};

/// GPT-2 without a head.
#[derive(Debug)]
pub struct Gpt2 {
    pub(crate) config: Gpt2Config,
    pub(crate) device: Device,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) wte: Tensor,
    pub(crate) wpe: Tensor,
    pub(crate) blocks: Vec<Block>,
    pub(crate) ln_f: LayerNorm,
}

/// What a generating model keeps of the tokens it has seen.
#[derive(Debug)]
pub struct KeyValueCache {
    layers: Vec<LayerCache>,
    seen: i64,
}

impl KeyValueCache {
    /// Tokens seen so far.
    pub fn len(&self) -> i64 {
        self.seen
    }

    /// Whether no token was seen yet.
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }
}

/// `[batch, seq, dim]` and for each row a position `[batch]` → `[batch, dim]`.
pub(crate) fn at_positions(values: &Tensor, positions: &Tensor) -> Result<Tensor, TchError> {
    let (batch, _, dim) = values.size3()?;
    let index = positions.f_view([batch, 1, 1])?.f_expand([batch, 1, dim], false)?;
    values.f_gather(1, &index, false)?.f_squeeze_dim(1)
}

impl Gpt2 {
    /// Loads a folder with `config.json` and `model.safetensors` in the Hugging
    /// Face layout of GPT-2: names with or without the `transformer.` prefix,
    /// float32, float16 or bfloat16.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Config`] or [`Error::Format`] name the file at
    /// fault; [`Error::Tensors`] names every tensor that is missing, is not
    /// known or has another shape than the configuration says.
    pub fn load(folder: &Path, device: Device) -> Result<Self> {
        let config = Gpt2Config::from_file(&folder.join("config.json"))?;
        let weights = weights::load(&folder.join("model.safetensors"), &config, device)?;
        Self::from_weights(config, weights, device)
    }

    /// A model of `config`'s shape with random weights; the same seed gives the
    /// same weights everywhere.
    ///
    /// # Errors
    /// [`Error::Torch`] if memory runs out.
    pub fn random(config: &Gpt2Config, seed: u64, device: Device) -> Result<Self> {
        Self::from_weights(config.clone(), init::random_weights(config, seed, device)?, device)
    }

    fn from_weights(config: Gpt2Config, mut weights: Weights, device: Device) -> Result<Self> {
        let mut take = |name: &str| {
            weights.remove(name).ok_or_else(|| Error::Argument(format!("no weights for {name}")))
        };
        let (wte, wpe) = (take("wte.weight")?, take("wpe.weight")?);
        let mut blocks = Vec::new();
        for layer in 0..config.n_layer {
            let mut tensor = |name: &str| take(&format!("h.{layer}.{name}"));
            let mut linear = |name: &str| -> Result<Box<dyn LinearLayer>> {
                // Turned once, for all the products to come.
                let weight = tensor(&format!("{name}.weight"))?.f_tr()?.f_contiguous()?;
                Ok(Box::new(Linear::new(weight, Some(tensor(&format!("{name}.bias"))?))))
            };
            let attn = Attention {
                c_attn: linear("attn.c_attn")?,
                c_proj: linear("attn.c_proj")?,
                heads: config.n_head,
                scale: config.attention_scale(layer),
            };
            let mlp = Mlp {
                c_fc: linear("mlp.c_fc")?,
                c_proj: linear("mlp.c_proj")?,
                activation: config.activation_function,
            };
            let mut norm = |name: &str| -> Result<LayerNorm> {
                Ok(LayerNorm {
                    weight: tensor(&format!("{name}.weight"))?,
                    bias: tensor(&format!("{name}.bias"))?,
                    epsilon: config.layer_norm_epsilon,
                })
            };
            blocks.push(Block { ln_1: norm("ln_1")?, attn, ln_2: norm("ln_2")?, mlp });
        }
        let ln_f = LayerNorm {
            weight: take("ln_f.weight")?,
            bias: take("ln_f.bias")?,
            epsilon: config.layer_norm_epsilon,
        };
        let arithmetic = Arithmetic::default();
        Ok(Self { config, device, arithmetic, wte, wpe, blocks, ln_f })
    }

    /// The shape of the model.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// The token embedding `[vocab, dim]`, which is the language-model head too.
    pub fn token_embedding(&self) -> &Tensor {
        &self.wte
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// How formulas are computed.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Token ids `[batch, seq]` → hidden states `[batch, seq, dim]`, after the
    /// final layer norm.
    ///
    /// # Errors
    /// [`Error::TooLong`] if `seq` is above the context length, [`Error::Torch`]
    /// if libtorch refuses, an id outside the vocabulary for example.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(self.ln_f.forward(&self.run_blocks(ids, None)?, self.arithmetic)?)
    }

    /// Token embeddings `[batch, seq, dim]` → hidden states `[batch, seq, dim]`,
    /// after the final layer norm: [`Gpt2::forward`] for callers that look up
    /// [`Gpt2::token_embedding`] themselves, as a training loop does that wants
    /// gradients of the looked-up rows alone.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn forward_embedded(&self, tokens: &Tensor) -> Result<Tensor> {
        Ok(self.ln_f.forward(&self.run_embedded(tokens, None)?, self.arithmetic)?)
    }

    /// Token ids `[batch, seq]` and for each row a position `[batch]` → hidden
    /// states `[batch, dim]` at these positions, after the final layer norm.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn forward_at(&self, ids: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let pooled = at_positions(&self.run_blocks(ids, None)?, positions)?;
        Ok(self.ln_f.forward(&pooled, self.arithmetic)?)
    }

    /// Packed rows → hidden states `[rows, dim]` of their last tokens, after the
    /// final layer norm. Always [`Arithmetic::Fused`].
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn forward_last(&self, rows: &PackedRows) -> Result<Tensor> {
        let mut hidden = self.embed_packed(rows)?;
        for block in 0..self.block_count() {
            hidden = self.packed_block(block, &hidden, rows)?;
        }
        self.normalise(&hidden)
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

    pub(crate) fn normalise(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.ln_f.forward(hidden, Arithmetic::Fused)?)
    }

    /// Number of blocks, at least one.
    pub(crate) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Whether a linear layer of a block has a parameter that is trained.
    pub(crate) fn block_trains(&self, number: usize) -> bool {
        let layers = self.blocks[number].linears();
        layers.iter().any(|layer| layer.parameters().iter().any(|(_, p)| p.requires_grad()))
    }

    /// Token ids `[batch, seq]` → logits `[batch, seq, vocab]` of the next
    /// token, by the head tied to the token embedding.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn lm_logits(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(self.forward(ids)?.f_linear::<Tensor>(&self.wte, None)?)
    }

    /// An empty cache for [`Gpt2::next_token_logits`].
    pub fn cache(&self) -> KeyValueCache {
        KeyValueCache {
            layers: self.blocks.iter().map(|_| LayerCache::default()).collect(),
            seen: 0,
        }
    }

    /// New token ids `[batch, seq]`, after those in the cache → logits
    /// `[batch, vocab]` of the token that follows the last one.
    ///
    /// # Errors
    /// As [`Gpt2::forward`]; [`Error::Argument`] if the cache is not empty and
    /// `seq` is not one.
    pub fn next_token_logits(&self, ids: &Tensor, cache: &mut KeyValueCache) -> Result<Tensor> {
        let (_, seq) = ids.size2()?;
        if seq != 1 && !cache.is_empty() {
            return Err(Error::Argument(format!(
                "{seq} tokens cannot follow a cached text at once; give them one at a time"
            )));
        }
        let hidden = self.run_blocks(ids, Some(cache))?;
        let last = self.ln_f.forward(&hidden.f_select(1, seq - 1)?, self.arithmetic)?;
        Ok(last.f_linear::<Tensor>(&self.wte, None)?)
    }

    /// Embeddings and blocks, without the final layer norm.
    fn run_blocks(&self, ids: &Tensor, cache: Option<&mut KeyValueCache>) -> Result<Tensor> {
        let tokens = Tensor::f_embedding(&self.wte, ids, -1, false, false)?;
        self.run_embedded(&tokens, cache)
    }

    /// Blocks on token embeddings, without the final layer norm.
    fn run_embedded(
        &self,
        tokens: &Tensor,
        mut cache: Option<&mut KeyValueCache>,
    ) -> Result<Tensor> {
        let (_, seq, _) = tokens.size3()?;
        let seen = cache.as_ref().map_or(0, |cache| cache.seen);
        if seen + seq > self.config.n_positions {
            return Err(Error::TooLong { length: seen + seq, context: self.config.n_positions });
        }
        let mut hidden = tokens.f_add(&self.wpe.f_narrow(0, seen, seq)?)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            let cache = cache.as_mut().and_then(|cache| cache.layers.get_mut(layer));
            hidden = block.forward(&hidden, cache, self.arithmetic)?;
        }
        if let Some(cache) = cache {
            cache.seen += seq;
        }
        Ok(hidden)
    }

    /// Calls `visit` with every linear layer, in the order they are computed.
    ///
    /// # Errors
    /// Whatever `visit` returns; the first error ends the visit.
    pub fn visit_linears<E>(
        &mut self,
        visit: &mut dyn FnMut(LinearSlot<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (number, block) in self.blocks.iter_mut().enumerate() {
            for (name, outputs, layer) in [
                ("attn.c_attn", QKV, &mut block.attn.c_attn),
                ("attn.c_proj", &[], &mut block.attn.c_proj),
                ("mlp.c_fc", &[], &mut block.mlp.c_fc),
                ("mlp.c_proj", &[], &mut block.mlp.c_proj),
            ] {
                let name = format!("h.{number}.{name}");
                visit(LinearSlot { name: &name, outputs, layer })?;
            }
        }
        Ok(())
    }

    /// Calls `visit` with every module that holds parameters, in the order of
    /// computation: its name, a one-line description, and the parameters with
    /// their names below it.
    pub(crate) fn visit_modules(
        &self,
        visit: &mut dyn FnMut(String, String, Vec<(String, Tensor)>),
    ) {
        for (name, table) in [("wte", &self.wte), ("wpe", &self.wpe)] {
            let size = table.size();
            let about = format!("Embedding({}, {})", size[0], size[1]);
            visit(name.to_owned(), about, vec![("weight".to_owned(), table.shallow_clone())]);
        }
        let norm = |name: String, norm: &LayerNorm, visit: &mut dyn FnMut(_, _, _)| {
            let about = format!("LayerNorm({}, eps={:e})", norm.weight.size()[0], norm.epsilon);
            let parameters = vec![
                ("weight".to_owned(), norm.weight.shallow_clone()),
                ("bias".to_owned(), norm.bias.shallow_clone()),
            ];
            visit(name, about, parameters);
        };
        for (number, block) in self.blocks.iter().enumerate() {
            let at = |name: &str| format!("h.{number}.{name}");
            let linear = |name: &str, layer: &dyn LinearLayer, visit: &mut dyn FnMut(_, _, _)| {
                visit(at(name), layer.describe(), layer.parameters());
            };
            norm(at("ln_1"), &block.ln_1, visit);
            linear("attn.c_attn", block.attn.c_attn.as_ref(), visit);
            linear("attn.c_proj", block.attn.c_proj.as_ref(), visit);
            norm(at("ln_2"), &block.ln_2, visit);
            linear("mlp.c_fc", block.mlp.c_fc.as_ref(), visit);
            linear("mlp.c_proj", block.mlp.c_proj.as_ref(), visit);
        }
        norm("ln_f".to_owned(), &self.ln_f, visit);
    }

    /// Every parameter with its name, `h.0.attn.c_attn.weight` for example. A
    /// linear layer's weight is `[out, in]` here.
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

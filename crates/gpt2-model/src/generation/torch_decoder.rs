//! Text generation with operations of libtorch, on any device and with any linear layers.

use tch::{Kind, Tensor};

use crate::{
    error::Result,
    generation::decoder::{Decoder, NewTokens},
    model::{gpt2::Gpt2, kv_cache::LayerCache},
    tensor::{float_values, integers},
};

/// Model whose next tokens libtorch computes.
pub(crate) struct TorchDecoder<'a> {
    model: &'a Gpt2,
}

/// Keys and values of a sequence, one entry for each block.
pub(crate) struct Cache {
    blocks: Vec<LayerCache>,
    length: usize,
}

impl<'a> TorchDecoder<'a> {
    pub fn new(model: &'a Gpt2) -> Self {
        Self { model }
    }
}

impl Decoder for TorchDecoder<'_> {
    type Cache = Cache;

    fn cache(&self, capacity: usize) -> Result<Cache> {
        let config = self.model.config();
        let (heads, options) = (config.n_head, (Kind::Float, self.model.device()));
        let allocate =
            |_| Ok(LayerCache::new(heads, capacity as i64, config.n_embd / heads, options)?);
        let blocks = (0..self.model.block_count()).map(allocate).collect::<Result<_>>()?;
        Ok(Cache { blocks, length: 0 })
    }

    fn logits(&mut self, sequences: &mut [NewTokens<'_, Cache>], _: bool) -> Result<Vec<f32>> {
        let (model, device) = (self.model, self.model.device());
        let (mut ids, mut positions, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for NewTokens { cache, ids: new } in &*sequences {
            ids.extend_from_slice(new);
            positions.extend((cache.length as i64..).take(new.len()));
            last.push(ids.len() as i64 - 1);
        }
        let tokens = Tensor::f_embedding(&model.wte, &integers(&ids, device)?, -1, false, false)?;
        let positions = model.wpe.f_index_select(0, &integers(&positions, device)?)?;
        let mut hidden = tokens.f_add(&positions)?;
        for (number, block) in model.blocks.iter().enumerate() {
            let mut caches: Vec<_> = sequences
                .iter_mut()
                .map(|NewTokens { cache, ids }| (ids.len() as i64, &mut cache.blocks[number]))
                .collect();
            hidden = block.forward_cached(&hidden, &mut caches)?;
        }
        for NewTokens { cache, ids } in sequences {
            cache.length += ids.len();
        }
        let last = hidden.f_index_select(0, &integers(&last, device)?)?;
        let logits = model.normalize(&last)?.f_linear::<Tensor>(model.output_embedding()?, None)?;
        float_values(&logits)
    }
}

//! Putting adapters on the linear layers of a model.

use std::sync::{Arc, atomic::AtomicBool};

use rand_core::Rng;
use tch::{Device, Kind, Tensor};

use crate::{
    adapter::{Adapter, AdapterLayer, LayerMagnitude},
    config::{Init, LayerSettings, LoraConfig},
    dropout::Dropout,
    error::{Error, Result},
    linear::LoraLinear,
    magnitude::row_lengths,
    part::Part,
    pissa::principal,
    select::{Selected, Selector},
    state::AdapterState,
    tensors::copy_of,
};

/// Adapts one linear layer after the other.
///
/// Show it every linear layer of a model with [`Injector::adapt`], put the
/// [`LoraLinear`] that it returns in the layer's place, and end with
/// [`Injector::finish`]. New `A`s are drawn in the order of the layers.
pub struct Injector<'a> {
    config: LoraConfig,
    settings: LayerSettings,
    selector: Selector,
    source: Source<'a>,
    layers: Vec<AdapterLayer>,
    magnitudes: Vec<LayerMagnitude>,
    training: Arc<AtomicBool>,
}

/// Where `A` and `B` come from.
enum Source<'a> {
    New(&'a mut dyn Rng),
    Saved(AdapterState),
}

impl std::fmt::Debug for Injector<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Injector").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<'a> Injector<'a> {
    /// Makes new adapters: `A` from `rng`, `B` zero, or both from the weights
    /// ([`Init::Pissa`]).
    ///
    /// # Errors
    /// [`Error::Config`] for settings without meaning ([`LoraConfig::check`]).
    pub fn new(config: LoraConfig, rng: &'a mut dyn Rng) -> Result<Self> {
        Self::with(config, Source::New(rng))
    }

    /// Puts a saved adapter back on a model.
    ///
    /// # Errors
    /// [`Error::Config`] as for [`Injector::new`].
    pub fn from_state(state: AdapterState) -> Result<Self> {
        // What is saved is a plain adapter, whatever it started from.
        let config = LoraConfig { init: Init::Kaiming, ..state.config().clone() };
        Self::with(config, Source::Saved(state))
    }

    fn with(config: LoraConfig, source: Source<'a>) -> Result<Self> {
        config.check()?;
        Ok(Self {
            settings: LayerSettings::new(&config)?,
            selector: Selector::new(&config.targets)?,
            config,
            source,
            layers: Vec::new(),
            magnitudes: Vec::new(),
            training: Arc::default(),
        })
    }

    /// The adapted layer to put in place of layer `name`, or `None` if it is no
    /// target.
    ///
    /// `weight` is `[out, in]` and `bias` `[out]`; both are shared, not copied,
    /// and should be frozen. `outputs` names the equal parts that the output is
    /// made of where one layer computes several projections (`q`, `k`, `v`);
    /// else it is empty. A target that names the whole layer puts one adapter on
    /// all of it.
    ///
    /// # Errors
    /// [`Error::Layer`] if the weight is not a matrix or cannot be cut into the
    /// parts; [`Error::Torch`] if memory runs out.
    pub fn adapt(
        &mut self,
        name: &str,
        outputs: &[&str],
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Option<LoraLinear>> {
        let layer_error = |reason: String| Error::Layer { layer: name.to_owned(), reason };
        let size = weight.size();
        let &[out, _] = size.as_slice() else {
            return Err(layer_error(format!("its weight has shape {size:?}; expected [out, in]")));
        };
        let count = outputs.len().max(1) as i64;
        if out % count != 0 {
            return Err(layer_error(format!("{out} outputs cannot be cut into {count} parts")));
        }
        let rows = out / count;
        let wanted: Vec<(String, i64, i64)> = match self.selector.select(name, outputs) {
            Selected::Whole => vec![(name.to_owned(), 0, out)],
            Selected::Parts(parts) => {
                parts.into_iter().map(|(part, number)| (part, number as i64 * rows, rows)).collect()
            }
        };
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        // What PiSSA leaves of the weight.
        let mut rest = match self.config.init {
            Init::Kaiming => None,
            Init::Pissa => Some(weight.f_detach()?.f_to_dtype(weight.kind(), false, true)?),
        };
        for (part, start, rows) in wanted {
            let (rank, scale) = self.settings.of(&[&part, name]);
            let block = weight.f_narrow(0, start, rows)?;
            let (a, b) = self.matrices(&part, &block, rank, scale)?;
            let initial = match &mut rest {
                None => None,
                Some(rest) => {
                    let product = b.f_detach()?.f_mm(&a.f_detach()?)?.f_mul_scalar(scale)?;
                    let _ = rest.f_narrow(0, start, rows)?.f_sub_(&product)?;
                    Some((copy_of(&a)?, copy_of(&b)?))
                }
            };
            self.layers.push(AdapterLayer {
                name: part,
                a: a.shallow_clone(),
                b: b.shallow_clone(),
                scale,
                initial,
            });
            parts.push(Part { a, b, start, scale });
        }
        let dropout =
            Dropout { probability: self.config.dropout, training: Arc::clone(&self.training) };
        let bias = bias.map(Tensor::shallow_clone);
        let layer = LoraLinear::new(weight.shallow_clone(), rest, bias, parts, dropout);
        if !self.config.dora {
            return Ok(Some(layer));
        }
        let magnitude = match &mut self.source {
            Source::New(_) => row_lengths(weight)?,
            Source::Saved(state) => state.take_magnitude(name, out)?,
        };
        let magnitude = magnitude.f_to_device(weight.device())?.f_set_requires_grad(true)?;
        self.magnitudes
            .push(LayerMagnitude { name: name.to_owned(), magnitude: magnitude.shallow_clone() });
        Ok(Some(layer.with_magnitude(magnitude)?))
    }

    /// The adapter of all layers that were adapted.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`] if a target matched no layer; [`Error::Config`] if
    /// a key of a pattern did; [`Error::Mismatch`] if a saved adapter has tensors
    /// that no layer took.
    pub fn finish(self) -> Result<Adapter> {
        self.selector.all_found()?;
        self.settings.all_used()?;
        if let Source::Saved(state) = &self.source {
            state.all_taken()?;
        }
        Ok(Adapter {
            config: self.config,
            layers: self.layers,
            magnitudes: self.magnitudes,
            training: self.training,
        })
    }

    /// `A` `[rank, in]` and `B` `[out, rank]` for `weight` `[out, in]`, requiring
    /// gradients.
    fn matrices(
        &mut self,
        name: &str,
        weight: &Tensor,
        rank: i64,
        scale: f64,
    ) -> Result<(Tensor, Tensor)> {
        let (rows, width) = weight.size2()?;
        let (a, b) = match &mut self.source {
            Source::New(rng) => {
                let a = new_a(*rng, width, rank)?;
                let b = Tensor::f_zeros([rank, rows], (Kind::Float, Device::Cpu))?.f_tr()?;
                if self.config.init == Init::Pissa {
                    // A rank beyond that of the weight starts as any other.
                    let (principal_a, principal_b) = principal(weight, rank, scale)?;
                    let k = principal_a.size2()?.0;
                    a.f_narrow(0, 0, k)?.f_copy_(&principal_a)?;
                    b.f_narrow(1, 0, k)?.f_copy_(&principal_b)?;
                }
                (a, b)
            }
            Source::Saved(state) => {
                let (a, b) = state.take_layer(name, [rank, width], [rows, rank])?;
                (column_wise(&a)?, column_wise(&b)?)
            }
        };
        let trained =
            |tensor: Tensor| tensor.f_to_device(weight.device())?.f_set_requires_grad(true);
        Ok((trained(a)?, trained(b)?))
    }
}

/// The same matrix, column after column in memory: as the `[in, rank]` and
/// `[rank, out]` that `x` is multiplied by lie in PyTorch programs. The order in
/// memory decides in which order gradients are summed.
fn column_wise(matrix: &Tensor) -> Result<Tensor> {
    Ok(matrix.f_tr()?.f_contiguous()?.f_tr()?)
}

/// A new `A` `[rank, width]`: Kaiming uniform with a = √5 (He et al. 2015),
/// drawn as the matrix `[width, rank]` that `x` is multiplied by, so uniform in
/// ±1/√rank. With a generator equal to torch's, the numbers equal torch's.
fn new_a(rng: &mut dyn Rng, width: i64, rank: i64) -> Result<Tensor> {
    let bound = (1.0 / (rank as f64).sqrt()) as f32;
    let values: Vec<f32> = (0..width * rank)
        .map(|_| {
            // 24 random bits, as many as a float32 holds.
            let unit = (rng.next_u32() & 0x00ff_ffff) as f32 / (1u32 << 24) as f32;
            unit.mul_add(bound + bound, -bound)
        })
        .collect();
    Ok(Tensor::f_from_slice(&values)?.f_view([width, rank])?.f_tr()?)
}

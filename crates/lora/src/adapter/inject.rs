//! Injection of adapters into the linear layers of a model.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use rand_core::Rng;
use tch::{Tensor, nn};

use super::{
    Adapter, AdapterLayer, LayerMagnitude,
    state::AdapterState,
    target_selection::{Selected, Selector},
};
use crate::{
    config::{Init, LayerSettings, LoraConfig},
    error::{Error, LayerProblem, Result},
    layer::{
        dropout::Dropout, initialization::new_matrices, linear::LoraLinear, magnitude::row_lengths,
        slice::Slice,
    },
    tensor_file::copy_of,
};

/// Adapts one linear layer after the other.
///
/// Pass every linear layer of a model to [`Injector::adapt`], put the returned
/// [`LoraLinear`] in the layer's place, and end with [`Injector::finish`]. New `A`s are
/// drawn in the order of the layers.
pub struct Injector<'a> {
    config: LoraConfig,
    settings: LayerSettings,
    selector: Selector,
    source: Source<'a>,
    layers: Vec<AdapterLayer>,
    magnitudes: Vec<LayerMagnitude>,
    training: Arc<AtomicBool>,
}

/// Source of `A` and `B`.
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
    /// Creates new adapters: `A` from `rng`, `B` zero, or both from the weights
    /// ([`Init::Pissa`]).
    ///
    /// # Errors
    /// [`Error::Setting`] for invalid settings ([`LoraConfig::check`]).
    pub fn new(config: LoraConfig, rng: &'a mut dyn Rng) -> Result<Self> {
        Self::with(config, Source::New(rng))
    }

    /// Puts a saved adapter back on a model.
    ///
    /// # Errors
    /// [`Error::Setting`] as for [`Injector::new`].
    pub fn from_state(state: AdapterState) -> Result<Self> {
        // A saved adapter is a plain one, whatever it started from.
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

    /// Returns the adapted layer to put in place of layer `name`, or `None` if it is not
    /// a target.
    ///
    /// `weight` is `[out, in]` and `bias` `[out]`; both are shared, not copied, and
    /// should be frozen. Where one layer computes several projections, `outputs` names
    /// the equal slices of its output (`q`, `k`, `v`); otherwise it is empty. A target
    /// that names the whole layer puts one adapter on all of it.
    ///
    /// # Errors
    /// [`Error::Layer`] if the weight is not a matrix or cannot be divided into the
    /// slices; [`Error::Torch`] if memory runs out.
    pub fn adapt(
        &mut self,
        name: &str,
        outputs: &[&str],
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Option<LoraLinear>> {
        let targets = self.target_slices(name, outputs, weight)?;
        if targets.is_empty() {
            return Ok(None);
        }
        self.adapt_slices(name, targets, weight, bias).map(Some)
    }

    /// Puts an adapter on each of these slices of a layer: name, first output and number
    /// of outputs.
    fn adapt_slices(
        &mut self,
        name: &str,
        targets: Vec<(String, i64, i64)>,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<LoraLinear> {
        let mut slices = Vec::new();
        // The weight without what PiSSA moves into the adapters.
        let mut residual = match self.config.init {
            Init::Kaiming => None,
            Init::Pissa => Some(weight.f_detach()?.f_to_dtype(weight.kind(), false, true)?),
        };
        for (slice, start, rows) in targets {
            let (rank, scale) = self.settings.of(&[&slice, name]);
            let block = weight.f_narrow(0, start, rows)?;
            let (a, b) = self.matrices(&slice, &block, rank, scale)?;
            let initial = match &mut residual {
                None => None,
                Some(residual) => {
                    let product = b.f_detach()?.f_mm(&a.f_detach()?)?.f_mul_scalar(scale)?;
                    let _ = residual.f_narrow(0, start, rows)?.f_sub_(&product)?;
                    Some((copy_of(&a)?, copy_of(&b)?))
                }
            };
            self.layers.push(AdapterLayer {
                name: slice,
                a: a.shallow_clone(),
                b: b.shallow_clone(),
                scale,
                initial,
            });
            slices.push(Slice { a, b, start, scale });
        }
        let dropout =
            Dropout { probability: self.config.dropout, training: Arc::clone(&self.training) };
        let bias = bias.map(Tensor::shallow_clone);
        let layer = LoraLinear::new(weight.shallow_clone(), residual, bias, slices, dropout);
        if !self.config.dora {
            return Ok(layer);
        }
        let magnitude = match &mut self.source {
            Source::New(_) => row_lengths(weight)?,
            Source::Saved(state) => state.take_magnitude(name, weight.size2()?.0)?,
        };
        let magnitude = magnitude.f_to_device(weight.device())?.f_set_requires_grad(true)?;
        self.magnitudes
            .push(LayerMagnitude { name: name.to_owned(), magnitude: magnitude.shallow_clone() });
        Ok(layer.with_magnitude(magnitude)?)
    }

    /// Returns the adapter of all adapted layers.
    ///
    /// # Errors
    /// [`Error::UnknownTarget`] if a target matched no layer; [`Error::Setting`] if
    /// a key of a pattern matched none; [`Error::Mismatch`] if a saved adapter has
    /// tensors that no layer took.
    pub fn finish(self) -> Result<Adapter> {
        if let Source::Saved(state) = &self.source {
            state.all_taken()?;
        }
        self.selector.all_found()?;
        self.settings.all_used()?;
        Ok(Adapter {
            config: self.config,
            layers: self.layers,
            magnitudes: self.magnitudes,
            training: self.training,
        })
    }

    /// Returns the slices of a layer that are targets: name, first output and number of
    /// outputs.
    fn target_slices(
        &mut self,
        name: &str,
        outputs: &[&str],
        weight: &Tensor,
    ) -> Result<Vec<(String, i64, i64)>> {
        let layer_error = |problem| Error::Layer { layer: name.to_owned(), problem };
        let size = weight.size();
        let &[out, _] = size.as_slice() else {
            return Err(layer_error(LayerProblem::NotAMatrix { shape: size }));
        };
        let count = outputs.len().max(1) as i64;
        if out % count != 0 {
            return Err(layer_error(LayerProblem::Indivisible { outputs: out, slices: count }));
        }
        let rows = out / count;
        Ok(match self.selector.select(name, outputs) {
            Selected::Whole => vec![(name.to_owned(), 0, out)],
            Selected::Slices(slices) => slices
                .into_iter()
                .map(|(slice, number)| (slice, number as i64 * rows, rows))
                .collect(),
        })
    }

    /// Returns `A` `[rank, in]` and `B` `[out, rank]` for `weight` `[out, in]`, requiring
    /// gradients.
    fn matrices(
        &mut self,
        name: &str,
        weight: &Tensor,
        rank: i64,
        scale: f64,
    ) -> Result<(Tensor, Tensor)> {
        let (a, b) = match &mut self.source {
            Source::New(rng) => new_matrices(self.config.init, weight, rank, scale, *rng)?,
            Source::Saved(state) => {
                let (rows, width) = weight.size2()?;
                let (a, b) = state.take_layer(name, [rank, width], [rows, rank])?;
                (column_wise(&a)?, column_wise(&b)?)
            }
        };
        let trained =
            |tensor: Tensor| tensor.f_to_device(weight.device())?.f_set_requires_grad(true);
        Ok((trained(a)?, trained(b)?))
    }
}

impl LoraLinear {
    /// Puts one new adapter on a `tch` layer, whose weight and bias are shared and take
    /// no gradient here. Rank, α, scaling, dropout, DoRA and the initialization follow
    /// `config`; its targets and patterns name layers of a model and have no effect.
    ///
    /// # Errors
    /// [`Error::Setting`] for invalid settings ([`LoraConfig::check`]); [`Error::Torch`]
    /// if memory runs out.
    pub fn from_linear(
        linear: &nn::Linear,
        config: &LoraConfig,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        let config = LoraConfig {
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            ..config.clone()
        };
        let (weight, name) = (linear.ws.f_detach()?, "linear");
        let bias = linear.bs.as_ref().map(Tensor::f_detach).transpose()?;
        let whole = (name.to_owned(), 0, weight.size2()?.0);
        Injector::new(config, rng)?.adapt_slices(name, vec![whole], &weight, bias.as_ref())
    }
}

/// Returns the same matrix with its columns contiguous in memory, like the `[in, rank]`
/// and `[rank, out]` that `x` is multiplied by in PyTorch programs. The order in
/// memory decides in which order gradients are summed.
fn column_wise(matrix: &Tensor) -> Result<Tensor> {
    Ok(matrix.f_tr()?.f_contiguous()?.f_tr()?)
}

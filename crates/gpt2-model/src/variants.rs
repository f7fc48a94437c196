//! The same model in another way: computed otherwise, of other types, or of the same
//! tensors once more.

use tch::{Kind, TchError, Tensor};

use crate::{
    arithmetic::Arithmetic,
    attention::Attention,
    block::{Block, Mlp},
    dtype::DType,
    error::Result,
    linear::{Linear, LinearLayer},
    model::Gpt2,
    norm::LayerNorm,
};

impl Gpt2 {
    /// The same model, computed in another way.
    #[must_use]
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Self {
        Self { arithmetic, ..self }
    }

    /// The same model with the weights of its linear layers in another type; those
    /// layers become plain ones.
    ///
    /// # Errors
    /// [`Error::Device`] if this device cannot compute in it.
    pub fn with_dtype(mut self, dtype: DType) -> Result<Self> {
        dtype.check(self.device)?;
        if dtype != DType::Float32 {
            self.convert_linears(&|tensor| tensor.f_to_kind(dtype.kind()))?;
        }
        Ok(self)
    }

    /// Another model of the same tensors: nothing is copied, and whatever is put in
    /// the place of a linear layer of one does not show in the other. Linear layers
    /// are plain ones in it.
    pub fn share(&self) -> Self {
        let same = Tensor::shallow_clone;
        let linear = |layer: &dyn LinearLayer| -> Box<dyn LinearLayer> {
            Box::new(Linear::new(same(layer.weight()), layer.bias().map(same)))
        };
        let norm = |norm: &LayerNorm| LayerNorm {
            weight: same(&norm.weight),
            bias: same(&norm.bias),
            epsilon: norm.epsilon,
        };
        let block = |Block { ln_1, attn, ln_2, mlp }: &Block| Block {
            ln_1: norm(ln_1),
            attn: Attention {
                c_attn: linear(attn.c_attn.as_ref()),
                c_proj: linear(attn.c_proj.as_ref()),
                heads: attn.heads,
                scale: attn.scale,
            },
            ln_2: norm(ln_2),
            mlp: Mlp {
                c_fc: linear(mlp.c_fc.as_ref()),
                c_proj: linear(mlp.c_proj.as_ref()),
                activation: mlp.activation,
            },
        };
        Self {
            config: self.config.clone(),
            device: self.device,
            arithmetic: self.arithmetic,
            wte: same(&self.wte),
            wpe: same(&self.wpe),
            blocks: self.blocks.iter().map(block).collect(),
            ln_f: norm(&self.ln_f),
        }
    }

    /// The same model with another bias `[dim]` of the final norm.
    #[must_use]
    pub fn with_final_bias(mut self, bias: Tensor) -> Self {
        self.ln_f.bias = bias;
        self
    }

    /// The same model with the weights of its linear layers rounded to a type and
    /// kept in float32: on any device, what a merged model of that type computes
    /// with.
    ///
    /// # Errors
    /// [`Error::Torch`] if memory runs out.
    pub fn rounded_to(mut self, dtype: DType) -> Result<Self> {
        if dtype != DType::Float32 {
            self.convert_linears(&|tensor| tensor.f_to_kind(dtype.kind())?.f_to_kind(Kind::Float))?;
        }
        Ok(self)
    }

    /// Puts plain layers of what `convert` makes of weights and biases in the place
    /// of all linear layers.
    fn convert_linears(
        &mut self,
        convert: &dyn Fn(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<()> {
        self.visit_linears(&mut |slot| {
            let weight = convert(slot.layer.weight())?;
            let bias = slot.layer.bias().map(convert).transpose()?;
            *slot.layer = Box::new(Linear::new(weight, bias));
            Ok(())
        })
    }
}

//! Conversions of a whole model: arithmetic, number formats, shared copies.

use std::collections::BTreeMap;

use gpt2_config::{LM_HEAD, expected};
use tch::{Kind, TchError, Tensor};

use crate::{
    dtype::DType,
    engine::Workspace,
    error::{ArgumentError, Result},
    model::{
        arithmetic::Arithmetic,
        attention::Attention,
        block::{Block, Mlp},
        gpt2::Gpt2,
        linear::{Linear, LinearLayer},
    },
};

impl Gpt2 {
    /// Sets how the model computes. Its linear layers become plain ones.
    #[must_use]
    pub fn with_arithmetic(mut self, arithmetic: Arithmetic) -> Self {
        self.arithmetic = arithmetic;
        self.ln_f.arithmetic = arithmetic;
        for block in &mut self.blocks {
            block.ln_1.arithmetic = arithmetic;
            block.attn.arithmetic = arithmetic;
            block.ln_2.arithmetic = arithmetic;
            block.mlp.arithmetic = arithmetic;
            for (.., layer) in block.linears_mut() {
                *layer = Box::new(Linear::share(layer.as_ref()).with_arithmetic(arithmetic));
            }
        }
        self
    }

    /// Converts the weights of the linear layers, which are then multiplied in this
    /// format; activations between the layers, norms, attention, the head and whatever
    /// is added to a layer stay float32. The layers become plain ones.
    ///
    /// # Errors
    /// [`Error::UnsupportedDType`](crate::Error::UnsupportedDType) if the device cannot
    /// compute in this format.
    pub fn with_dtype(mut self, dtype: DType) -> Result<Self> {
        dtype.check(self.device)?;
        if dtype != DType::Float32 {
            self.convert_linears(&|tensor| tensor.f_to_kind(dtype.kind()))?;
        }
        Ok(self)
    }

    /// Rounds the weights of the linear layers to a format and keeps them in float32: on
    /// any device, the numbers that a merged model of that format computes with.
    pub fn rounded_to(mut self, dtype: DType) -> Result<Self> {
        if dtype != DType::Float32 {
            self.convert_linears(&|tensor| tensor.f_to_kind(dtype.kind())?.f_to_kind(Kind::Float))?;
        }
        Ok(self)
    }

    /// Merges into the weights what the linear layers add, for example adapters.
    pub fn merge(&mut self) -> Result<()> {
        self.workspace = Workspace::default();
        self.visit_linears(&mut |slot| {
            *slot.layer = Box::new(slot.layer.merged()?.with_arithmetic(slot.arithmetic));
            Ok(())
        })
    }

    /// Replaces the bias `[dim]` of the final norm.
    #[must_use]
    pub fn with_final_bias(mut self, bias: Tensor) -> Self {
        self.ln_f.bias = bias;
        self
    }

    /// Replaces parameters, given by their names and in their layout in a weight file: linear
    /// weights are `[in, out]`. A token embedding may have another number of tokens.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) names a parameter that the model does not have, or whose shape
    /// differs.
    pub fn with_parameters(
        mut self,
        parameters: impl IntoIterator<Item = (String, Tensor)>,
    ) -> Result<Self> {
        let mut shapes: BTreeMap<String, Vec<i64>> = expected(&self.config).into_iter().collect();
        shapes.extend(self.lm_head.as_ref().map(|head| (LM_HEAD.to_owned(), head.size())));
        for (name, value) in parameters {
            let mut shape = shapes
                .get(&name)
                .cloned()
                .ok_or_else(|| ArgumentError::UnknownParameter { name: name.clone() })?;
            let size = value.size();
            if let ("wte.weight" | LM_HEAD, [tokens, _]) = (name.as_str(), size.as_slice()) {
                shape[0] = *tokens;
            }
            if size != shape {
                return Err(ArgumentError::Shape { name, expected: shape, shape: size }.into());
            }
            self.set_parameter(&name, value.f_to_kind(Kind::Float)?.f_to_device(self.device)?)?;
        }
        self.config.vocab_size = self.wte.size2()?.0;
        if let Some(head) = &self.lm_head {
            let (expected, shape) = (self.wte.size(), head.size());
            if expected != shape {
                let name = LM_HEAD.to_owned();
                return Err(ArgumentError::Shape { name, expected, shape }.into());
            }
        }
        Ok(self)
    }

    fn set_parameter(&mut self, name: &str, value: Tensor) -> Result<()> {
        let place = match name {
            "wte.weight" => &mut self.wte,
            "wpe.weight" => &mut self.wpe,
            LM_HEAD => {
                self.lm_head = Some(value);
                return Ok(());
            }
            "ln_f.weight" => &mut self.ln_f.weight,
            "ln_f.bias" => &mut self.ln_f.bias,
            _ => return self.set_in_block(name, value),
        };
        *place = value;
        Ok(())
    }

    fn set_in_block(&mut self, name: &str, value: Tensor) -> Result<()> {
        let block = name.strip_prefix("h.").and_then(|rest| rest.split_once('.'));
        let Some((number, name)) = block else { return Ok(()) };
        let number: Option<usize> = number.parse().ok();
        let Some(block) = number.and_then(|number| self.blocks.get_mut(number)) else {
            return Ok(());
        };
        let place = match name {
            "ln_1.weight" => &mut block.ln_1.weight,
            "ln_1.bias" => &mut block.ln_1.bias,
            "ln_2.weight" => &mut block.ln_2.weight,
            "ln_2.bias" => &mut block.ln_2.bias,
            _ => {
                for (module, _, layer) in block.linears_mut() {
                    let (weight, bias) = match name.strip_prefix(module) {
                        Some(".weight") => (value.f_tr()?.f_contiguous()?, layer.bias()),
                        Some(".bias") => (layer.weight().shallow_clone(), Some(&value)),
                        _ => continue,
                    };
                    let bias = bias.map(Tensor::shallow_clone);
                    *layer = Box::new(Linear::new(weight, bias).with_arithmetic(self.arithmetic));
                }
                return Ok(());
            }
        };
        *place = value;
        Ok(())
    }

    /// Returns another model of the same tensors. Nothing is copied; a linear layer that
    /// is replaced in one model stays in the other. Its linear layers are plain ones.
    pub fn share(&self) -> Self {
        let linear = |layer: &dyn LinearLayer| -> Box<dyn LinearLayer> {
            Box::new(Linear::share(layer).with_arithmetic(self.arithmetic))
        };
        let block = |Block { ln_1, attn, ln_2, mlp }: &Block| Block {
            ln_1: ln_1.share(),
            attn: Attention {
                c_attn: linear(attn.c_attn.as_ref()),
                c_proj: linear(attn.c_proj.as_ref()),
                ..*attn
            },
            ln_2: ln_2.share(),
            mlp: Mlp {
                c_fc: linear(mlp.c_fc.as_ref()),
                c_proj: linear(mlp.c_proj.as_ref()),
                ..*mlp
            },
        };
        Self {
            config: self.config.clone(),
            wte: self.wte.shallow_clone(),
            lm_head: self.lm_head.as_ref().map(Tensor::shallow_clone),
            wpe: self.wpe.shallow_clone(),
            blocks: self.blocks.iter().map(block).collect(),
            ln_f: self.ln_f.share(),
            notes: self.notes.clone(),
            workspace: Workspace::default(),
            ..*self
        }
    }

    /// Replaces every linear layer by a plain one with converted weight and bias.
    fn convert_linears(
        &mut self,
        convert: &dyn Fn(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<()> {
        self.visit_linears(&mut |slot| {
            let weight = convert(slot.layer.weight())?;
            let bias = slot.layer.bias().map(convert).transpose()?;
            *slot.layer = Box::new(Linear::new(weight, bias).with_arithmetic(slot.arithmetic));
            Ok(())
        })
    }
}

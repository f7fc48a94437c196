//! Trainable parameters of a model, and their parameter groups.

use clap::ValueEnum;
use dataset::TorchRng;
use gpt2_model::{DType, Gpt2Classifier};
use lora::{Adapter, Injector, ParameterKind};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::{
    error::Result,
    trainable::{adapters::adapt_where, mixed_precision::MixedPrecision, network::Network},
    training::adamw::ParameterGroup,
};

/// Training of the classification head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// An adapter on its initial weights, as in the book
    #[default]
    Lora,
    /// All weights, without a bias, as in Hugging Face PEFT
    Full,
}

/// Set of trainable parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Train {
    /// LoRA adapters on the frozen base model
    #[default]
    Lora,
    /// Only the head
    Head,
    /// The last block, the final norm and the head
    LastBlock,
    /// All parameters of the model
    All,
}

impl Train {
    /// Returns whether a parameter of a network is trained.
    fn includes(self, name: &str, network: &dyn Network) -> bool {
        let is_head = network.head_names().contains(&name);
        let last_block = format!("h.{}.", network.blocks() - 1);
        match self {
            Self::Lora => false,
            Self::Head => is_head,
            Self::LastBlock => {
                is_head || name.starts_with("ln_f.") || name.starts_with(&last_block)
            }
            Self::All => true,
        }
    }
}

/// Parameters that weight decay applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WeightDecayOn {
    /// All parameters, as in PyTorch's AdamW
    #[default]
    All,
    /// Matrices, that is, neither biases nor layer norms
    Matrices,
}

/// Trainable parameters of a model. The tensors are shared with the model.
#[derive(Debug)]
pub struct Trainable {
    adapter: Option<Adapter>,
    parameters: Vec<TrainableParameter>,
    mixed_precision: Option<MixedPrecision>,
}

/// A trainable parameter and its optimizer settings.
#[derive(Debug)]
struct TrainableParameter {
    name: String,
    value: Tensor,
    group: ParameterGroup,
}

impl Trainable {
    /// Freezes a model, and puts adapters on it or, with [`Head::Full`], on all but its
    /// head. Each `B` learns `lora_plus_ratio` times as fast as the rest (LoRA+; Hayou et al.
    /// 2024, *LoRA+: Efficient Low Rank Adaptation of Large Models*).
    ///
    /// # Errors
    /// As [`adapt`](crate::adapt).
    pub fn lora(
        model: &mut Gpt2Classifier,
        injector: Injector<'_>,
        head: Head,
        lora_plus_ratio: f64,
    ) -> Result<Self> {
        let whole_head = head == Head::Full;
        let adapter =
            adapt_where(model, injector, &|name| !(whole_head && name == Gpt2Classifier::HEAD))?;
        let mut trainable = Self::adapter_only(adapter, lora_plus_ratio);
        if whole_head {
            trainable.add(model.head())?;
        }
        Ok(trainable)
    }

    /// Parameters of an injected adapter. The learning rate of each B is multiplied by
    /// `lora_plus_ratio` (LoRA+, Hayou et al. 2024).
    pub fn adapter_only(adapter: Adapter, lora_plus_ratio: f64) -> Self {
        let default = ParameterGroup::default();
        let of_b = ParameterGroup { lr_factor: lora_plus_ratio, ..default };
        let named = adapter.named_parameters().into_iter().zip(adapter.parameter_kinds());
        let parameters = named.map(|((name, value), (_, kind))| {
            let group = match kind {
                ParameterKind::B => of_b,
                ParameterKind::A | ParameterKind::Magnitude => default,
            };
            TrainableParameter { name, value, group }
        });
        let parameters = parameters.collect();
        Self { parameters, adapter: Some(adapter), mixed_precision: None }
    }

    /// Freezes all parameters of a network except the set `train`. With a `dtype` other than
    /// float32, linear layers use mixed precision in training steps; the weights stay float32.
    pub(crate) fn base(
        network: &mut dyn Network,
        train: Train,
        decay: WeightDecayOn,
        dtype: DType,
    ) -> Result<Self> {
        let mut parameters = Vec::new();
        for (name, value) in network.named_parameters() {
            let is_trained = train.includes(&name, network);
            let value = value.f_set_requires_grad(is_trained)?;
            if is_trained {
                let decays = decay == WeightDecayOn::All || value.dim() > 1;
                let group = ParameterGroup { decays, ..ParameterGroup::default() };
                parameters.push(TrainableParameter { name, value, group });
            }
        }
        let mixed_precision = match dtype {
            DType::Float32 => None,
            dtype => Some(MixedPrecision::install(network, dtype)?),
        };
        Ok(Self { adapter: None, parameters, mixed_precision })
    }

    /// Adds parameters of the model to the trainable ones.
    fn add(&mut self, parameters: Vec<(String, Tensor)>) -> Result<()> {
        for (name, value) in parameters {
            let (value, group) = (value.f_set_requires_grad(true)?, ParameterGroup::default());
            self.parameters.push(TrainableParameter { name, value, group });
        }
        Ok(())
    }

    /// Adapter, if one is trained.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// All trainable parameters: first those in the adapter, then those in the model.
    pub fn parameters(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|parameter| parameter.value.shallow_clone()).collect()
    }

    /// Names of [`Trainable::parameters`], in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.parameters.iter().map(|parameter| parameter.name.clone()).collect()
    }

    /// [`Trainable::parameters`] with their parameter groups.
    pub fn parameter_groups(&self) -> Vec<(Tensor, ParameterGroup)> {
        let groups = self.parameters.iter();
        groups.map(|parameter| (parameter.value.shallow_clone(), parameter.group)).collect()
    }

    /// Runs a training step with dropout and mixed precision turned on. With dropout, it receives
    /// the seed of the masks, drawn from `rng`, so that a step can be repeated.
    pub(crate) fn while_training<T>(
        &self,
        rng: &mut TorchRng,
        step: impl FnOnce(Option<i64>) -> T,
    ) -> T {
        let dropout = |adapter: &&Adapter| adapter.config().dropout != 0.0;
        let adapter = self.adapter.as_ref().filter(dropout);
        let set_training = |is_training: bool| {
            adapter.iter().for_each(|adapter| adapter.set_training(is_training));
            self.mixed_precision.iter().for_each(|mixed| mixed.set(is_training));
        };
        let seed = adapter.is_some().then(|| rng.random_i64());
        set_training(true);
        let result = step(seed);
        set_training(false);
        result
    }
}

//! What is trained of a model: an adapter, and the head where that is trained as a
//! whole.

use clap::ValueEnum;
use dataset::TorchRng;
use gpt2_model::Gpt2Classifier;
use lora::{Adapter, Injector, ParameterKind};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::{error::Result, trainable::adapters::adapt_where, training::adamw::Treatment};

/// How the classification head is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// By an adapter on what was drawn, as the book does
    #[default]
    Lora,
    /// As a whole, without a bias, as Hugging Face PEFT does
    Full,
}

/// Name of the head and of its tensors.
pub(crate) const HEAD: &str = "score";
pub(crate) const HEAD_TENSORS: [&str; 2] = ["score.weight", "score.bias"];

/// The head's own weight and bias, which no file of the base model has.
pub(crate) fn head_tensors(model: &Gpt2Classifier) -> Vec<(String, Tensor)> {
    let all = model.named_parameters().into_iter();
    all.filter(|(name, _)| HEAD_TENSORS.contains(&name.as_str())).collect()
}

/// What is trained of a model.
#[derive(Debug)]
pub struct Trained {
    adapter: Adapter,
    /// The head's own tensors, if they are trained.
    head: Vec<Tensor>,
}

impl From<Adapter> for Trained {
    /// The adapter alone.
    fn from(adapter: Adapter) -> Self {
        Self { adapter, head: Vec::new() }
    }
}

impl Trained {
    /// Freezes a model and puts on it what is to be trained.
    ///
    /// # Errors
    /// As [`adapt`](crate::trainable::adapters).
    pub fn new(model: &mut Gpt2Classifier, injector: Injector<'_>, head: Head) -> Result<Self> {
        let whole_head = head == Head::Full;
        let adapter = adapt_where(model, injector, &|name| !(whole_head && name == HEAD))?;
        let mut trained = Self::from(adapter);
        if whole_head {
            for (_, tensor) in head_tensors(model) {
                trained.head.push(tensor.f_set_requires_grad(true)?);
            }
        }
        Ok(trained)
    }

    /// The adapter.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Everything that is trained: the adapter's parameters, then the head's.
    pub fn parameters(&self) -> Vec<Tensor> {
        let head = self.head.iter().map(Tensor::shallow_clone);
        self.adapter.parameters().into_iter().chain(head).collect()
    }

    /// The names of [`Trained::parameters`], in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        let adapter = self.adapter.named_parameters().into_iter().map(|(name, _)| name);
        let head = self.head.iter().map(|_| "the head".to_owned());
        adapter.chain(head).collect()
    }

    /// Does a step of training. With dropout, the seed of its masks is drawn from
    /// `rng`, so that a step can be repeated.
    pub(crate) fn while_training<T>(&self, rng: &mut TorchRng, step: impl FnOnce() -> T) -> T {
        if self.adapter.config().dropout == 0.0 {
            return step();
        }
        tch::manual_seed(rng.random_i64());
        self.adapter.set_training(true);
        let done = step();
        self.adapter.set_training(false);
        done
    }

    /// As [`Trained::parameters`], with what an optimizer has to know: each `B`
    /// learns `ratio` times as fast as the rest (LoRA+; Hayou et al. 2024, *LoRA+:
    /// Efficient Low Rank Adaptation of Large Models*).
    pub fn treated(&self, ratio: f64) -> Vec<(Tensor, Treatment)> {
        let usual = Treatment::default();
        let fast = Treatment { lr_factor: ratio, ..usual };
        let kinds = self.adapter.parameter_kinds().into_iter();
        let adapter = kinds.map(|(tensor, kind)| match kind {
            ParameterKind::B => (tensor, fast),
            ParameterKind::A | ParameterKind::Magnitude => (tensor, usual),
        });
        adapter.chain(self.head.iter().map(|tensor| (tensor.shallow_clone(), usual))).collect()
    }
}

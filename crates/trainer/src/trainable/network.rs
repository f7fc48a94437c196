//! Model with the head of its task.

use gpt2_model::{Gpt2, Gpt2Classifier, LinearSlot, TreeLine};
use lora::ParameterCount;
use tch::Tensor;

use crate::error::Result;

/// Model with the head of its task.
pub trait Network {
    /// Names and values of all parameters.
    fn named_parameters(&self) -> Vec<(String, Tensor)>;

    /// Calls `visit` with every linear layer, in order of computation, until the first error.
    fn visit_linears(&mut self, visit: &mut dyn FnMut(LinearSlot<'_>) -> Result<()>) -> Result<()>;

    /// Tree of the modules.
    fn tree(&self) -> Vec<TreeLine>;

    /// Names of the parameters of the head.
    fn head_names(&self) -> &'static [&'static str];

    /// Names and values of the parameters of the head.
    fn head(&self) -> Vec<(String, Tensor)> {
        let all = self.named_parameters().into_iter();
        all.filter(|(name, _)| self.head_names().contains(&name.as_str())).collect()
    }

    /// Returns whether the head is new, that is, not in the files of the base model.
    fn head_is_new(&self) -> bool;

    /// Number of transformer blocks.
    fn blocks(&self) -> i64;

    /// Number of all and of trainable parameters.
    fn count(&self) -> ParameterCount {
        ParameterCount::of(self.named_parameters().into_iter().map(|(_, parameter)| parameter))
    }
}

impl Network for Gpt2Classifier {
    fn named_parameters(&self) -> Vec<(String, Tensor)> {
        self.named_parameters()
    }

    fn visit_linears(&mut self, visit: &mut dyn FnMut(LinearSlot<'_>) -> Result<()>) -> Result<()> {
        self.visit_linears(visit)
    }

    fn tree(&self) -> Vec<TreeLine> {
        self.tree()
    }

    fn head_names(&self) -> &'static [&'static str] {
        &Gpt2Classifier::HEAD_TENSORS
    }

    fn head_is_new(&self) -> bool {
        true
    }

    fn blocks(&self) -> i64 {
        self.body().config().n_layer
    }
}

/// Language model, whose head is the token embedding, or has a tensor of its own.
impl Network for Gpt2 {
    fn named_parameters(&self) -> Vec<(String, Tensor)> {
        self.named_parameters()
    }

    fn visit_linears(&mut self, visit: &mut dyn FnMut(LinearSlot<'_>) -> Result<()>) -> Result<()> {
        self.visit_linears(visit)
    }

    fn tree(&self) -> Vec<TreeLine> {
        self.tree()
    }

    fn head_names(&self) -> &'static [&'static str] {
        if self.config().tie_word_embeddings { &["wte.weight"] } else { &["lm_head.weight"] }
    }

    fn head_is_new(&self) -> bool {
        false
    }

    fn blocks(&self) -> i64 {
        self.config().n_layer
    }
}

//! Language modeling: the next token of plain text (Radford et al. 2019).

pub(crate) mod data;
pub(crate) mod sampled_softmax;
pub(crate) mod task;
pub(crate) mod tied_head;

//! Language modeling: the next token of plain text (Radford et al. 2019).

pub(crate) mod data;
pub(crate) mod output_head;
pub(crate) mod sampled_softmax;
pub(crate) mod task;

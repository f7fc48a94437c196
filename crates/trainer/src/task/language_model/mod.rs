//! Language modeling: the next token of plain text (Radford et al. 2019), or of completions after
//! their prompts.

pub(crate) mod batch;
pub(crate) mod data;
pub(crate) mod evaluation;
pub(crate) mod lengths;
pub(crate) mod objective;
pub(crate) mod output_head;
pub(crate) mod sampled_softmax;
pub(crate) mod source;
pub(crate) mod task;

//! Reports, plots, the HTML page and TensorBoard event files.

pub(crate) mod curves;
pub mod html;
pub(crate) mod plots;
pub(crate) mod run_report;
pub mod tensorboard;

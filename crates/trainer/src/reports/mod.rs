//! Reports: run report, HTML page, plots, TensorBoard event files.

mod evaluation_plots;
pub mod html;
mod loss_plots;
pub(crate) mod plots;
pub(crate) mod run_report;
pub mod tensorboard;
pub(crate) mod training_curves;

pub use plots::PlotError;
pub use run_report::{EpochAccuracy, LanguageModelReport, Report, SplitSizes};

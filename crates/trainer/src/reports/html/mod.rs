//! HTML page of an evaluation: one file without scripts and network access, light or dark
//! like the reader's system. The same evaluation gives the same bytes, so the page has no
//! date.
//!
//! ```
//! use trainer::{
//!     metrics::{Classification, MisclassifiedExample},
//!     reports::html,
//! };
//!
//! let mut examples = Classification::new(["ham", "spam"])?;
//! examples.push(0, &[0.9, 0.1])?;
//! examples.push(1, &[0.6, 0.4])?;
//! let misclassified = [MisclassifiedExample {
//!     row: 1,
//!     label: "spam".to_owned(),
//!     predicted: "ham".to_owned(),
//!     probability: 0.6,
//!     probability_of_label: 0.4,
//!     text: "You have <won>!".to_owned(),
//! }];
//! let facts = [("adapter".to_owned(), "runs/gpt2-1/adapter".to_owned())];
//! let (report, curves) = (examples.report()?, examples.roc_curves());
//! let page = html::render_classifier(&report, &facts, &curves, &misclassified)?;
//! assert!(page.contains("You have &lt;won&gt;!"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod classifier;
mod figures;
mod language_model;
mod loss_figures;
mod page;
mod tables;
#[cfg(test)]
mod tests;
pub(super) mod text;

pub use classifier::render_classifier;
pub use language_model::render_language_model;

/// Most examples on a page.
pub const MOST_EXAMPLES: usize = 100;

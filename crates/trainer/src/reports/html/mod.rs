//! An evaluation as one page that any browser shows: no script, no network, light
//! or dark as the reader's system is. The same evaluation gives the same bytes, so
//! the page says nothing of when it was made.
//!
//! ```
//! use trainer::{
//!     classification::{Classification, Mistake},
//!     html,
//! };
//!
//! let mut seen = Classification::new(["ham", "spam"])?;
//! seen.push(0, &[0.9, 0.1])?;
//! seen.push(1, &[0.6, 0.4])?;
//! let mistakes = [Mistake {
//!     row: 1,
//!     label: "spam".to_owned(),
//!     predicted: "ham".to_owned(),
//!     probability: 0.6,
//!     probability_of_label: 0.4,
//!     text: "You have <won>!".to_owned(),
//! }];
//! let facts = [("adapter".to_owned(), "runs/gpt2-1/adapter".to_owned())];
//! let page = html::render(&seen.report()?, &facts, &seen.roc_curves(), &mistakes);
//! assert!(page.contains("You have &lt;won&gt;!"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chart;
mod figures;
mod page;
mod tables;
#[cfg(test)]
mod tags;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

use crate::{
    error::Result,
    metrics::{ClassificationReport, Mistake, RocCurve},
    run::files,
};

/// Most mistakes that a page shows.
pub const MOST_MISTAKES: usize = 100;

/// The page of an evaluation.
///
/// `facts` are names and values that say what was measured, with what, on what; they
/// stand at the top in their order. Of the `mistakes`, which may come in any order,
/// those of the highest probability are shown, [`MOST_MISTAKES`] at most, and the
/// rest is counted.
pub fn render(
    report: &ClassificationReport,
    facts: &[(String, String)],
    curves: &[RocCurve],
    mistakes: &[Mistake],
) -> String {
    page::page(report, facts, curves, mistakes).into_string()
}

/// Writes [`render`]'s page to the file `path`, whole or not at all.
///
/// # Errors
/// [`crate::Error::Write`].
pub fn write(
    path: &Path,
    report: &ClassificationReport,
    facts: &[(String, String)],
    curves: &[RocCurve],
    mistakes: &[Mistake],
) -> Result<()> {
    files::write_atomically(path, render(report, facts, curves, mistakes).as_bytes())
}

//! How good a classifier is, from the class and the probabilities of every row.
//!
//! [`Classification`] takes the rows, [`ClassificationReport`] is what comes of
//! them, for programs (serde) and for people ([`ClassificationReport::to_table`]).
//! It knows no model: probabilities may come from anywhere.
//!
//! ```
//! use trainer::classification::Classification;
//!
//! let mut seen = Classification::new(["ham", "spam"])?;
//! seen.push(0, &[0.9, 0.1])?;
//! seen.push(1, &[0.3, 0.7])?;
//! seen.push(1, &[0.6, 0.4])?;
//! let report = seen.report()?;
//! assert_eq!(report.confusion, [[1, 0], [1, 1]]);
//! assert_eq!(report.per_class[1].recall, Some(0.5));
//! println!("{}", report.to_table());
//! # Ok::<(), trainer::classification::ClassificationError>(())
//! ```

mod calibration;
mod collector;
mod confusion;
mod error;
#[cfg(test)]
mod golden;
mod mistake;
#[cfg(test)]
mod properties;
mod report;
mod roc;
mod table;
mod wilson;

pub use calibration::{RELIABILITY_BINS, ReliabilityBin};
pub use collector::Classification;
pub use error::ClassificationError;
pub use mistake::Mistake;
pub use report::{ClassMetrics, ClassificationReport, MacroAverage};
pub use roc::{ROC_POINTS, RocCurve, RocPoint};
pub use wilson::Interval;

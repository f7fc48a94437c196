//! Metrics of a classifier: accuracy, F1, ROC, calibration, confusion matrix; and of a language model.
//!
//! [`Classification`] collects the true class and the probabilities of every example,
//! [`ClassificationReport`] holds the metrics, for programs (serde) and for people
//! ([`ClassificationReport::to_table`]). No model is needed: the probabilities may come
//! from anywhere.
//!
//! ```
//! use trainer::metrics::Classification;
//!
//! let mut examples = Classification::new(["ham", "spam"])?;
//! examples.push(0, &[0.9, 0.1])?;
//! examples.push(1, &[0.3, 0.7])?;
//! examples.push(1, &[0.6, 0.4])?;
//! let report = examples.report()?;
//! assert_eq!(report.confusion, [[1, 0], [1, 1]]);
//! assert_eq!(report.per_class[1].recall, Some(0.5));
//! println!("{}", report.to_table());
//! # Ok::<(), trainer::metrics::ClassificationError>(())
//! ```

mod argmax;
mod calibration;
mod classification;
mod confidence_interval;
mod confusion_matrix;
mod error;
mod language_model;
mod loss_bins;
mod majority_class;
mod misclassified;
mod report;
mod roc;
#[cfg(test)]
mod tests;
mod text_table;
mod token_measures;

pub use argmax::argmax;
pub use calibration::{RELIABILITY_BINS, ReliabilityBin};
pub use classification::Classification;
pub use confidence_interval::Interval;
pub(crate) use confidence_interval::wilson_interval;
pub use error::ClassificationError;
pub use language_model::{CheckedAnswer, HighLossExample, LanguageModelEvaluation, ScoredExample};
pub(crate) use loss_bins::{LengthBin, LossBin, by_length, histogram};
pub use majority_class::MajorityClass;
pub use misclassified::MisclassifiedExample;
pub use report::{
    ClassMetrics, ClassificationReport, Confusion, MOST_MATRIX_CLASSES, MacroAverage,
};
pub use roc::{ROC_POINTS, RocCurve, RocPoint};
pub use token_measures::TokenMeasures;

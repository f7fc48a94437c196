//! Tasks: classification and language modeling. A task supplies batches, their loss with its
//! gradients, and evaluations; the [training loop](crate::fit()) does the rest.

pub(crate) mod classification;
pub(crate) mod data;
pub(crate) mod kind;
pub(crate) mod language_model;
pub(crate) mod objective;
pub(crate) mod statistics;

pub use classification::{
    batches::{Accuracies, Loaders},
    class_weights::ClassWeights,
    evaluator::{Evaluator, Prediction, accuracy},
    objective::ClassificationObjective,
    task::ClassificationTask,
};
pub use kind::TaskKind;
pub use language_model::{batch::LanguageModelBatch, objective::LanguageModelObjective};
pub use objective::{LanguageMeasures, Losses, Measures, Objective, Sample, Task};
pub use statistics::{ClassExamples, DataStatistics, SplitStatistics, TokenLengths};

//! Tasks: what is learned. A task supplies batches, their loss and its gradients, and
//! evaluations; the [training loop](crate::fit()) does the rest.

pub(crate) mod classification;
pub(crate) mod data;
pub(crate) mod kind;
pub(crate) mod language_model;
pub(crate) mod objective;

pub use classification::{
    batches::{Accuracies, Loaders},
    class_weights::ClassWeights,
    evaluator::{Evaluator, Prediction, accuracy},
    objective::ClassificationObjective,
    task::ClassificationTask,
};
pub use kind::TaskKind;
pub use objective::{Measures, Objective, Task};

//! Use of a trained adapter: prediction, scoring of tables, text generation, evaluation and merging;
//! and its files.

mod adapter_metadata;
mod adapter_set;
mod attached;
mod base_model;
mod classes;
mod continued;
pub(crate) mod error;
mod evaluation;
mod evaluation_files;
mod generated_table;
mod generator;
pub(crate) mod head_bias;
mod language_model;
mod language_model_evaluation;
mod merged;
mod model_card;
mod predictor;
mod saved_adapter;
mod saving;
pub mod scoring;
mod table;
mod text_stream;

pub use adapter_metadata::AdapterMetadata;
pub(crate) use adapter_metadata::{ADAPTER, BaseWeights, INITIAL_ADAPTER, METADATA_FILE};
pub use adapter_set::AdapterSet;
pub(crate) use continued::{StartingAdapter, adapter_digest};
pub use error::{AdapterError, MetadataProblem, TensorProblem};
pub use evaluation::{Evaluation, evaluate};
pub(crate) use evaluation_files::FILES as EVALUATION_FILES;
pub use evaluation_files::has_evaluation;
pub use generated_table::{GeneratedRows, generate_table};
pub use generator::{Completion, Finish, GenerationRequest, Generator, GeneratorOptions, OnText};
pub use language_model::is_language_model;
pub use language_model_evaluation::{
    AnswerCheck, CheckedAnswer, LanguageModelEvaluation, ScoredExample, evaluate_language_model,
};
pub(crate) use merged::write_companions;
pub use merged::write_merged;
pub(crate) use model_card::write_card;
pub use predictor::{Classified, Predictor, PredictorOptions};
pub(crate) use saved_adapter::SavedAdapter;
pub use saved_adapter::read_metadata;
pub(crate) use saving::save_adapter;
pub use table::{classify_lines, classify_table};

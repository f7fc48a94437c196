//! Use of a trained adapter: prediction, evaluation and export.

mod adapter_metadata;
mod adapter_set;
mod evaluation;
mod export;
pub(crate) mod head_bias;
mod predictor;
mod saved_adapter;
mod table;

pub use adapter_metadata::AdapterMetadata;
pub(crate) use adapter_metadata::{BaseWeights, METADATA_FILE};
pub use adapter_set::AdapterSet;
pub(crate) use evaluation::FILES as EVALUATION_FILES;
pub use evaluation::{Evaluation, evaluate};
pub use export::{Exported, export_peft, write_merged};
pub use predictor::{Classified, Predictor, PredictorOptions};
pub use table::{classify_lines, classify_table};

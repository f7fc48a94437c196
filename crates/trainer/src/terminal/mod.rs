//! Console output and the train command.

pub(crate) mod console;
pub(crate) mod dry_run_table;
pub(crate) mod progress_bar;
pub(crate) mod remedies;
pub(crate) mod row_counter;
pub(crate) mod train_command;

pub use console::{Console, ShowModel};
pub use remedies::remedy;
pub use row_counter::Counter;
pub use train_command::{PRETRAIN_EXAMPLES, TRAIN_EXAMPLES, print, report_to_torchrun, train};

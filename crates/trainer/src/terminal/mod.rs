//! Console output and the train command.

pub(crate) mod console;
pub(crate) mod progress_bar;
pub(crate) mod row_counter;
pub(crate) mod train_command;

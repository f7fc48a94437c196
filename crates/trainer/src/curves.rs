//! The events of a run as a loss plot and an accuracy plot.

use std::path::Path;

use crate::{error::Result, events::Event};

//! Options shared by several commands.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, value_parser};
use gpt2_model::{DeviceChoice, resolve_device};
use tch::Device;
use trainer::Predictor;

/// Options of every command that computes.
#[derive(Args)]
pub struct ComputeArgs {
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// CPU threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = value_parser!(i32).range(1..))]
    threads: Option<i32>,
}

impl ComputeArgs {
    /// Sets the number of threads and returns the device.
    pub fn apply(&self) -> Result<Device> {
        if let Some(threads) = self.threads {
            tch::set_num_threads(threads);
        }
        Ok(resolve_device(self.device)?)
    }
}

/// Options of every command that loads an adapter.
#[derive(Args)]
pub struct AdapterArgs {
    /// Folder of a trained adapter
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Base model: a folder, or the name of one below weights/ [default: the base model of
    /// the training]
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<String>,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

impl AdapterArgs {
    /// Loads the adapter and its base model.
    pub fn load(&self, truncate: bool) -> Result<Predictor> {
        let mut options = Predictor::options().device(self.compute.apply()?).truncate(truncate);
        if let Some(base) = &self.model {
            options = options.base(base);
        }
        Ok(options.load(&self.adapter)?)
    }
}

//! Process group over `tch` tensors: several processes, on one machine or on many, train one model.
//!
//! The processes are connected by PyTorch's c10d, which is a part of libtorch: a TCP store and Gloo for
//! control data and for tensors on the CPU, NCCL for tensors on a GPU. They are started by `torchrun`,
//! `mpirun`, `srun` or Kubeflow, whose variables [`Place`] reads.
//!
//! # Main types
//!
//! | Type | Purpose |
//! |---|---|
//! | [`Place`], [`Launcher`] | Rank, world size and address of rank 0, from the environment |
//! | [`Group`] | Collective operations: agree, broadcast, sum, gather, tickets, barrier |
//! | [`Order`], [`TreeSum`] | Sums with the same bits for every number of processes |
//! | [`Transport`] | Gloo or NCCL, and the reason |
//! | [`Error`] | One sentence that names the ranks at fault |
//!
//! # Sum of gradients
//!
//! A step has a fixed number of micro-batches, which the ranks share. The gradients of a rank's
//! micro-batches are added in a [`TreeSum`], and the sums of the ranks in the same tree:
//!
//! ```
//! use std::time::Duration;
//!
//! use distributed::{Group, Order, Place, TreeSum};
//! use tch::Tensor;
//!
//! let group = match Place::of_environment()? {
//!     Some(place) => Group::join(place, Duration::from_secs(600))?,
//!     None => Group::alone(),
//! };
//! group.agree("seed", &7_u64.to_le_bytes())?;
//!
//! let gradients = [1.0e8_f32, 1.0, -1.0e8, 1.0];
//! let mut sum = TreeSum::new();
//! for index in group.share(gradients.len(), Order::Tree)? {
//!     sum.add(Tensor::from_slice(&[gradients[index]]))?;
//! }
//! let mut sum = sum.finish()?.expect("every rank has a micro-batch");
//! group.sum(&mut sum, Order::Tree)?;
//!
//! // (1e8 + 1) + (-1e8 + 1) in float32, with 1, 2 or 4 processes.
//! assert_eq!(f32::try_from(&sum)?, 0.0);
//! group.barrier()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Failures
//!
//! A rank that is killed ends the operations of all others within a second, a rank that hangs ends
//! them after the timeout. c10d neither encrypts nor authenticates: use it in private networks
//! only.

mod collectives;
mod connection;
mod engine;
mod error;
mod gpu;
mod group;
mod order;
mod place;
mod roster;
mod transport;
mod tree;

pub use error::{EnvironmentProblem, Error, Result};
pub use group::Group;
pub use order::Order;
pub use place::{Launcher, Place};
pub use transport::{NoNccl, Transport};
pub use tree::TreeSum;

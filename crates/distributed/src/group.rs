//! Process group.

use std::{cell::RefCell, collections::HashMap, ops::Range, time::Duration};

use tch::{Kind, Tensor};

use crate::{
    Order, Place,
    collectives::Operation,
    connection::Connection,
    error::{Error, Result},
    roster::outliers,
};

/// Group of the processes of a run.
///
/// All ranks must call the same operations in the same order. Each operation, [`ticket`] aside,
/// first compares what the ranks are about to do, and returns [`Error::Differs`] on all of them if
/// they disagree. If a rank does not answer, the others get [`Error::TimedOut`] or [`Error::Lost`],
/// the tensors of the operation hold undefined values, and the group cannot be used anymore. In a
/// group of one process, every operation returns at once.
///
/// Tensors on a GPU travel through the memory of the CPU.
///
/// Dropping the group leaves it. Because rank 0 serves the store, ranks that take tickets should
/// call [`barrier`](Self::barrier) last.
///
/// [`ticket`]: Self::ticket
pub struct Group {
    members: Members,
}

enum Members {
    Alone { tickets: RefCell<HashMap<String, u64>> },
    Several(Connection),
}

impl Group {
    /// Creates the group of a single process.
    pub fn alone() -> Self {
        Self { members: Members::Alone { tickets: RefCell::default() } }
    }

    /// Waits until all processes have joined. The timeout also applies to each later operation.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] names the ranks that did not join. [`Error::Refused`] is returned if the
    /// port is in use, if another process has the same rank, or if libtorch has no Gloo.
    pub fn join(place: Place, timeout: Duration) -> Result<Self> {
        let group = Self { members: Members::Several(Connection::open(place, timeout)?) };
        // A rank that leaves early would break the connections that others are still making.
        group.barrier()?;
        Ok(group)
    }

    /// Rank of this process, from 0.
    pub fn rank(&self) -> usize {
        self.connection().map_or(0, |connection| connection.place.rank)
    }

    /// World size: number of processes.
    pub fn world(&self) -> usize {
        self.connection().map_or(1, |connection| connection.place.world)
    }

    /// Divides the micro-batches of a step among the ranks and returns this rank's.
    ///
    /// With [`Order::Tree`], the micro-batches of a rank are a complete subtree (1, 2, 4, …), and
    /// the last rank may have fewer. A step with fewer micro-batches must keep the division: the
    /// range ends where the micro-batches do, and a rank without any adds a tensor of −0.0, which
    /// changes no bit of the sum.
    ///
    /// # Errors
    ///
    /// [`Error::Uneven`] if a rank would have no micro-batches.
    pub fn share(&self, micro_batches: usize, order: Order) -> Result<Range<usize>> {
        order.share(micro_batches, self.rank(), self.world())
    }

    /// Waits until all ranks have called this function.
    pub fn barrier(&self) -> Result<()> {
        if let Some(connection) = self.connection() {
            connection.announce(Operation::Barrier, Kind::Uint8, 0, 0)?;
        }
        Ok(())
    }

    /// Checks that all ranks have the same value.
    ///
    /// # Errors
    ///
    /// [`Error::Differs`] names the ranks with another value.
    pub fn agree(&self, what: &str, value: &[u8]) -> Result<()> {
        let Some(connection) = self.connection() else {
            return Ok(());
        };
        let values = connection.gather(Operation::Agree, &Tensor::f_from_slice(value)?)?;
        let values: Result<Vec<_>, _> = values.iter().map(Vec::<u8>::try_from).collect();
        match outliers(&values?) {
            ranks if ranks.is_empty() => Ok(()),
            ranks => Err(Error::Differs { what: what.to_owned(), ranks }),
        }
    }

    /// Replaces tensors by rank 0's.
    pub fn broadcast(&self, tensors: &mut [Tensor]) -> Result<()> {
        let Some(connection) = self.connection() else {
            return Ok(());
        };
        tensors.iter_mut().try_for_each(|tensor| connection.broadcast(tensor))
    }

    /// Replaces a tensor of float32 or float64 by its sum over the ranks.
    ///
    /// With [`Order::Tree`], if each rank brings the [`TreeSum`](crate::TreeSum) of its
    /// [share](Self::share), the sum has the bits of one `TreeSum` over all micro-batches.
    pub fn sum(&self, tensor: &mut Tensor, order: Order) -> Result<()> {
        match (self.connection(), order) {
            (None, _) => Ok(()),
            (Some(connection), Order::Tree) => connection.sum_in_tree(tensor),
            (Some(connection), Order::Ring) => connection.sum_in_ring(tensor),
        }
    }

    /// Returns the tensors of all ranks, in their order and on the CPU. The first dimension, the
    /// number of rows, may differ.
    pub fn gather(&self, rows: &Tensor) -> Result<Vec<Tensor>> {
        match self.connection() {
            None => Ok(vec![rows.f_detach()?.f_to_device(tch::Device::Cpu)?]),
            Some(connection) => connection.gather(Operation::Gather, rows),
        }
    }

    /// Returns 0, 1, 2, …: each number of a queue once, to the rank that asks first.
    pub fn ticket(&self, queue: &str) -> Result<u64> {
        match &self.members {
            Members::Alone { tickets } => {
                let mut tickets = tickets.borrow_mut();
                let next = tickets.entry(queue.to_owned()).or_default();
                *next += 1;
                Ok(*next - 1)
            }
            Members::Several(connection) => {
                let count = connection.count("ticket", format!("queue/{queue}"))?;
                Ok((count - 1).unsigned_abs())
            }
        }
    }

    fn connection(&self) -> Option<&Connection> {
        match &self.members {
            Members::Alone { .. } => None,
            Members::Several(connection) => Some(connection),
        }
    }
}

//! Process group.

use std::{cell::RefCell, collections::HashMap, fmt, ops::Range, rc::Rc, time::Duration};

use tch::{Device, Kind, Tensor};

use crate::{
    Order, Place, Transport,
    collectives::{Operation, Route},
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
/// Sums and broadcasts of tensors on a GPU use NCCL if it is there and each rank has a GPU of its own;
/// else the tensors travel through the memory of the CPU. [`transport`](Self::transport) tells.
///
/// Dropping the last clone of a group leaves it. Because rank 0 serves the store, ranks that take
/// tickets should call [`barrier`](Self::barrier) last.
///
/// [`ticket`]: Self::ticket
#[derive(Clone)]
pub struct Group {
    members: Rc<Members>,
}

enum Members {
    Alone { tickets: RefCell<HashMap<String, u64>> },
    Several(Connection),
}

/// A single process.
impl Default for Group {
    fn default() -> Self {
        Self::alone()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.world())
    }
}

impl Group {
    /// Creates the group of a single process.
    pub fn alone() -> Self {
        Self { members: Rc::new(Members::Alone { tickets: RefCell::default() }) }
    }

    /// Waits until all processes have joined. The timeout also applies to each later operation.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] names the ranks that did not join. [`Error::RankTaken`] is returned if
    /// another process has the same rank, [`Error::Refused`] if the port is in use or if libtorch has
    /// no Gloo.
    pub fn join(place: Place, timeout: Duration) -> Result<Self> {
        let connection = Connection::open(place, timeout)?;
        let group = Self { members: Rc::new(Members::Several(connection)) };
        // A rank that leaves early would break the connections that others are still making.
        group.barrier()?;
        Ok(group)
    }

    /// Rank of this process, from 0.
    pub fn rank(&self) -> usize {
        self.connection().map_or(0, |connection| connection.place.rank)
    }

    /// Returns whether this is rank 0, which alone writes files and messages.
    pub fn is_main(&self) -> bool {
        self.rank() == 0
    }

    /// Rank among the processes on the same machine, from 0.
    pub fn local_rank(&self) -> usize {
        self.connection().map_or(0, |connection| connection.place.local_rank)
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
            connection.announce(Operation::Barrier, Kind::Uint8, 0, 0, Route::Host)?;
        }
        Ok(())
    }

    /// Returns how tensors on a device travel, and connects the GPUs if they are not connected yet;
    /// else the first sum or broadcast of a tensor on this device does. Like every operation, all
    /// ranks call this function together, each with its own device.
    pub fn transport(&self, device: Device) -> Result<Transport> {
        match self.connection() {
            None => Ok(Transport::Alone),
            Some(connection) => connection.transport(device),
        }
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

    /// Returns this rank's result if the results of all ranks are good.
    ///
    /// # Errors
    ///
    /// This rank's error, or [`Error::Failed`] with the ranks that have one.
    pub fn all_succeed<T, E: From<Error>>(&self, result: Result<T, E>) -> Result<T, E> {
        if self.connection().is_none() {
            return result;
        }
        let flags =
            self.gather(&Tensor::f_from_slice(&[i64::from(result.is_err())]).map_err(Error::from)?);
        // A rank with an error reports it in any case.
        let value = result?;
        let failed = |(_, flag): &(usize, &Tensor)| i64::try_from(*flag).unwrap_or(1) != 0;
        let flags = flags?;
        let ranks: Vec<usize> =
            flags.iter().enumerate().filter(failed).map(|(rank, _)| rank).collect();
        if ranks.is_empty() { Ok(value) } else { Err(Error::Failed { ranks }.into()) }
    }

    /// Returns the largest value of all ranks.
    pub fn max(&self, value: i64) -> Result<i64> {
        if self.connection().is_none() {
            return Ok(value);
        }
        let all = self.gather(&Tensor::f_from_slice(&[value])?)?;
        let all: Result<Vec<i64>, _> = all.iter().map(i64::try_from).collect();
        Ok(all?.into_iter().max().unwrap_or(value))
    }

    /// Returns the bytes that rank 0 gives; the other ranks' are ignored.
    pub fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        if self.connection().is_none() {
            return Ok(bytes);
        }
        let mut length = [Tensor::from(bytes.len() as i64)];
        self.broadcast(&mut length)?;
        let [length] = length;
        let length = i64::try_from(&length)?;
        let mut data = [if self.is_main() {
            Tensor::f_from_slice(&bytes)?
        } else {
            Tensor::f_zeros([length], (Kind::Uint8, Device::Cpu))?
        }];
        self.broadcast(&mut data)?;
        Ok(Vec::try_from(&data[0])?)
    }

    /// Computes numbers of each item on one of the ranks, and returns the numbers of all items, in
    /// their order, on every rank. All ranks must give the same items.
    ///
    /// # Errors
    ///
    /// The first error of `compute`. A rank with an error must end, so that the others do not wait.
    pub fn map<T, E: From<Error>>(
        &self,
        items: impl IntoIterator<Item = T>,
        mut compute: impl FnMut(T) -> Result<Vec<f64>, E>,
    ) -> Result<Vec<Vec<f64>>, E> {
        let (rank, world) = (self.rank(), self.world());
        let (mut own, mut count) = (Vec::new(), 0);
        for (index, item) in items.into_iter().enumerate() {
            if index % world == rank {
                own.push(compute(item)?);
            }
            count = index + 1;
        }
        if world == 1 {
            return Ok(own);
        }
        let mut all = Vec::new();
        for numbers in self.exchange(&own)? {
            all.push(numbers.into_iter());
        }
        // Item `index` is the next one of its rank.
        Ok((0..count).map(|index| all[index % world].next().unwrap_or_default()).collect())
    }

    /// Returns the lists of numbers of all ranks.
    fn exchange(&self, own: &[Vec<f64>]) -> Result<Vec<Vec<Vec<f64>>>> {
        let lengths: Vec<i64> = own.iter().map(|numbers| numbers.len() as i64).collect();
        let lengths = self.gather(&Tensor::f_from_slice(&lengths)?)?;
        let numbers = self.gather(&Tensor::f_from_slice(&own.concat())?)?;
        let divided = |(lengths, numbers): (&Tensor, &Tensor)| {
            let (lengths, numbers) =
                (Vec::<i64>::try_from(lengths)?, Vec::<f64>::try_from(numbers)?);
            let mut rest = numbers.as_slice();
            let next = lengths.iter().map(|&length| {
                let (next, others) = rest.split_at((length as usize).min(rest.len()));
                rest = others;
                next.to_vec()
            });
            Ok(next.collect())
        };
        lengths.iter().zip(&numbers).map(divided).collect()
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
            None => Ok(vec![rows.f_detach()?.f_to_device(Device::Cpu)?]),
            Some(connection) => connection.gather(Operation::Gather, rows),
        }
    }

    /// Returns 0, 1, 2, …: each number of a queue once, to the rank that asks first.
    pub fn ticket(&self, queue: &str) -> Result<u64> {
        match &*self.members {
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
        match &*self.members {
            Members::Alone { .. } => None,
            Members::Several(connection) => Some(connection),
        }
    }
}

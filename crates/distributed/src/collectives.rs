//! Collective operations on tensors.
//!
//! Gloo ends the process if the ranks call it with different lengths. Each operation therefore
//! begins with a header of fixed length, and data travels only if the headers of all ranks agree.

use tch::{Device, Kind, Tensor};

use crate::{
    TreeSum,
    connection::Connection,
    engine::{Backend, Failure},
    error::{Error, Result},
    roster::outliers,
};

/// Operation that all ranks must call together.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Agree,
    Barrier,
    Broadcast,
    Gather,
    SumInRing,
    SumInTree,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Agree => "agreement",
            Self::Barrier => "barrier",
            Self::Broadcast => "broadcast",
            Self::Gather => "gather",
            Self::SumInRing | Self::SumInTree => "sum",
        }
    }
}

/// Number of fields of a header.
const FIELDS: usize = 4;

impl Connection {
    fn world(&self) -> i64 {
        self.place.world as i64
    }

    /// Exchanges headers and returns the number of rows of each rank; everything else must be
    /// equal. No rank returns before all have called this function.
    pub fn announce(
        &self,
        operation: Operation,
        kind: Kind,
        width: usize,
        rows: usize,
    ) -> Result<Vec<i64>> {
        let own = [operation as i64, kind as i64, width as i64, rows as i64];
        let own = Tensor::f_from_slice::<i64>(&own)?;
        let all = Tensor::f_zeros([self.world() * FIELDS as i64], (Kind::Int64, Device::Cpu))?;
        self.collective(operation.name(), |backend| backend.all_gather(&all, &own))?;
        let all = Vec::<i64>::try_from(&all)?;
        let field = |index: usize| -> Vec<i64> {
            all.iter().copied().skip(index).step_by(FIELDS).collect()
        };
        let equal = |index: usize, what: String| match outliers(&field(index)) {
            ranks if ranks.is_empty() => Ok(()),
            ranks => Err(Error::Differs { what, ranks }),
        };
        equal(0, "operation".to_owned())?;
        equal(1, format!("type of the tensor in {}", operation.name()))?;
        equal(2, format!("length of the tensor in {}", operation.name()))?;
        Ok(field(3))
    }

    pub fn sum_in_ring(&self, tensor: &mut Tensor) -> Result<()> {
        self.announce_sum(Operation::SumInRing, tensor)?;
        let host = on_host(tensor)?;
        self.transfer(Operation::SumInRing, &host, |backend| backend.all_reduce(&host))?;
        write_back(tensor, &host)
    }

    /// Every rank adds its share of all tensors and sends the sum to all: as many bytes as a ring.
    /// A length that is a multiple of the world size needs no copy.
    pub fn sum_in_tree(&self, tensor: &mut Tensor) -> Result<()> {
        let operation = Operation::SumInTree;
        self.announce_sum(operation, tensor)?;
        let (world, length) = (self.world(), tensor.numel() as i64);
        let share = (length as usize).div_ceil(self.place.world) as i64;
        let mut sent = on_host(tensor)?.f_flatten(0, -1)?;
        if length < world * share {
            sent = sent.f_constant_pad_nd([0, world * share - length])?;
        }
        let received = sent.f_empty_like()?;
        let (input, out) = (bytes(&sent)?, bytes(&received)?);
        self.transfer(operation, &out, |backend| backend.all_to_all(&out, &input))?;
        let mut sum = TreeSum::new();
        for row in received.f_view([world, share])?.f_unbind(0)? {
            sum.add(row)?;
        }
        let Some(sum) = sum.finish()? else {
            return Ok(());
        };
        let (input, out) = (bytes(&sum)?, bytes(&sent)?);
        self.transfer(operation, &out, |backend| backend.all_gather(&out, &input))?;
        write_back(tensor, &sent.f_narrow(0, 0, length)?.f_view_as(tensor)?)
    }

    fn announce_sum(&self, operation: Operation, tensor: &Tensor) -> Result<()> {
        let kind = tensor.kind();
        self.announce(operation, kind, tensor.numel(), 1)?;
        if matches!(kind, Kind::Float | Kind::Double) {
            return Ok(());
        }
        let reason = format!("expected a tensor of Float or Double, got {kind:?}");
        Err(Error::Refused { rank: self.place.rank, action: operation.name(), reason })
    }

    pub fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        let operation = Operation::Broadcast;
        self.announce(operation, tensor.kind(), tensor.numel(), 1)?;
        let host = on_host(tensor)?;
        let data = bytes(&host)?;
        self.transfer(operation, &data, |backend| backend.broadcast(&data))?;
        write_back(tensor, &host)
    }

    /// Returns the tensors of all ranks, which may differ in their first dimension.
    pub fn gather(&self, operation: Operation, rows: &Tensor) -> Result<Vec<Tensor>> {
        let (kind, size) = (rows.kind(), rows.size());
        let (count, row) = size.split_first().map_or((1, &[][..]), |(count, row)| (*count, row));
        let width: i64 = row.iter().product();
        let counts = self.announce(operation, kind, width as usize, count as usize)?;
        let most = counts.iter().copied().max().unwrap_or(0);
        let input = on_host(rows)?.f_flatten(0, -1)?;
        let input = input.f_constant_pad_nd([0, (most - count) * width])?;
        let all = Tensor::f_empty([self.world() * most * width], (kind, Device::Cpu))?;
        let (input, out) = (bytes(&input)?, bytes(&all)?);
        self.transfer(operation, &out, |backend| backend.all_gather(&out, &input))?;
        let rows_of = |(rank, count): (usize, &i64)| {
            let size: Vec<i64> = [*count].iter().chain(row).copied().collect();
            Ok(all.f_narrow(0, rank as i64 * most * width, count * width)?.f_view(&size[..])?)
        };
        counts.iter().enumerate().map(rows_of).collect()
    }

    /// Runs an operation of the backend, unless there is nothing to send.
    fn transfer(
        &self,
        operation: Operation,
        data: &Tensor,
        call: impl FnOnce(&Backend) -> Result<(), Failure>,
    ) -> Result<()> {
        if data.numel() == 0 {
            return Ok(());
        }
        self.collective(operation.name(), call)
    }
}

/// Returns the tensor as contiguous elements on the CPU, in the same memory if possible.
fn on_host(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?)
}

/// Copies the elements back, unless both tensors are in the same memory.
fn write_back(tensor: &mut Tensor, host: &Tensor) -> Result<()> {
    if tensor.data_ptr() != host.data_ptr() {
        tch::no_grad(|| tensor.f_copy_(host))?;
    }
    Ok(())
}

/// Returns the memory of a contiguous tensor. Bytes travel alike for every element type.
fn bytes(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_flatten(0, -1)?.f_view_dtype(Kind::Uint8)?)
}

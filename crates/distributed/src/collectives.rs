//! Collective operations on tensors.
//!
//! Gloo ends the process if the ranks call it with different lengths, and NCCL hangs. Each operation
//! therefore begins with a header of fixed length, by Gloo, and data travels only if the headers of all
//! ranks agree.

use tch::{Device, Kind, Tensor};

use crate::{
    TreeSum,
    connection::Connection,
    engine::{Backend, Failure},
    error::{Error, Result},
    gpu::Gpu,
    roster::outliers,
    transport::Transport,
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
    Transport,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Agree => "agreement",
            Self::Barrier => "barrier",
            Self::Broadcast => "broadcast",
            Self::Gather => "gather",
            Self::SumInRing | Self::SumInTree => "sum",
            Self::Transport => "choice of a transport",
        }
    }
}

/// Number of fields of a header.
const FIELDS: usize = 5;

/// Way of the data of an operation, as it travels in headers.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub(crate) enum Route {
    /// Gloo, from the memory of the CPU.
    Host,
    /// NCCL, between GPUs.
    Gpus,
    /// A GPU for which nothing was decided.
    Undecided,
}

/// Fields of the headers that may differ, by rank.
pub(crate) struct Headers {
    rows: Vec<i64>,
    routes: Vec<i64>,
}

impl Connection {
    fn world(&self) -> i64 {
        self.place.world as i64
    }

    /// Exchanges headers. Operation, type and width must be equal. No rank returns before all have
    /// called this function.
    pub fn announce(
        &self,
        operation: Operation,
        kind: Kind,
        width: usize,
        rows: usize,
        route: Route,
    ) -> Result<Headers> {
        let own = [operation as i64, kind as i64, width as i64, rows as i64, route as i64];
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
        Ok(Headers { rows: field(3), routes: field(4) })
    }

    /// Announces an operation on a tensor of the same length on all ranks.
    fn announce_tensor(&self, operation: Operation, tensor: &Tensor) -> Result<Route> {
        self.announce_device(operation, tensor.kind(), tensor.numel(), tensor.device())
    }

    fn announce_device(
        &self,
        operation: Operation,
        kind: Kind,
        width: usize,
        device: Device,
    ) -> Result<Route> {
        let routes = self.announce(operation, kind, width, 1, self.route(device))?.routes;
        if routes.contains(&(Route::Undecided as i64)) {
            self.decide(operation.name(), device)?;
            return Ok(self.route(device));
        }
        match outliers(&routes) {
            ranks if ranks.is_empty() => Ok(self.route(device)),
            ranks => {
                let what = format!("device of the tensor in {}", operation.name());
                Err(Error::Differs { what, ranks })
            }
        }
    }

    fn route(&self, device: Device) -> Route {
        match &*self.gpu.borrow() {
            _ if !device.is_cuda() => Route::Host,
            Some(gpu) if gpu.device != device => Route::Undecided,
            Some(Gpu { transport: Transport::Nccl, .. }) => Route::Gpus,
            Some(_) => Route::Host,
            None => Route::Undecided,
        }
    }

    /// Returns how tensors on a device travel. All ranks must call this function together.
    pub fn transport(&self, device: Device) -> Result<Transport> {
        self.announce_device(Operation::Transport, Kind::Uint8, 0, device)?;
        Ok(match &*self.gpu.borrow() {
            Some(gpu) if gpu.device == device => gpu.transport.clone(),
            _ => Transport::Gloo,
        })
    }

    pub fn sum_in_ring(&self, tensor: &mut Tensor) -> Result<()> {
        let operation = Operation::SumInRing;
        let route = self.announce_sum(operation, tensor)?;
        let data = contiguous(tensor, route)?;
        let sum = data.shallow_clone();
        self.transfer(operation, route, &data, move |backend| backend.all_reduce(&sum))?;
        write_back(tensor, &data)
    }

    /// Every rank adds its share of all tensors and sends the sum to all: as many bytes as a ring.
    /// A length that is a multiple of the world size needs no copy.
    pub fn sum_in_tree(&self, tensor: &mut Tensor) -> Result<()> {
        let operation = Operation::SumInTree;
        let route = self.announce_sum(operation, tensor)?;
        let (world, length) = (self.world(), tensor.numel() as i64);
        let share = (length as usize).div_ceil(self.place.world) as i64;
        let mut sent = contiguous(tensor, route)?.f_flatten(0, -1)?;
        if length < world * share {
            sent = sent.f_constant_pad_nd([0, world * share - length])?;
        }
        let received = sent.f_empty_like()?;
        let (input, out) = (bytes(&sent)?, bytes(&received)?);
        self.transfer(operation, route, &received, move |backend| {
            backend.all_to_all(&out, &input)
        })?;
        let mut sum = TreeSum::new();
        for row in received.f_view([world, share])?.f_unbind(0)? {
            sum.add(row)?;
        }
        let Some(sum) = sum.finish()? else {
            return Ok(());
        };
        let (input, out) = (bytes(&sum)?, bytes(&sent)?);
        self.transfer(operation, route, &sent, move |backend| backend.all_gather(&out, &input))?;
        write_back(tensor, &sent.f_narrow(0, 0, length)?.f_view_as(tensor)?)
    }

    fn announce_sum(&self, operation: Operation, tensor: &Tensor) -> Result<Route> {
        let kind = tensor.kind();
        let route = self.announce_tensor(operation, tensor)?;
        if matches!(kind, Kind::Float | Kind::Double) {
            return Ok(route);
        }
        let reason = format!("expected a tensor of Float or Double, got {kind:?}");
        Err(Error::Refused { rank: self.place.rank, action: operation.name(), reason })
    }

    pub fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        let operation = Operation::Broadcast;
        let route = self.announce_tensor(operation, tensor)?;
        let data = contiguous(tensor, route)?;
        let all = bytes(&data)?;
        self.transfer(operation, route, &data, move |backend| backend.broadcast(&all))?;
        write_back(tensor, &data)
    }

    /// Returns the tensors of all ranks, which may differ in their first dimension.
    pub fn gather(&self, operation: Operation, rows: &Tensor) -> Result<Vec<Tensor>> {
        let (kind, size) = (rows.kind(), rows.size());
        let (count, row) = size.split_first().map_or((1, &[][..]), |(count, row)| (*count, row));
        let width: i64 = row.iter().product();
        let (columns, lines) = (width as usize, count as usize);
        let counts = self.announce(operation, kind, columns, lines, Route::Host)?.rows;
        let most = counts.iter().copied().max().unwrap_or(0);
        let input = contiguous(rows, Route::Host)?.f_flatten(0, -1)?;
        let input = input.f_constant_pad_nd([0, (most - count) * width])?;
        let all = Tensor::f_empty([self.world() * most * width], (kind, Device::Cpu))?;
        let (input, out) = (bytes(&input)?, bytes(&all)?);
        self.transfer(operation, Route::Host, &all, move |backend| {
            backend.all_gather(&out, &input)
        })?;
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
        route: Route,
        data: &Tensor,
        call: impl FnOnce(&Backend) -> Result<(), Failure> + Send + 'static,
    ) -> Result<()> {
        if data.numel() == 0 {
            return Ok(());
        }
        match route {
            Route::Gpus => self.on_gpus(operation.name(), call),
            Route::Host | Route::Undecided => self.collective(operation.name(), call),
        }
    }
}

/// Returns the tensor as contiguous elements where its route begins, in the same memory if possible.
fn contiguous(tensor: &Tensor, route: Route) -> Result<Tensor> {
    let device = if route == Route::Gpus { tensor.device() } else { Device::Cpu };
    Ok(tensor.f_detach()?.f_to_device(device)?.f_contiguous()?)
}

/// Copies the elements back, unless both tensors are in the same memory.
fn write_back(tensor: &mut Tensor, data: &Tensor) -> Result<()> {
    if tensor.data_ptr() != data.data_ptr() {
        tch::no_grad(|| tensor.f_copy_(data))?;
    }
    Ok(())
}

/// Returns the memory of a contiguous tensor. Bytes travel alike for every element type.
fn bytes(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_flatten(0, -1)?.f_view_dtype(Kind::Uint8)?)
}

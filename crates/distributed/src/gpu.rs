//! NCCL in a thread of its own, so that a call that hangs in NCCL or CUDA does not stop the process.
//!
//! NCCL does not report a rank that was killed on the same machine, and has no timeouts. While an
//! operation is under way, the ranks therefore tell each other its state by Gloo, which notices both.

use std::{
    env, fs,
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use tch::{Device, Kind, Tensor};

use crate::{
    collectives::Operation,
    connection::{Connection, LINGER, within},
    engine::{Backend, Failure, FailureKind, HAS_NCCL, Store, pci_address},
    error::{Error, Result},
    transport::{Offer, Transport},
};

/// Time after which a rank reports an operation that is still under way.
const REPORT: Duration = Duration::from_millis(100);
/// Limit for closing the connections.
const CLOSE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&Backend) -> Result<(), Failure> + Send>;

/// Decision about the tensors on a GPU.
pub(crate) struct Gpu {
    pub device: Device,
    pub transport: Transport,
    /// With [`Transport::Nccl`] only.
    pub link: Option<Link>,
}

/// Connection to the GPUs of the other ranks.
pub(crate) struct Link {
    jobs: mpsc::Sender<Job>,
    results: mpsc::Receiver<Result<(), Failure>>,
    backend: Arc<OnceLock<Backend>>,
}

/// State of an operation on a rank, as it travels.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
enum State {
    Done,
    UnderWay,
    TimedOut,
    Failed,
}

impl Link {
    /// Starts the thread, whose first result is the result of connecting.
    pub fn open(
        store: Arc<Store>,
        prefix: String,
        place: (usize, usize),
        device: usize,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let backend = Arc::new(OnceLock::new());
        let shared = Arc::clone(&backend);
        let (jobs, todo) = mpsc::channel::<Job>();
        let (sender, results) = mpsc::channel();
        let work = move || {
            let opened = Backend::open_nccl(&store, &prefix, place, device, timeout);
            let opened = opened.map(|new| shared.get_or_init(|| new));
            // Nobody receives the results of a link that was given up.
            let _ = sender.send(opened.as_ref().map(drop).map_err(Failure::clone));
            let Ok(backend) = opened else { return };
            for job in todo {
                let _ = sender.send(job(backend));
            }
            // The last reference closes the connections, before the channel of the results.
            drop(shared);
        };
        match thread::Builder::new().name("nccl".to_owned()).spawn(work) {
            Ok(_) => Ok(Self { jobs, results, backend }),
            Err(error) => {
                Err(Failure { kind: FailureKind::Other, text: format!("no thread: {error}") })
            }
        }
    }

    /// Ends what NCCL is doing, unless it is still connecting.
    fn abort(&self) {
        let backend = Arc::clone(&self.backend);
        // The error that is reported is the one before.
        let _ = within(LINGER, move || backend.get().map(Backend::abort));
    }

    /// Closes the connections. A thread that hangs ends with the process.
    pub fn close(self) {
        let Self { jobs, results, backend } = self;
        // In this order, so that the thread has the last reference.
        drop(backend);
        drop(jobs);
        let end = Instant::now() + CLOSE;
        // The channel is closed when the thread ends.
        while results.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok() {}
    }
}

impl Connection {
    /// Decides, together with the other ranks, how tensors on a device travel, and connects.
    pub fn decide(&self, action: &'static str, device: Device) -> Result<Transport> {
        let refused = |failure| self.error(action, failure, Vec::new());
        let offer = match device {
            Device::Cuda(_) if !HAS_NCCL => Offer::NoNccl,
            Device::Cuda(index) => {
                let address = pci_address(index).map_err(refused)?;
                Offer::Gpu(format!("{} {address}", host_name()))
            }
            _ => Offer::Cpu,
        };
        let offers = self.gather(Operation::Transport, &Tensor::f_from_slice(&offer.bytes())?)?;
        let offers: Result<Vec<_>, _> = offers.iter().map(Vec::<u8>::try_from).collect();
        let offers: Vec<Offer> = offers?.iter().map(|bytes| Offer::parse(bytes)).collect();
        let transport = Transport::choose(&offers);
        if let Some(link) = self.gpu.take().and_then(|gpu| gpu.link) {
            link.close();
        }
        let link = match device {
            Device::Cuda(index) if transport == Transport::Nccl => {
                let (place, store) = (&self.place, Arc::clone(&self.store));
                let (prefix, ranks) =
                    (format!("nccl/{}", self.links.get()), (place.rank, place.world));
                self.links.set(self.links.get() + 1);
                Some(Link::open(store, prefix, ranks, index, self.timeout).map_err(refused)?)
            }
            _ => None,
        };
        if let Some(link) = &link {
            self.finish(action, link)?;
        }
        if device.is_cuda() {
            self.gpu.replace(Some(Gpu { device, transport: transport.clone(), link }));
        }
        Ok(transport)
    }

    /// Runs an operation between GPUs.
    pub fn on_gpus(
        &self,
        action: &'static str,
        job: impl FnOnce(&Backend) -> Result<(), Failure> + Send + 'static,
    ) -> Result<()> {
        let gpu = self.gpu.borrow();
        let Some(link) = gpu.as_ref().and_then(|gpu| gpu.link.as_ref()) else {
            let reason = "NCCL is not connected".to_owned();
            return Err(Error::Refused { rank: self.place.rank, action, reason });
        };
        // A thread that has ended sends no result, which is an error below.
        let _ = link.jobs.send(Box::new(job));
        self.finish(action, link)
    }

    /// Waits until the operation that the link carries out has ended on all ranks.
    pub fn finish(&self, action: &'static str, link: &Link) -> Result<()> {
        let result = self.wait(action, link);
        if result.is_err() {
            link.abort();
            self.give_up();
        }
        result
    }

    fn wait(&self, action: &'static str, link: &Link) -> Result<()> {
        let start = Instant::now();
        let (mut state, mut failure) = (State::UnderWay, None);
        loop {
            if state != State::Done {
                state = match link.results.recv_timeout(REPORT) {
                    Ok(Ok(())) => State::Done,
                    Ok(Err(problem)) => {
                        failure = Some(problem);
                        State::Failed
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => State::Failed,
                    Err(_) if start.elapsed() >= self.timeout => State::TimedOut,
                    Err(_) => State::UnderWay,
                };
            }
            let states = self.states(action, state)?;
            let ranks_in = |wanted: &[State]| -> Vec<usize> {
                let is_wanted = |rank: &usize| wanted.iter().any(|it| *it as i64 == states[*rank]);
                (0..states.len()).filter(is_wanted).collect()
            };
            let failed = ranks_in(&[State::Failed]);
            if !failed.is_empty() {
                return Err(self.failed(action, failure, failed));
            }
            let waiting = ranks_in(&[State::UnderWay, State::TimedOut]);
            if waiting.is_empty() {
                return Ok(());
            }
            if !ranks_in(&[State::TimedOut]).is_empty() {
                let (rank, limit) = (self.place.rank, self.timeout);
                return Err(Error::TimedOut { rank, action, ranks: waiting, limit });
            }
        }
    }

    /// Error of an operation that failed on some ranks, perhaps on this one.
    fn failed(&self, action: &'static str, failure: Option<Failure>, ranks: Vec<usize>) -> Error {
        // A rank that was lost is the cause of the other failures.
        let silent = self.silent_ranks();
        match failure {
            Some(failure) => self.error(action, failure, silent),
            None if silent.is_empty() => Error::Failed { ranks },
            None => {
                let (rank, reason) = (self.place.rank, "NCCL failed on other ranks".to_owned());
                Error::Lost { rank, action, ranks: silent, reason }
            }
        }
    }

    /// Exchanges the states of an operation.
    fn states(&self, action: &'static str, own: State) -> Result<Vec<i64>> {
        let own = Tensor::f_from_slice(&[own as i64])?;
        let all = Tensor::f_zeros([self.place.world as i64], (Kind::Int64, Device::Cpu))?;
        self.collective(action, |backend| backend.all_gather(&all, &own))?;
        Ok(Vec::try_from(&all)?)
    }
}

/// Returns what tells this machine from the others, as NCCL does: a container is a machine of its own,
/// and `NCCL_HOSTID` has precedence.
fn host_name() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    match env::var_os("NCCL_HOSTID") {
        Some(name) => name.to_string_lossy().into_owned(),
        None => read("/proc/sys/kernel/hostname") + &read("/proc/sys/kernel/random/boot_id"),
    }
}

//! Connection of a process to its group: joining, and what happens after a failure.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, ToSocketAddrs, UdpSocket},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use crate::{
    Place,
    engine::{Backend, Failure, FailureKind, Store},
    error::{Error, Result},
    gpu::Gpu,
    roster::{Roster, ranks_without_key},
};

/// Time in which a rank learns which others report the same failure. Rank 0 serves the store at
/// least this long after a failure.
pub(crate) const LINGER: Duration = Duration::from_millis(750);
/// Time that the last missing rank gets to report as well.
const SETTLE: Duration = Duration::from_millis(200);

const JOIN: &str = "join";

pub(crate) struct Connection {
    pub place: Place,
    pub timeout: Duration,
    pub store: Arc<Store>,
    /// Gloo; `None` after a failure.
    backend: RefCell<Option<Backend>>,
    /// Decision about tensors on a GPU; `None` before the first one.
    pub gpu: RefCell<Option<Gpu>>,
    /// Number of times that NCCL was connected.
    pub links: Cell<usize>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(link) = self.gpu.take().and_then(|gpu| gpu.link) {
            link.close();
        }
    }
}

impl Connection {
    pub fn open(place: Place, timeout: Duration) -> Result<Self> {
        let (rank, ranks) = (place.rank, store_ranks(&place));
        // Connecting to the store, waiting for the other ranks and connecting to them end after
        // their timeouts, unless the store hangs.
        let limit = timeout.saturating_add(LINGER).saturating_mul(3);
        within(limit, move || join(place, timeout)).unwrap_or(Err(Error::TimedOut {
            rank,
            action: JOIN,
            ranks,
            limit,
        }))
    }

    /// Runs a collective operation. A failure closes the connections, so that ranks that wait for
    /// this one fail too, and do not wait for their timeout.
    pub fn collective(
        &self,
        action: &'static str,
        call: impl FnOnce(&Backend) -> Result<(), Failure>,
    ) -> Result<()> {
        let result = self.backend.borrow().as_ref().map(call);
        match result {
            Some(Ok(())) => Ok(()),
            Some(Err(failure)) => {
                self.give_up();
                Err(self.error(action, failure, self.silent_ranks()))
            }
            None => {
                let reason = "an operation failed before, and the group cannot be used anymore";
                Err(Error::Refused { rank: self.place.rank, action, reason: reason.to_owned() })
            }
        }
    }

    /// Closes the connections of Gloo, so that the other ranks fail too.
    pub fn give_up(&self) {
        self.backend.replace(None);
    }

    /// Adds to a counter in the store and returns the sum.
    pub fn count(&self, action: &'static str, key: String) -> Result<i64> {
        let store = Arc::clone(&self.store);
        let sum = within(self.timeout, move || store.add(&key, 1))
            .unwrap_or_else(|| Err(Failure { kind: FailureKind::TimedOut, text: String::new() }));
        sum.map_err(|failure| self.error(action, failure, store_ranks(&self.place)))
    }

    pub fn error(&self, action: &'static str, failure: Failure, ranks: Vec<usize>) -> Error {
        error(self.place.rank, action, failure, ranks, self.timeout)
    }

    /// Reports this rank's failure in the store and returns the ranks that do not.
    pub fn silent_ranks(&self) -> Vec<usize> {
        let (place, store) = (self.place.clone(), Arc::clone(&self.store));
        let silent = within(2 * LINGER, move || reports(&place, &store));
        silent.and_then(Result::ok).unwrap_or_else(|| store_ranks(&self.place))
    }
}

/// Returns the rank without which the store does not answer.
fn store_ranks(place: &Place) -> Vec<usize> {
    if place.agent_serves_store { Vec::new() } else { vec![0] }
}

fn join(place: Place, timeout: Duration) -> Result<Connection> {
    let rank = place.rank;
    let failed = |ranks: &[usize]| {
        let ranks = ranks.to_vec();
        move |failure| error(rank, JOIN, failure, ranks, timeout)
    };
    let prefix = format!("distributed/{}", place.generation);
    // Rank 0 reports after the timeout which ranks are absent, and the others wait for its report.
    let store = match Store::open(&place, &prefix, timeout.saturating_add(LINGER)) {
        Ok(store) => store,
        Err(failure) if place.serves_store() => {
            return Err(Error::Refused { rank, action: JOIN, reason: failure.text });
        }
        Err(failure) => return Err(failed(&[0])(failure)),
    };
    if store.add(&format!("seat/{rank}"), 1).map_err(failed(&[0]))? > 1 {
        let address = format!("{}:{}", place.host, place.port);
        return Err(Error::RankTaken { rank, address });
    }
    let address = own_address(&place)?;
    // A given interface has another address than the way to rank 0.
    let is_loopback = place.interface.is_none() && address.is_loopback();
    let roster = Roster::call(&store, &place, is_loopback, timeout).map_err(failed(&[0]))?;
    if let Err(problem) = roster.into_result(rank, JOIN, timeout) {
        if place.serves_store() {
            // The other ranks are still reading the result.
            thread::sleep(LINGER);
        }
        return Err(problem);
    }
    let backend = Backend::open_gloo(&store, &place, address, timeout).map_err(failed(&[]))?;
    Ok(Connection {
        place,
        timeout,
        store: Arc::new(store),
        backend: RefCell::new(Some(backend)),
        gpu: RefCell::default(),
        links: Cell::default(),
    })
}

/// Returns the address of this machine on the way to rank 0. By default, Gloo uses the address to
/// which the machine's name resolves, which is often a loopback address.
fn own_address(place: &Place) -> Result<IpAddr> {
    // Connecting a UDP socket sends nothing; it only selects the route.
    let address = || {
        let mut addresses = (place.host.as_str(), place.port).to_socket_addrs()?;
        let master = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
        let any = if master.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(master)?;
        Ok(socket.local_addr()?.ip())
    };
    address().map_err(|error: std::io::Error| {
        let reason = format!("there is no route to {}: {error}", place.host);
        Error::Refused { rank: place.rank, action: JOIN, reason }
    })
}

/// Reports a failure and waits for the reports of the other ranks, which fail too as soon as they
/// need this one. Returns the ranks without a report: the cause is one of them.
fn reports(place: &Place, store: &Store) -> Result<Vec<usize>, Failure> {
    let key = |rank: usize| format!("failed/{rank}");
    store.set(&key(place.rank), b"")?;
    ranks_without_key(store, place.world, key, |missing, elapsed| {
        let is_settled = missing <= 1 && elapsed >= SETTLE && !place.serves_store();
        is_settled || elapsed >= LINGER
    })
}

fn error(
    rank: usize,
    action: &'static str,
    failure: Failure,
    ranks: Vec<usize>,
    limit: Duration,
) -> Error {
    let reason = failure.text;
    match failure.kind {
        FailureKind::TimedOut => Error::TimedOut { rank, action, ranks, limit },
        FailureKind::Lost => Error::Lost { rank, action, ranks, reason },
        FailureKind::Other => Error::Refused { rank, action, reason },
    }
}

/// Calls a function in another thread, because c10d waits without a limit for a store that is
/// stopped. Returns `None` if it does not return in time; the thread then ends with the process.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // Sending fails if the caller does not wait anymore.
    thread::Builder::new().spawn(move || sender.send(call())).ok()?;
    receiver.recv_timeout(limit).ok()
}

//! Safe functions over the C++ shim, `shim/c10d.cpp`. All `unsafe` code of the crate is here.

use std::{
    ffi::{CStr, c_char, c_int},
    net::IpAddr,
    ptr::{self, NonNull},
    time::Duration,
};

use tch::Tensor;
use torch_sys::C_tensor;

use super::{Failure, FailureKind};
use crate::Place;

/// `StorePointer` of the shim.
#[repr(C)]
struct RawStore {
    _opaque: [u8; 0],
}

/// `BackendPointer` of the shim.
#[repr(C)]
struct RawBackend {
    _opaque: [u8; 0],
}

#[repr(C)]
struct Bytes {
    data: *const u8,
    length: usize,
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), length: bytes.len() }
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

#[repr(C)]
struct RawFailure {
    kind: i32,
    text: [c_char; 1024],
}

unsafe extern "C" {
    fn distributed_store_open(
        host: Bytes,
        port: u16,
        serve: bool,
        world: c_int,
        prefix: Bytes,
        timeout_ms: i64,
        out: *mut *mut RawStore,
        failure: *mut RawFailure,
    );
    fn distributed_store_close(store: *mut RawStore, failure: *mut RawFailure);
    fn distributed_store_set(
        store: *mut RawStore,
        key: Bytes,
        value: Bytes,
        failure: *mut RawFailure,
    );
    fn distributed_store_get(
        store: *mut RawStore,
        key: Bytes,
        buffer: *mut u8,
        capacity: usize,
        length: *mut usize,
        failure: *mut RawFailure,
    );
    fn distributed_store_has(
        store: *mut RawStore,
        key: Bytes,
        found: *mut bool,
        failure: *mut RawFailure,
    );
    fn distributed_store_add(
        store: *mut RawStore,
        key: Bytes,
        amount: i64,
        sum: *mut i64,
        failure: *mut RawFailure,
    );
    fn distributed_gloo_open(
        store: *mut RawStore,
        rank: c_int,
        world: c_int,
        interface: Bytes,
        address: Bytes,
        timeout_ms: i64,
        out: *mut *mut RawBackend,
        failure: *mut RawFailure,
    );
    fn distributed_nccl_open(
        store: *mut RawStore,
        prefix: Bytes,
        rank: c_int,
        world: c_int,
        device: c_int,
        timeout_ms: i64,
        out: *mut *mut RawBackend,
        failure: *mut RawFailure,
    );
    fn distributed_nccl_abort(backend: *mut RawBackend, failure: *mut RawFailure);
    fn distributed_pci_address(
        device: c_int,
        buffer: *mut u8,
        capacity: usize,
        length: *mut usize,
        failure: *mut RawFailure,
    );
    fn distributed_backend_close(backend: *mut RawBackend, failure: *mut RawFailure);
    fn distributed_all_reduce(
        backend: *mut RawBackend,
        tensor: *const C_tensor,
        failure: *mut RawFailure,
    );
    fn distributed_broadcast(
        backend: *mut RawBackend,
        tensor: *const C_tensor,
        failure: *mut RawFailure,
    );
    fn distributed_all_gather(
        backend: *mut RawBackend,
        out: *const C_tensor,
        input: *const C_tensor,
        failure: *mut RawFailure,
    );
    fn distributed_all_to_all(
        backend: *mut RawBackend,
        out: *const C_tensor,
        input: *const C_tensor,
        failure: *mut RawFailure,
    );
}

/// Calls a function of the shim and turns what it reports into a result.
fn call(function: impl FnOnce(*mut RawFailure)) -> Result<(), Failure> {
    let mut failure = RawFailure { kind: 0, text: [0; 1024] };
    function(&mut failure);
    let kind = match failure.kind {
        0 => return Ok(()),
        1 => FailureKind::TimedOut,
        2 => FailureKind::Lost,
        _ => FailureKind::Other,
    };
    // SAFETY: the text lives in `failure`, and the shim leaves its last byte zero.
    let text = unsafe { CStr::from_ptr(failure.text.as_ptr()) }.to_string_lossy();
    Err(Failure { kind, text: first_line(&text) })
}

/// Returns the first line without the place in Gloo's source with which its messages begin, and
/// without the advice with which they end.
fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message");
    let message = match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((place, message)) if place.contains(".cc:") => message,
        _ => line,
    };
    message.split(". This is typically").next().unwrap_or(message).to_owned()
}

/// Returns a timeout for c10d, which adds it to the current time in nanoseconds and would overflow.
fn milliseconds(timeout: Duration) -> i64 {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    i64::try_from(timeout.as_millis()).unwrap_or(YEAR).min(YEAR)
}

/// Connection to the store of a group; rank 0 also serves it, unless torchrun does.
pub struct Store(NonNull<RawStore>);

// SAFETY: c10d's TCPStore holds a lock during each call, and nothing in it belongs to a thread.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    pub fn open(place: &Place, prefix: &str, timeout: Duration) -> Result<Self, Failure> {
        let mut raw = ptr::null_mut();
        // SAFETY: the strings outlive the call, which writes `raw` if it succeeds.
        call(|failure| unsafe {
            distributed_store_open(
                place.host.as_str().into(),
                place.port,
                place.serves_store(),
                place.world as c_int,
                prefix.into(),
                milliseconds(timeout),
                &mut raw,
                failure,
            );
        })?;
        NonNull::new(raw).map(Self).ok_or_else(no_object)
    }

    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Failure> {
        // SAFETY: the store is open; key and value outlive the call.
        call(|failure| unsafe {
            distributed_store_set(self.0.as_ptr(), key.into(), value.into(), failure);
        })
    }

    /// Waits for a key and returns its value.
    pub fn get(&self, key: &str) -> Result<Vec<u8>, Failure> {
        let (mut value, mut length) = (vec![0; 1 << 16], 0);
        // SAFETY: the store is open, key and buffer outlive the call, and no more than the
        // capacity is written.
        call(|failure| unsafe {
            distributed_store_get(
                self.0.as_ptr(),
                key.into(),
                value.as_mut_ptr(),
                value.len(),
                &mut length,
                failure,
            );
        })?;
        value.truncate(length);
        Ok(value)
    }

    pub fn has(&self, key: &str) -> Result<bool, Failure> {
        let mut found = false;
        // SAFETY: the store is open, and the key outlives the call.
        call(|failure| unsafe {
            distributed_store_has(self.0.as_ptr(), key.into(), &mut found, failure);
        })?;
        Ok(found)
    }

    /// Adds to a counter, which begins at 0, and returns the sum.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64, Failure> {
        let mut sum = 0;
        // SAFETY: the store is open, and the key outlives the call.
        call(|failure| unsafe {
            distributed_store_add(self.0.as_ptr(), key.into(), amount, &mut sum, failure);
        })?;
        Ok(sum)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: nothing uses the store afterwards. A failure changes nothing for the caller.
        let _ = call(|failure| unsafe { distributed_store_close(self.0.as_ptr(), failure) });
    }
}

/// Connections to the other ranks, for collective operations.
pub struct Backend(NonNull<RawBackend>);

// SAFETY: nothing in c10d's backend belongs to the thread that made it.
unsafe impl Send for Backend {}
// SAFETY: one thread calls operations; the other function on a shared backend is `abort`, which
// c10d itself calls in other threads and guards with a lock.
unsafe impl Sync for Backend {}

impl Backend {
    /// Connects by Gloo.
    pub fn open_gloo(
        store: &Store,
        place: &Place,
        address: IpAddr,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let mut raw = ptr::null_mut();
        let address = address.to_string();
        // SAFETY: the store is open, the strings outlive the call, which writes `raw` if it
        // succeeds. The backend holds its own reference to the store.
        call(|failure| unsafe {
            distributed_gloo_open(
                store.0.as_ptr(),
                place.rank as c_int,
                place.world as c_int,
                place.interface.as_deref().unwrap_or_default().into(),
                address.as_str().into(),
                milliseconds(timeout),
                &mut raw,
                failure,
            );
        })?;
        NonNull::new(raw).map(Self).ok_or_else(no_object)
    }

    /// Connects the GPUs by NCCL. All ranks give the same prefix, once.
    pub fn open_nccl(
        store: &Store,
        prefix: &str,
        (rank, world): (usize, usize),
        device: usize,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let mut raw = ptr::null_mut();
        // SAFETY: as in `open_gloo`.
        call(|failure| unsafe {
            distributed_nccl_open(
                store.0.as_ptr(),
                prefix.into(),
                rank as c_int,
                world as c_int,
                device as c_int,
                milliseconds(timeout),
                &mut raw,
                failure,
            );
        })?;
        NonNull::new(raw).map(Self).ok_or_else(no_object)
    }

    /// Ends the operations that another thread waits for, with an error. Only for NCCL.
    pub fn abort(&self) -> Result<(), Failure> {
        // SAFETY: the backend is open.
        call(|failure| unsafe { distributed_nccl_abort(self.0.as_ptr(), failure) })
    }

    /// Replaces a tensor by its sum over the ranks.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<(), Failure> {
        // SAFETY: the backend is open, and `tensor` is a tensor, to which c10d takes a reference.
        call(|failure| unsafe {
            distributed_all_reduce(self.0.as_ptr(), tensor.as_ptr(), failure);
        })
    }

    /// Replaces a tensor by rank 0's.
    pub fn broadcast(&self, tensor: &Tensor) -> Result<(), Failure> {
        // SAFETY: as in `all_reduce`.
        call(|failure| unsafe {
            distributed_broadcast(self.0.as_ptr(), tensor.as_ptr(), failure);
        })
    }

    /// Writes the tensors of all ranks into `out`, one after the other.
    pub fn all_gather(&self, out: &Tensor, input: &Tensor) -> Result<(), Failure> {
        // SAFETY: as in `all_reduce`; c10d compares the lengths.
        call(|failure| unsafe {
            distributed_all_gather(self.0.as_ptr(), out.as_ptr(), input.as_ptr(), failure);
        })
    }

    /// Sends share *r* of `input` to rank *r* and writes what rank *r* sends to share *r* of `out`.
    pub fn all_to_all(&self, out: &Tensor, input: &Tensor) -> Result<(), Failure> {
        // SAFETY: as in `all_gather`.
        call(|failure| unsafe {
            distributed_all_to_all(self.0.as_ptr(), out.as_ptr(), input.as_ptr(), failure);
        })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: nothing uses the backend afterwards. A failure changes nothing for the caller.
        let _ = call(|failure| unsafe { distributed_backend_close(self.0.as_ptr(), failure) });
    }
}

/// True if the program was built with NCCL.
pub const HAS_NCCL: bool = cfg!(nccl);

/// Returns the PCI address of a GPU.
pub fn pci_address(device: usize) -> Result<String, Failure> {
    let (mut address, mut length) = ([0; 32], 0);
    // SAFETY: the buffer outlives the call, which writes no more than its length.
    call(|failure| unsafe {
        distributed_pci_address(
            device as c_int,
            address.as_mut_ptr(),
            address.len(),
            &mut length,
            failure,
        );
    })?;
    let address = address.get(..length).unwrap_or_default();
    Ok(String::from_utf8_lossy(address).into_owned())
}

fn no_object() -> Failure {
    Failure { kind: FailureKind::Other, text: "c10d returned no object".to_owned() }
}

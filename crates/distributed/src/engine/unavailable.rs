//! Stand-in for c10d where libtorch was built without Gloo: no value of its types exists, so only a
//! group of one process does.

use std::{net::IpAddr, time::Duration};

use tch::Tensor;

use super::{Failure, FailureKind};
use crate::Place;

pub enum Store {}

impl Store {
    pub fn open(_: &Place, _: &str, _: Duration) -> Result<Self, Failure> {
        let text = "this libtorch was built without Gloo, so only one process is possible";
        Err(Failure { kind: FailureKind::Other, text: text.to_owned() })
    }

    pub fn set(&self, _: &str, _: &[u8]) -> Result<(), Failure> {
        match *self {}
    }

    pub fn get(&self, _: &str) -> Result<Vec<u8>, Failure> {
        match *self {}
    }

    pub fn has(&self, _: &str) -> Result<bool, Failure> {
        match *self {}
    }

    pub fn add(&self, _: &str, _: i64) -> Result<i64, Failure> {
        match *self {}
    }
}

pub enum Backend {}

impl Backend {
    pub fn open_gloo(store: &Store, _: &Place, _: IpAddr, _: Duration) -> Result<Self, Failure> {
        match *store {}
    }

    pub fn open_nccl(
        store: &Store,
        _: &str,
        _: (usize, usize),
        _: usize,
        _: Duration,
    ) -> Result<Self, Failure> {
        match *store {}
    }

    pub fn abort(&self) -> Result<(), Failure> {
        match *self {}
    }

    pub fn all_reduce(&self, _: &Tensor) -> Result<(), Failure> {
        match *self {}
    }

    pub fn broadcast(&self, _: &Tensor) -> Result<(), Failure> {
        match *self {}
    }

    pub fn all_gather(&self, _: &Tensor, _: &Tensor) -> Result<(), Failure> {
        match *self {}
    }

    pub fn all_to_all(&self, _: &Tensor, _: &Tensor) -> Result<(), Failure> {
        match *self {}
    }
}

pub const HAS_NCCL: bool = false;

pub fn pci_address(_: usize) -> Result<String, Failure> {
    let text = "this libtorch was built without Gloo";
    Err(Failure { kind: FailureKind::Other, text: text.to_owned() })
}

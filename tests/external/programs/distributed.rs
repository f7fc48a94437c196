//! Sums a tensor over the processes that a launcher started.

use std::{error::Error, time::Duration};

use distributed::{Group, Order, Place};
use tch::Tensor;

fn main() -> Result<(), Box<dyn Error>> {
    let group = match Place::of_environment()? {
        Some(place) => Group::join(place, Duration::from_secs(60))?,
        None => Group::alone(),
    };
    let mut sum = Tensor::from_slice(&[3.0_f32]);
    group.sum(&mut sum, Order::Tree)?;
    println!("rank {} of {}, sum {}", group.rank(), group.world(), f32::try_from(&sum)?);
    Ok(())
}

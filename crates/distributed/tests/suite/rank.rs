//! Roles of the ranks in the tests of groups.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use distributed::{Error, Group, Order, Place, Result, Transport, TreeSum};
use tch::{Device, Kind, Tensor};

use crate::ranks::MARK;

#[test]
#[ignore = "started by the tests of groups, as one of several ranks"]
fn rank() {
    let place = Place::of_environment().unwrap().unwrap();
    let timeout = env::var("TIMEOUT_MS").unwrap().parse().map(Duration::from_millis).unwrap();
    let role = env::var("ROLE").unwrap();
    let words: Vec<&str> = role.split(' ').collect();
    let play = |group: Group| match words[..] {
        ["join"] => Ok("joined".to_owned()),
        ["sum", order, micro_batches, present] => {
            let order = if order == "tree" { Order::Tree } else { Order::Ring };
            let count = micro_batches.parse().unwrap();
            sum_of_micro_batches(&group, order, count, present.parse().unwrap())
        }
        ["broadcast"] => broadcast(&group),
        ["gather"] => gather(&group),
        ["max"] => max(&group),
        ["broadcast_bytes"] => broadcast_bytes(&group),
        ["map", items] => map(&group, items.parse().unwrap()),
        ["barrier"] => barrier(&group),
        ["tickets"] => tickets(&group),
        ["agree"] => agree(&group),
        ["differ"] => differ(&group),
        ["transport"] => transport(&group),
        ["mixed"] => mixed(&group),
        ["time", order, elements] => {
            let order = if order == "tree" { Order::Tree } else { Order::Ring };
            time(&group, order, elements.parse().unwrap())
        }
        ["endless", pause_ms] => {
            let pause_ms = if group.rank() == 1 { pause_ms.parse().unwrap() } else { 0 };
            endless(&group, Duration::from_millis(pause_ms))
        }
        ["endless_tickets"] => endless_tickets(&group),
        _ => panic!("{role}: unknown"),
    };
    match Group::join(place, timeout).and_then(play) {
        Ok(line) => tell(&line),
        Err(error) => tell(&error.to_string()),
    }
}

/// Device of the tensors.
fn device() -> Device {
    env::var("DEVICE").map_or(Device::Cpu, |number| Device::Cuda(number.parse().unwrap()))
}

fn tell(line: &str) {
    // The test harness leaves a line unfinished.
    println!("\n{MARK}{line}");
}

/// Gradient of a micro-batch: numbers of very different size and both signs, so that each order of
/// addition gives other bits, with zeros of both signs.
pub fn gradient(micro_batch: usize) -> Tensor {
    const LENGTH: u64 = 10_007;
    let value = |index: u64| {
        let mut bits =
            (index + LENGTH * micro_batch as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let fraction = (bits >> 40) as f32 / (1 << 24) as f32 - 0.5;
        match index % 100 {
            0 => -0.0,
            1 => 0.0,
            _ => fraction * 10_f32.powi((bits % 9) as i32 - 4),
        }
    };
    Tensor::from_slice(&(0..LENGTH).map(value).collect::<Vec<f32>>()).to_device(device())
}

pub fn sum_in_one_process(micro_batches: usize) -> Tensor {
    let mut sum = TreeSum::new();
    (0..micro_batches).for_each(|index| sum.add(gradient(index)).unwrap());
    sum.finish().unwrap().unwrap()
}

/// Digest of the bits of a tensor of float32.
pub fn digest(tensor: &Tensor) -> String {
    let values = Vec::<f32>::try_from(tensor.to_device(Device::Cpu)).unwrap();
    let fold =
        |hash: u64, value: &f32| (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", values.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Sums `present` micro-batches of a step that usually has `micro_batches`.
fn sum_of_micro_batches(
    group: &Group,
    order: Order,
    micro_batches: usize,
    present: usize,
) -> Result<String> {
    let mut sum = TreeSum::new();
    for index in group.share(micro_batches, order)?.filter(|index| *index < present) {
        sum.add(gradient(index))?;
    }
    let nothing = gradient(0).full_like(-0.0);
    let mut sum = sum.finish()?.unwrap_or(nothing);
    group.sum(&mut sum, order)?;
    if order == Order::Ring {
        assert!(sum.allclose(&sum_in_one_process(present), 1e-4, 1e-3, false));
    }
    Ok(digest(&sum))
}

fn tensors() -> Vec<Tensor> {
    let float = Tensor::arange(12, (Kind::Float, Device::Cpu)).view([3, 4]);
    let tensors = [
        float.tr(), // not contiguous
        float.to_kind(Kind::Half),
        float.to_kind(Kind::BFloat16).get(1),
        Tensor::from_slice(&[i64::MIN, 7, i64::MAX]),
        Tensor::from_slice(&[true, false, true]),
        Tensor::from(2.5),
        Tensor::zeros([0, 4], (Kind::Float, Device::Cpu)),
    ];
    tensors.map(|tensor| tensor.to_device(device())).into()
}

fn max(group: &Group) -> Result<String> {
    let rank = group.rank() as i64;
    assert_eq!(group.max(rank - 5)?, group.world() as i64 - 6);
    assert_eq!(group.max(-rank)?, 0);
    Ok("done".to_owned())
}

fn broadcast_bytes(group: &Group) -> Result<String> {
    let bytes = if group.is_main() { b"from rank 0".to_vec() } else { b"ignored".to_vec() };
    assert_eq!(group.broadcast_bytes(bytes)?, b"from rank 0");
    assert_eq!(group.broadcast_bytes(Vec::new())?, b"");
    Ok("done".to_owned())
}

/// Item `index` has `index % 3` numbers, each of which names the rank that computed it.
fn map(group: &Group, items: usize) -> Result<String> {
    let numbers = |index: usize| vec![index as f64 + 0.1; index % 3];
    let mut computed = 0;
    let all = group.map(0..items, |index| {
        computed += 1;
        assert_eq!(index % group.world(), group.rank());
        Ok::<_, Error>(numbers(index))
    })?;
    assert_eq!(all, (0..items).map(numbers).collect::<Vec<_>>());
    assert!(computed <= items.div_ceil(group.world()), "{computed} of {items} items");
    Ok("done".to_owned())
}

fn broadcast(group: &Group) -> Result<String> {
    let expected = tensors();
    let is_source = group.rank() == 0;
    let own =
        |tensor: &Tensor| if is_source { tensor.shallow_clone() } else { tensor.zeros_like() };
    let mut tensors: Vec<Tensor> = expected.iter().map(own).collect();
    let trained = if is_source { 0.5 } else { 0.0 };
    tensors.push(Tensor::from(trained).to_device(device()).set_requires_grad(true));
    group.broadcast(&mut tensors)?;
    for (tensor, expected) in tensors.iter().zip(&expected) {
        assert_eq!(tensor.kind(), expected.kind());
        assert_eq!(tensor, expected);
    }
    assert_eq!(f64::try_from(&tensors[expected.len()]).unwrap(), 0.5);
    Ok("done".to_owned())
}

/// Rank *r* brings *r* rows.
fn gather(group: &Group) -> Result<String> {
    let rows =
        |rank: usize| Tensor::full([rank as i64, 2], rank as i64, (Kind::Int64, Device::Cpu));
    let gathered = group.gather(&rows(group.rank()).to_device(device()))?;
    assert_eq!(gathered, (0..group.world()).map(rows).collect::<Vec<_>>());
    let scalars = group.gather(&Tensor::from(group.rank() as f64))?;
    let scalars: Vec<f64> = scalars.iter().map(|it| f64::try_from(it).unwrap()).collect();
    assert_eq!(scalars, (0..group.world()).map(|rank| rank as f64).collect::<Vec<_>>());
    let empty = group.gather(&rows(0))?;
    assert!(empty.len() == group.world() && empty.iter().all(|it| it.size() == [0, 2]));
    Ok("done".to_owned())
}

fn barrier(group: &Group) -> Result<String> {
    for round in 0..20 {
        let queue = format!("round {round}");
        group.ticket(&queue)?;
        group.barrier()?;
        assert!(group.ticket(&queue)? >= group.world() as u64);
        group.barrier()?;
    }
    Ok("done".to_owned())
}

fn tickets(group: &Group) -> Result<String> {
    let tickets: Result<Vec<_>> = (0..5).map(|_| group.ticket("shards")).collect();
    let tickets: Vec<String> = tickets?.iter().map(ToString::to_string).collect();
    group.barrier()?;
    Ok(tickets.join(" "))
}

fn agree(group: &Group) -> Result<String> {
    group.agree("number of threads", b"2")?;
    group.agree("nothing", b"")?;
    group.agree("seed", if group.rank() == 1 { b"eight" } else { b"7" })?;
    Ok("they agree".to_owned())
}

/// Checks that a difference is an error on all ranks, and that the group works afterwards.
fn differ(group: &Group) -> Result<String> {
    let is_other = group.rank() == 1;
    let zeros = |length: i64, kind| Tensor::zeros([length], (kind, device()));
    let mut errors = Vec::new();
    let mut check = |result: Result<()>| errors.push(result.unwrap_err().to_string());
    let length = if is_other { 11 } else { 10 };
    check(group.sum(&mut zeros(length, Kind::Float), Order::Tree));
    check(
        group.sum(&mut zeros(10, if is_other { Kind::Double } else { Kind::Float }), Order::Ring),
    );
    let order = if is_other { Order::Ring } else { Order::Tree };
    check(group.sum(&mut zeros(10, Kind::Float), order));
    check(group.gather(&zeros(length, Kind::Float).view([1, -1])).map(drop));
    check(if is_other { group.barrier() } else { group.broadcast(&mut [zeros(1, Kind::Float)]) });
    // The world size divides 12, and the sum is then computed without a copy.
    for length in [10, 12] {
        let mut ones = zeros(length, Kind::Float) + 1;
        group.sum(&mut ones, Order::Tree)?;
        assert_eq!(ones, zeros(length, Kind::Float) + group.world() as i64);
    }
    assert!(matches!(
        group.sum(&mut zeros(1, Kind::Int64), Order::Tree),
        Err(Error::Refused { .. })
    ));
    Ok(errors.join(" | "))
}

/// Returns the transport, and checks that it works.
fn transport(group: &Group) -> Result<String> {
    let transport = group.transport(device())?;
    assert_eq!(group.transport(device())?, transport);
    for order in [Order::Tree, Order::Ring] {
        let mut ones = Tensor::ones([12], (Kind::Float, device()));
        group.sum(&mut ones, order)?;
        assert_eq!(ones, Tensor::ones([12], (Kind::Float, device())) * group.world() as i64);
    }
    Ok(transport.to_string())
}

/// Checks that a tensor on another device is an error on all ranks, and that the group works
/// afterwards.
fn mixed(group: &Group) -> Result<String> {
    assert_eq!(group.transport(device())?, Transport::Nccl);
    let ones = |device| Tensor::ones([12], (Kind::Float, device));
    let own = if group.rank() == 1 { Device::Cpu } else { device() };
    let error = group.sum(&mut ones(own), Order::Tree).unwrap_err().to_string();
    for device in [device(), Device::Cpu] {
        let mut sum = ones(device);
        group.sum(&mut sum, Order::Tree)?;
        assert_eq!(sum, ones(device) * group.world() as i64);
    }
    Ok(error)
}

/// Returns the transport and the shortest time of a sum in milliseconds.
fn time(group: &Group, order: Order, elements: i64) -> Result<String> {
    let transport = group.transport(device())?;
    let mut tensor = Tensor::ones([elements], (Kind::Float, device()));
    let mut shortest = Duration::MAX;
    for _ in 0..20 {
        group.barrier()?;
        let start = Instant::now();
        group.sum(&mut tensor, order)?;
        shortest = shortest.min(start.elapsed());
        tensor.fill_(1.0).double_value(&[0]);
    }
    Ok(format!("{:.2} ms by {transport}", shortest.as_secs_f64() * 1e3))
}

fn endless(group: &Group, pause: Duration) -> Result<String> {
    let mut tensor = Tensor::ones([100_000], (Kind::Float, device()));
    group.sum(&mut tensor, Order::Tree)?;
    tell("running");
    loop {
        thread::sleep(pause);
        if let Err(error) = group.sum(&mut tensor, Order::Tree) {
            assert!(matches!(group.barrier(), Err(Error::Refused { .. })));
            return Err(error);
        }
    }
}

fn endless_tickets(group: &Group) -> Result<String> {
    group.barrier()?;
    tell("running");
    loop {
        group.ticket("shards")?;
    }
}

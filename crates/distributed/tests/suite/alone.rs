//! Group of one process.

use distributed::{Group, Order, Transport};
use tch::{Device, Tensor};

#[test]
fn operations_of_one_process_return_its_values() {
    let group = Group::alone();
    assert_eq!((group.rank(), group.world()), (0, 1));
    assert_eq!(group.share(5, Order::Tree).unwrap(), 0..5);
    let values = || Tensor::from_slice(&[1.5_f32, -2.0]);
    for order in [Order::Tree, Order::Ring] {
        let mut sum = values();
        group.sum(&mut sum, order).unwrap();
        assert_eq!(sum, values());
    }
    let mut tensors = [values()];
    group.broadcast(&mut tensors).unwrap();
    assert_eq!(tensors, [values()]);
    assert_eq!(group.gather(&values()).unwrap(), [values()]);
    assert_eq!(group.transport(Device::Cuda(0)).unwrap(), Transport::Alone);
    group.agree("seed", b"7").unwrap();
    group.barrier().unwrap();
}

#[test]
fn tickets_of_one_process_count_by_queue() {
    let group = Group::alone();
    let tickets = ["a", "a", "b", "a"].map(|queue| group.ticket(queue).unwrap());
    assert_eq!(tickets, [0, 1, 0, 2]);
}

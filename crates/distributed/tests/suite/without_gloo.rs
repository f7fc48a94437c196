//! Groups with a libtorch that was built without Gloo.

use std::time::Duration;

use distributed::{Group, Place};

#[test]
fn several_processes_are_refused() {
    let variables = [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")];
    let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|it| it.1.into());
    let place = Place::of_variables(value).unwrap().unwrap();
    let error = Group::join(place, Duration::from_secs(1)).err().unwrap().to_string();
    let expected = "rank 1: join is not possible: this libtorch was built without Gloo, so only one \
                    process is possible";
    assert_eq!(error, expected);
}

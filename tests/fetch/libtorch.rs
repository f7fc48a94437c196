//! What only `fetch-libtorch` does.

use std::fs;

use e2e_tests::read_json;

use crate::world::libtorch;

fn files(folder: &std::path::Path) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    all
}

#[test]
fn only_what_the_cpu_needs_is_taken() {
    for html in [false, true] {
        let case = libtorch(html);
        case.run().succeeded();
        let libraries = [
            "libc10.so",
            "libcudart.so.13",
            "libcupti.so.13",
            "libgomp.so.1",
            "libtorch.so",
            "libtorch_cpu.so",
        ];
        assert_eq!(files(&case.path("libtorch/lib")), libraries);
        let script = fs::read_to_string(case.path("libtorch/lib/libtorch.so")).unwrap();
        assert_eq!(script, "INPUT(libtorch_cpu.so)\n");
        assert_eq!(files(&case.path("libtorch/include/torch")), ["torch.h"]);
        let record = read_json(&case.path("libtorch/fetched.json"));
        assert_eq!((&record["version"], &record["device"]), (&"2.13.0".into(), &"cpu".into()));
        assert_eq!(record["wheels"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn for_cuda_all_that_torch_requires_is_taken() {
    let mut case = libtorch(false);
    case.arguments.extend(["--device".to_owned(), "cuda".to_owned()]);
    case.run().succeeded();
    // The requirements of requirements too, but no part that nobody asked for.
    let libraries =
        ["libc10.so", "libcudart.so.13", "libgomp.so.1", "libtorch_cpu.so", "libtorch_cuda.so"];
    assert_eq!(files(&case.path("libtorch/lib")), libraries);
    assert!(case.server.seen().iter().all(|request| !request.path.contains("sympy")));
}

#[test]
fn a_kept_wheel_is_checked_before_it_is_used_again() {
    let case = libtorch(false);
    let wheels = case.path("libtorch.partial/wheels");
    fs::create_dir_all(&wheels).unwrap();
    let wheel = case.main.rsplit('/').next().unwrap();
    fs::write(wheels.join(wheel), "something else").unwrap();
    case.run().succeeded();
    case.is_complete();
    assert_eq!(case.seen().len(), 1);
}

#[test]
fn a_build_asks_nobody_where_libtorch_is_there_and_fetches_it_where_it_is_not() {
    let case = libtorch(false);
    // The task before which libtorch is looked for, with a cargo that does nothing.
    let test = || {
        let mut command = case.command();
        let root = ["--root".as_ref(), case.root.path().as_os_str()];
        let mut task = std::process::Command::new(command.env("CARGO", "true").get_program());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => task.env(name, value),
                None => task.env_remove(name),
            };
        }
        task.args(root).arg("test").output().unwrap()
    };
    assert!(test().status.success());
    case.is_complete();
    let asked = case.server.seen().len();
    assert!(asked > 0);
    assert!(test().status.success());
    assert_eq!(case.server.seen().len(), asked, "the server was asked again");
    // One of another version is fetched anew.
    let record = case.path("libtorch/fetched.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("2.13.0\"", "2.12.0\"")).unwrap();
    assert!(test().status.success());
    assert!(case.server.seen().len() > asked);
    assert_eq!(fs::read_to_string(&record).unwrap(), text);
    // One that was not fetched is its owner's.
    fs::remove_file(&record).unwrap();
    let asked = case.server.seen().len();
    assert!(test().status.success());
    assert_eq!(case.server.seen().len(), asked);
}

#[test]
fn the_users_own_libtorch_wins() {
    for (name, value) in [("LIBTORCH", "/opt/libtorch"), ("LIBTORCH_USE_PYTORCH", "1")] {
        let mut case = libtorch(false);
        case.environment.push((name.to_owned(), value.to_owned()));
        let said = case.run().succeeded().stderr();
        assert!(said.contains(name) && said.contains("nothing is fetched"), "{said}");
        assert!(case.server.seen().is_empty());
        case.is_absent();
    }
}

#[test]
fn the_index_comes_from_an_option_or_from_pips_configuration() {
    let mut case = libtorch(false);
    let (_, index) = case.environment.pop().unwrap();
    let config = case.path("home/.config/pip");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("pip.conf"), format!("[global]\nindex-url = {index}/\n")).unwrap();
    case.run().succeeded();
    case.is_complete();

    fs::write(config.join("pip.conf"), "[global]\nindex-url = http://127.0.0.1:1/\n").unwrap();
    case.arguments.extend(["--force".to_owned(), "--index-url".to_owned(), index]);
    case.run().succeeded();
    case.is_complete();
}

#[test]
fn a_password_of_the_index_is_sent_and_not_said() {
    let mut case = libtorch(false);
    let index = case.server.url("/simple").replace("http://", "http://me:hush@");
    case.environment = vec![("PIP_INDEX_URL".to_owned(), index)];
    let said = case.run().succeeded().stderr();
    assert!(!said.contains("hush"), "{said}");
    // base64 of me:hush
    let sent = |request: &e2e_tests::Request| {
        request.headers.get("authorization").is_some_and(|value| value == "Basic bWU6aHVzaA==")
    };
    assert!(case.server.seen().iter().all(sent));
}

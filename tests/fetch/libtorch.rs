//! `fetch-libtorch`.

use std::fs;

use test_support::read_json;

use crate::cases::libtorch;

fn files(folder: &std::path::Path) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    all
}

#[test]
fn headers_and_cpu_libraries_are_unpacked() {
    let case = libtorch();
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
    assert_eq!(files(&case.path("libtorch/include")), ["torch"]);
    let record = read_json(&case.path("libtorch/fetched.json"));
    assert_eq!((&record["version"], &record["device"]), (&"2.13.0".into(), &"cpu".into()));
}

#[test]
fn cuda_libraries_and_headers_are_unpacked() {
    let mut case = libtorch();
    case.arguments.extend(["--device".to_owned(), "cuda".to_owned()]);
    case.run().succeeded();
    let libraries =
        ["libc10.so", "libcudart.so.13", "libgomp.so.1", "libtorch_cpu.so", "libtorch_cuda.so"];
    assert_eq!(files(&case.path("libtorch/lib")), libraries);
    assert_eq!(files(&case.path("libtorch/include")), ["crt", "torch"]);
    assert_eq!(files(&case.path("libtorch/include/crt")), ["host_config.h"]);
}

#[test]
fn platform_without_pinned_wheels_is_named() {
    let mut case = libtorch();
    case.table = Some(serde_json::json!({"version": "2.13.0", "builds": []}));
    case.run().failed(&[std::env::consts::OS, std::env::consts::ARCH, "LIBTORCH_USE_PYTORCH=1"]);
    case.is_absent();
    case.table = Some(serde_json::json!({"version": "2.13.0"}));
    case.run().failed(&["xtask/libtorch.json is not a table of wheels"]);
}

#[test]
fn kept_wheel_is_verified_before_reuse() {
    let case = libtorch();
    let wheels = case.path("libtorch.partial/wheels");
    fs::create_dir_all(&wheels).unwrap();
    let wheel = case.main.rsplit('/').next().unwrap();
    fs::write(wheels.join(wheel), "something else").unwrap();
    case.run().succeeded();
    case.is_complete();
    assert_eq!(case.seen().len(), 1);
}

#[test]
fn tasks_fetch_libtorch_only_if_it_is_missing() {
    let case = libtorch();
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
fn libtorch_of_the_environment_wins() {
    for (name, value) in [("LIBTORCH", "/opt/libtorch"), ("LIBTORCH_USE_PYTORCH", "1")] {
        let mut case = libtorch();
        case.environment.push((name.to_owned(), value.to_owned()));
        let stderr = case.run().succeeded().stderr();
        assert!(stderr.contains(name) && stderr.contains("nothing is fetched"), "{stderr}");
        assert!(case.server.seen().is_empty());
        case.is_absent();
    }
}

#[test]
fn index_option_overrides_the_variable() {
    let mut case = libtorch();
    let (name, index) = case.environment.pop().unwrap();
    case.environment.push((name, "http://127.0.0.1:1/".to_owned()));
    case.arguments.extend(["--index-url".to_owned(), format!("{index}/")]);
    case.run().succeeded();
    case.is_complete();
}

#[test]
fn password_of_the_index_is_sent_and_not_printed() {
    let mut case = libtorch();
    let index = case.server.url("/simple").replace("http://", "http://me:hush@");
    case.environment = vec![("PIP_INDEX_URL".to_owned(), index)];
    let stderr = case.run().succeeded().stderr();
    assert!(!stderr.contains("hush"), "{stderr}");
    // base64 of me:hush
    let sent = |request: &test_support::Request| {
        request.headers.get("authorization").is_some_and(|value| value == "Basic bWU6aHVzaA==")
    };
    assert!(case.server.seen().iter().all(sent));
}

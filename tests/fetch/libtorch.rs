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

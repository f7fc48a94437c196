//! Compiles the shim between Rust and c10d against the libtorch that `torch-sys` links.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

#[path = "../gpt2-model/build.rs"]
mod libtorch;

/// Refers to Gloo's process group by its symbol, which needs no header.
const PROBE: &str = r#"extern "C" void _ZN4c10d16ProcessGroupGloo19createDefaultDeviceEb();
int main() { _ZN4c10d16ProcessGroupGloo19createDefaultDeviceEb(); }
"#;

fn main() {
    libtorch::main();
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo:rustc-check-cfg=cfg(gloo)");
    let (Some(libraries), Some(out)) = (path("DEP_TCH_LIBTORCH_LIB"), path("OUT_DIR")) else {
        return;
    };
    // On macOS and Windows, c10d is untested.
    let is_linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if is_linux && has_gloo(&libraries, &out) {
        compile(&libraries);
        println!("cargo:rustc-cfg=gloo");
    }
}

fn path(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from)
}

/// Returns true if a program that calls Gloo can be linked. The headers do not tell: they are
/// installed for every build of libtorch.
fn has_gloo(libraries: &Path, out: &Path) -> bool {
    let source = out.join("probe.cpp");
    let mut compiler = cc::Build::new().cpp(true).get_compiler().to_command();
    compiler.arg(&source).arg("-o").arg(out.join("probe")).arg("-L").arg(libraries);
    compiler.args(["-ltorch_cpu", "-Wl,--unresolved-symbols=ignore-in-shared-libs"]);
    fs::write(&source, PROBE).is_ok()
        && compiler.output().is_ok_and(|output| output.status.success())
}

fn compile(libraries: &Path) {
    let root = path("LIBTORCH_INCLUDE").unwrap_or_else(|| libraries.join(".."));
    let include = root.join("include");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        // libtorch's headers have many warnings, and the debug information of their templates is
        // larger than the shim.
        .warnings(false)
        .debug(false)
        .include("shim")
        .include(include.join("torch/csrc/api/include"))
        .include(include)
        .define("USE_C10D_GLOO", None)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .file("shim/c10d.cpp")
        .compile("distributed_c10d");
    // After the archive that refers to them, because the linker resolves in this order.
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
}

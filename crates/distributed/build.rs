//! Compiles the shim between Rust and c10d against the libtorch that `torch-sys` links.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

#[path = "../gpt2-model/build.rs"]
mod libtorch;

/// Gloo's process group, by a symbol, which needs no header.
const GLOO: &str = "_ZN4c10d16ProcessGroupGloo19createDefaultDeviceEb";
/// NCCL's process group.
const NCCL: &str = "_ZN4c10d16ProcessGroupNCCL8shutdownEv";

fn main() {
    libtorch::main();
    println!("cargo:rerun-if-changed=shim");
    for variable in ["LIBTORCH_INCLUDE", "LIBTORCH_CXX11_ABI", "CUDA_HOME"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rustc-check-cfg=cfg(gloo)");
    println!("cargo:rustc-check-cfg=cfg(nccl)");
    let (Some(libraries), Some(out)) = (path("DEP_TCH_LIBTORCH_LIB"), path("OUT_DIR")) else {
        return;
    };
    // On macOS and Windows, c10d is untested.
    let is_linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if !is_linux || !has_symbol(&libraries, &out, "torch_cpu", GLOO) {
        return;
    }
    println!("cargo:rustc-cfg=gloo");
    let mut include = includes(&libraries);
    let mut has_nccl = has_symbol(&libraries, &out, "torch_cuda", NCCL);
    if has_nccl {
        let header = own_include(&libraries).join("nccl.h");
        include.extend(cuda_includes(&libraries));
        has_nccl = has_nccl_headers(&out, &include);
        if !has_nccl {
            // A file that is missing has this script run in each build, until the headers are there.
            println!("cargo:rerun-if-changed={}", header.display());
            println!(
                "cargo:warning=headers of NCCL or CUDA are missing, so tensors on a GPU will travel \
                 through the memory of the CPU; fetch libtorch with `cargo xtask fetch-libtorch \
                 --device cuda --force`, or set CUDA_HOME to a toolkit with nccl.h"
            );
        }
    }
    compile(&include, has_nccl);
    if has_nccl {
        println!("cargo:rustc-cfg=nccl");
        println!("cargo:rustc-link-lib=torch_cuda");
        println!("cargo:rustc-link-lib=c10_cuda");
    }
    // After the archive that refers to them, because the linker resolves in this order.
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
}

fn path(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from)
}

/// Folder of libtorch's headers.
fn own_include(libraries: &Path) -> PathBuf {
    path("LIBTORCH_INCLUDE").unwrap_or_else(|| libraries.join("..")).join("include")
}

/// Folders for headers of the shim and of libtorch.
fn includes(libraries: &Path) -> Vec<PathBuf> {
    let include = own_include(libraries);
    vec![PathBuf::from("shim"), include.join("torch/csrc/api/include"), include]
}

/// Folders other than libtorch's that may have the headers of CUDA and NCCL: a toolkit, and NVIDIA's
/// packages beside an installed PyTorch.
fn cuda_includes(libraries: &Path) -> Vec<PathBuf> {
    let packages = libraries.join("../../nvidia");
    let packages = fs::read_dir(packages).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = packages.map(|entry| entry.path()).collect();
    folders.sort();
    // Last, because a toolkit may have other versions than the ones that libtorch was built with.
    folders.extend(path("CUDA_HOME"));
    folders.push("/usr/local/cuda".into());
    folders.iter().map(|folder| folder.join("include")).filter(|it| it.is_dir()).collect()
}

fn compiler() -> Command {
    cc::Build::new().cpp(true).std("c++20").get_compiler().to_command()
}

/// Returns true if a program that calls the function can be linked. The headers do not tell: they
/// are installed for every build of libtorch.
fn has_symbol(libraries: &Path, out: &Path, library: &str, symbol: &str) -> bool {
    let source = out.join("probe.cpp");
    let program = format!("extern \"C\" void {symbol}(); int main() {{ {symbol}(); }}\n");
    let mut compiler = compiler();
    compiler.arg(&source).arg("-o").arg(out.join("probe")).arg("-L").arg(libraries);
    compiler.arg(format!("-l{library}")).arg("-Wl,--unresolved-symbols=ignore-in-shared-libs");
    fs::write(&source, program).is_ok() && succeeds(compiler)
}

/// Returns true if c10d's header for NCCL finds the headers that it includes.
fn has_nccl_headers(out: &Path, include: &[PathBuf]) -> bool {
    let source = out.join("headers.cpp");
    let text = "#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>\n";
    let mut compiler = compiler();
    compiler.args(["-E", "-DUSE_C10D_NCCL", "-o"]).arg(out.join("headers.ii")).arg(&source);
    for folder in include {
        compiler.arg("-I").arg(folder);
    }
    let is_complete = fs::write(&source, text).is_ok() && succeeds(compiler);
    // It has megabytes.
    let _ = fs::remove_file(out.join("headers.ii"));
    is_complete
}

fn succeeds(mut command: Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn compile(include: &[PathBuf], has_nccl: bool) {
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        // libtorch's headers have many warnings, and the debug information of their templates is
        // larger than the shim.
        .warnings(false)
        .debug(false)
        .includes(include)
        .define("USE_C10D_GLOO", None)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .file("shim/c10d.cpp");
    if has_nccl {
        build.define("USE_C10D_NCCL", None);
    }
    build.compile("distributed_c10d");
}

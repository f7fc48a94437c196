//! Lets the programs of this workspace find libtorch when they run.
//!
//! The link flags of `torch-sys` do not reach the crates that use it, so each
//! crate that links libtorch runs this script. It does two things:
//!
//! * binaries get an rpath to the libtorch that was linked, so that they run
//!   from anywhere, without cargo and with no variable set;
//! * cargo is told of a search path inside the target folder that leads to
//!   libtorch. Cargo passes such paths on to every program it starts, which is
//!   what makes unit tests and documentation tests find it.

use std::path::{Path, PathBuf};

/// The build script of `distributed` does the same and more.
pub fn main() {
    // Without any such line, cargo runs a script again after every change of its package. It
    // runs this one again after a change of torch-sys or of the script by itself.
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        // Windows, where libraries are found through PATH.
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libtorch.display());
    if libtorch.join("libtorch_cuda.so").exists() {
        // Nothing refers to a symbol of libtorch_cuda: without this the linker
        // drops it and CUDA is never found.
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo:rustc-link-arg=-ltorch_cuda");
        println!("cargo:rustc-link-arg=-Wl,--as-needed");
    }
    #[cfg(unix)]
    if let Some(out) = std::env::var_os("OUT_DIR") {
        let link = Path::new(&out).join("libtorch");
        let _ = std::fs::remove_file(&link);
        match std::os::unix::fs::symlink(&libtorch, &link) {
            Ok(()) => println!("cargo:rustc-link-search=native={}", link.display()),
            Err(error) => println!("cargo:warning=cannot link {}: {error}", link.display()),
        }
    }
}

//! The end of memory, and other ends that are forced on the program.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, Ordering},
};

use gpt2_model::WITH_LESS_MEMORY;

/// The system's allocator, for the `#[global_allocator]` of a program. Where the system
/// has no more memory it says so in one sentence and ends the program with the exit
/// code 1, instead of aborting it: nothing that runs has a way on without the memory.
///
/// What C++ allocates does not come through here; there it is an exception, and an
/// error in Rust.
#[derive(Clone, Copy, Debug)]
pub struct Memory;

// SAFETY: all is left to the system's allocator; a pointer that is returned is its.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises what `System` asks for.
        some(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        some(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        some(unsafe { System.realloc(pointer, layout, size) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[inline]
fn some(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() {
        end(&["error: there is not enough memory; ", WITH_LESS_MEMORY, "\n"]);
    }
    pointer
}

/// Says something without memory and ends the program, without what is done at the end
/// of a program: neither is possible here. Another thread that comes here meanwhile
/// waits for the end.
#[cold]
fn end(words: &[&str]) -> ! {
    static IS_SAID: AtomicBool = AtomicBool::new(false);
    if IS_SAID.swap(true, Ordering::SeqCst) {
        loop {
            std::hint::spin_loop();
        }
    }
    for word in words {
        say(word);
    }
    #[cfg(unix)]
    // SAFETY: it only ends the process.
    unsafe {
        libc::_exit(1)
    }
    #[cfg(not(unix))]
    std::process::exit(1)
}

#[cfg(unix)]
fn say(word: &str) {
    // SAFETY: the pointer and the length are those of the text. Whether it is written is
    // of no consequence here.
    unsafe { libc::write(libc::STDERR_FILENO, word.as_ptr().cast(), word.len()) };
}

#[cfg(not(unix))]
fn say(word: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), word.as_bytes());
}

/// SIGABRT ends the program with a sentence and the exit code 1. It is how the C++
/// library ends a program of whose exceptions nobody takes notice.
#[cfg(unix)]
pub(crate) fn speak_when_aborted() {
    extern "C" fn aborted(_: libc::c_int) {
        end(&[
            "error: libtorch or the C library had to stop the program; use less memory or another \
             libtorch, and please report it with the command and the lines above. Files that have \
             their name are whole, and a run goes on from its last checkpoint with --resume\n",
        ]);
    }
    let handler: extern "C" fn(libc::c_int) = aborted;
    // SAFETY: the handler calls `write` and `_exit` alone, which a signal handler may.
    unsafe { libc::signal(libc::SIGABRT, handler as libc::sighandler_t) };
}

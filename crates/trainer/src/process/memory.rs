//! The end of memory, and other ends that are forced on the program.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, Ordering},
};

use gpt2_model::WITH_LESS_MEMORY;

use crate::process::settings::end_at_once;

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
    end_at_once(1)
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

const FORCED: &str = "error: libtorch or the C library had to stop the program; use less memory \
    or another libtorch, and please report it with the command and what RUST_BACKTRACE=1 adds to \
    these words. Files that have their name are whole, and a run goes on from its last checkpoint \
    with --resume\n";

/// What ends a program from outside of Rust ends it with a sentence and the exit code 1:
/// SIGABRT, and an exception of C++ that nobody catches. `words_of_cpp` leaves that
/// exception to C++, which says what it was and sends SIGABRT.
#[cfg(unix)]
pub(crate) fn speak_when_forced(words_of_cpp: bool) {
    extern "C" fn aborted(_: libc::c_int) {
        end(&[FORCED]);
    }
    let handler: extern "C" fn(libc::c_int) = aborted;
    // SAFETY: the handler calls `write` and `_exit` alone, which a signal handler may.
    unsafe { libc::signal(libc::SIGABRT, handler as libc::sighandler_t) };
    if !words_of_cpp {
        speak_when_terminated();
    }
}

/// As `std::set_terminate` in the C++ library that libtorch is linked with.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn speak_when_terminated() {
    extern "C" fn terminated() {
        end(&[FORCED]);
    }
    unsafe extern "C" {
        #[link_name = "_ZSt13set_terminatePFvvE"]
        fn set_terminate(handler: extern "C" fn()) -> Option<extern "C" fn()>;
    }
    // SAFETY: the handler does not return, as C++ demands of it.
    unsafe { set_terminate(terminated) };
}

#[cfg(all(unix, not(all(target_os = "linux", target_env = "gnu"))))]
fn speak_when_terminated() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::{env, ptr};

    use e2e_tests::one_sentence;

    use super::*;

    /// The other half of the test below: its process is looked at from outside.
    #[test]
    #[ignore = "ends its process; started by the test below"]
    fn an_exception_that_nobody_catches() {
        unsafe extern "C-unwind" {
            /// Throws `std::bad_alloc`.
            #[link_name = "_ZSt17__throw_bad_allocv"]
            fn throw_bad_alloc(_: *mut libc::c_void) -> *mut libc::c_void;
        }
        speak_when_forced(env::var_os("WORDS_OF_CPP").is_some());
        type Start = extern "C" fn(*mut libc::c_void) -> *mut libc::c_void;
        // SAFETY: the function is the whole of its thread: no frame of Rust is passed by
        // its exception. What it is given and would return is not looked at.
        unsafe {
            let start: Start = std::mem::transmute(throw_bad_alloc as *const ());
            let mut thread = std::mem::zeroed();
            assert_eq!(libc::pthread_create(&mut thread, ptr::null(), start, ptr::null_mut()), 0);
            libc::pthread_join(thread, ptr::null_mut());
        }
    }

    #[test]
    fn an_exception_that_nobody_catches_is_one_sentence() {
        for words_of_cpp in [false, true] {
            let mut child = std::process::Command::new(env::current_exe().unwrap());
            let name = "process::memory::tests::an_exception_that_nobody_catches";
            child.args(["--ignored", "--exact", "--nocapture", name]);
            child.env_remove("WORDS_OF_CPP");
            child.envs(words_of_cpp.then_some(("WORDS_OF_CPP", "1")));
            let output = child.output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            if words_of_cpp {
                assert!(stderr.contains("'std::bad_alloc'"), "{stderr}");
                assert!(stderr.contains("\nerror: libtorch or the C library"), "{stderr}");
                continue;
            }
            let sentence = one_sentence(&stderr);
            assert!(sentence.contains("libtorch or the C library had to stop"), "{sentence}");
            assert!(sentence.contains("--resume"), "{sentence}");
        }
    }
}

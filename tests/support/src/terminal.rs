//! Programs on a terminal.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read, Write},
    os::fd::{FromRawFd, OwnedFd},
    process::{Child, Command, ExitStatus},
    ptr,
};

use tempfile::TempDir;

use crate::binary;

/// Program on a terminal of its own, which is its standard input, output and error.
pub struct OnTerminal {
    child: Child,
    keyboard_and_screen: File,
    screen: Vec<u8>,
    _folder: TempDir,
}

impl OnTerminal {
    /// Starts a binary of the workspace in an empty folder on one thread.
    pub fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(name: &str, arguments: I) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (keyboard_and_screen, terminal) = open_terminal();
        // Ctrl-C is a signal to the session that the terminal controls.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(binary(name)).args(arguments);
        command.current_dir(folder.path()).env("OMP_NUM_THREADS", "1").env("TERM", "xterm");
        let copy = || terminal.try_clone().unwrap();
        let child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        Self { child, keyboard_and_screen, screen: Vec::new(), _folder: folder }
    }

    /// Waits until the text on the screen is as wanted. Panics if the program ends before.
    #[track_caller]
    pub fn wait_until(&mut self, is_wanted: impl Fn(&str) -> bool) {
        while !is_wanted(&self.screen()) {
            assert!(self.read(), "the program has ended: {:?}", self.screen());
        }
    }

    /// Returns true if the program has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Types on the keyboard.
    pub fn press(&mut self, keys: &[u8]) {
        self.keyboard_and_screen.write_all(keys).unwrap();
    }

    /// Waits for the end and returns the exit status and everything that was shown.
    pub fn finish(mut self) -> (ExitStatus, String) {
        while self.read() {}
        (self.child.wait().unwrap(), self.screen())
    }

    /// Text that was shown so far, with lines that end with a carriage return and a line feed.
    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen).into_owned()
    }

    /// Reads what is shown next; returns false at the end, where Linux reports an error.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let count = self.keyboard_and_screen.read(&mut bytes).unwrap_or(0);
        self.screen.extend(&bytes[..count]);
        count > 0
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Opens a terminal: the side of the keyboard and the screen, and the side of the program.
fn open_terminal() -> (File, OwnedFd) {
    let (mut outer, mut inner) = (-1, -1);
    // SAFETY: the descriptors are written to these two integers; null asks for the default settings.
    let code = unsafe {
        libc::openpty(&mut outer, &mut inner, ptr::null_mut(), ptr::null_mut(), ptr::null_mut())
    };
    assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both are new, and nothing else owns them.
    unsafe { (File::from_raw_fd(outer), OwnedFd::from_raw_fd(inner)) }
}

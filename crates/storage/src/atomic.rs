//! Files that are replaced as a whole.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use atomic_write_file::AtomicWriteFile;

use crate::{
    directory::sync_directory,
    error::{Error, Result},
};

/// File under construction that takes its name on [`AtomicFile::commit`].
///
/// The bytes go to a temporary file in the same directory. Committing flushes them to
/// the disk, renames the file and flushes the directory, so that a power cut leaves
/// either the old file or the new one. A file that is dropped without a commit leaves
/// the old one in place. On Linux the temporary file has no name before it is complete, so that a
/// killed program leaves nothing unless it was naming the file; other systems, and file systems without
/// such files (NFS), have `.NAME.XXXXXX`, which is also the name for the moment before the last one. A symbolic link stays, and the file that it names is replaced. A new
/// file has the mode 0666 without the umask.
#[derive(Debug)]
pub struct AtomicFile {
    file: AtomicWriteFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Creates the temporary file for `path`.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn create(path: &Path) -> Result<Self> {
        let open = || {
            check_can_be_named(Path::new(OPEN_FILES))?;
            let target = link_target(path)?;
            check_length(&target)?;
            AtomicWriteFile::open(target)
        };
        Ok(Self { file: open().map_err(Error::write(path))?, path: path.to_owned() })
    }

    /// Flushes the bytes to the disk and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn commit(self) -> Result<()> {
        self.file.commit().map_err(Error::write(self.path))
    }
}

/// Directory by which Linux gives an open file a name.
const OPEN_FILES: &str = "/proc/self/fd";

/// Refuses to begin a file that would have no name in the end: some isolated environments lack `/proc`.
fn check_can_be_named(open_files: &Path) -> io::Result<()> {
    if cfg!(target_os = "linux") && !open_files.is_dir() {
        let name = open_files.display();
        return Err(io::Error::other(format!("{name} is missing; mount the file system proc")));
    }
    Ok(())
}

/// Refuses a name that would be too long in the end, with the letters of a temporary file.
fn check_length(path: &Path) -> io::Result<()> {
    let length = path.file_name().map_or(0, OsStr::len);
    if length > LONGEST_NAME {
        let reason =
            format!("its name has {length} bytes, expected at most {LONGEST_NAME}; shorten it");
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, reason));
    }
    Ok(())
}

/// Longest name in bytes: file systems have 255, of which a temporary file has eight more.
const LONGEST_NAME: usize = 247;

/// Links that are followed, as many as Linux follows.
const LINKS: usize = 40;

/// Returns the file that a path names after all symbolic links, whether or not it exists.
fn link_target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        let Ok(next) = fs::read_link(&target) else { return Ok(target) };
        if target.starts_with("/proc") {
            // As behind /dev/stdout: replacing the file would take it from its other writers.
            return Err(io::Error::other("it is a file that is already open"));
        }
        // An absolute link replaces the directory.
        target = target.parent().unwrap_or(Path::new("")).join(next);
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Replaces the file `path` by `bytes`, atomically and durably.
///
/// # Errors
/// [`Error::Write`].
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(Error::write(path))?;
    file.commit()
}

/// Creates the file `path` with `bytes`, atomically and durably, unless it exists. If several
/// processes do so, one of them creates it.
///
/// # Errors
/// [`Error::Write`], also if the file system has no hard links.
pub fn create_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    write_atomic(&temporary, bytes)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(Error::write(&temporary))?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::write(path)(error))
        }
        _ => path.parent().map_or(Ok(()), sync_directory).map_err(Error::write(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        create_atomic(&path, b"first").unwrap();
        create_atomic(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_link_stays_and_its_target_is_replaced() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("data")).unwrap();
        fs::write(path("data/real"), "old").unwrap();
        fs::set_permissions(path("data/real"), fs::Permissions::from_mode(0o640)).unwrap();
        for (link, target) in [
            ("relative", "data/real"),
            ("absolute", path("data/real").to_str().unwrap()),
            ("chain", "relative"),
            ("dangling", "data/new"),
        ] {
            symlink(target, path(link)).unwrap();
            write_atomic(&path(link), link.as_bytes()).unwrap();
            assert_eq!(fs::read_link(path(link)).unwrap(), Path::new(target), "{link}");
            assert_eq!(fs::read_to_string(path(link)).unwrap(), link);
        }
        let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("data/real"), 0o640, "the mode of an existing file is kept");
        fs::write(path("plain"), "").unwrap();
        assert_eq!(mode("data/new"), mode("plain"), "a new file has 0666 without the umask");
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            let open = fs::File::open(path("plain")).unwrap();
            symlink(format!("/proc/self/fd/{}", open.as_raw_fd()), path("open")).unwrap();
            assert!(write_atomic(&path("open"), b"new").is_err());
        }
        symlink("loop", path("loop")).unwrap();
        let error = write_atomic(&path("loop"), b"").unwrap_err().to_string();
        assert!(error.contains("too many levels") && path("loop").is_symlink(), "{error}");
    }

    #[test]
    fn uncommitted_file_leaves_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_atomic(&path, b"old").unwrap();
        AtomicFile::create(&path).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn file_under_construction_has_no_name() {
        // A file system with unnamed files on every Linux.
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let names = || fs::read_dir(directory.path()).unwrap().count();
        let path = directory.path().join("a");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.flush().unwrap();
        assert_eq!(names(), 0, "a killed program would leave it");
        file.commit().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names()), (b"new".to_vec(), 1));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn file_that_cannot_be_named_is_not_begun() {
        let directory = tempfile::tempdir().unwrap();
        check_can_be_named(directory.path()).unwrap();
        let error = check_can_be_named(&directory.path().join("fd")).unwrap_err().to_string();
        assert!(error.contains("fd is missing; mount"), "{error}");
    }

    #[test]
    fn name_that_is_too_long_in_the_end_is_not_begun() {
        let directory = tempfile::tempdir().unwrap();
        let path = |length| directory.path().join("a".repeat(length));
        write_atomic(&path(LONGEST_NAME), b"").unwrap();
        let error = AtomicFile::create(&path(LONGEST_NAME + 1)).unwrap_err().to_string();
        assert!(error.contains("248 bytes, expected at most 247"), "{error}");
    }

    #[test]
    fn error_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("absent/a");
        let error = write_atomic(&path, b"").unwrap_err();
        assert_eq!((error.path(), error.kind()), (path.as_path(), io::ErrorKind::NotFound));
        assert!(error.to_string().starts_with("cannot write "), "{error}");
    }
}

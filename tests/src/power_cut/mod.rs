//! What would be left of files if the power failed: bytes that were not synced may be
//! missing, and names whose folder was not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Watches what programs do to files, with a library that the system loads into them.
pub struct Watch {
    folder: TempDir,
}

/// One thing that a program did. A number is that of a file, whatever it is called.
#[derive(Debug)]
pub enum Act {
    /// A new file.
    Create(u64, PathBuf),
    /// Bytes written to a file, or taken from its end.
    Write(u64, PathBuf),
    /// What was written to a file, or the names in a folder, are on the disk.
    Sync(u64, PathBuf),
    /// A new folder.
    Folder(PathBuf),
    /// A file or folder got another name, the second.
    Rename(u64, PathBuf, PathBuf),
    /// A name was deleted.
    Unlink(PathBuf),
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch {
    /// Builds the library, with the C compiler that Rust links with.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("log.c");
        fs::write(&source, include_str!("log.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(folder.path().join("log.so")).arg(source);
        assert!(compiler.arg("-ldl").status().unwrap().success());
        Self { folder }
    }

    /// Has a program watched from its start on.
    pub fn on<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", self.folder.path().join("log.so"));
        command.env("FILE_LOG", self.folder.path().join("acts"))
    }

    /// As [`Watch::on`], and kills the program at the `act`-th thing that it does to a
    /// file, from 1: after it, and in the midst of a write.
    pub fn kill<'a>(&self, command: &'a mut Command, act: usize) -> &'a mut Command {
        self.on(command).env("KILL_AT", act.to_string())
    }

    /// What was done so far by all that are watched, in its order.
    pub fn acts(&self) -> Vec<Act> {
        let log = fs::read_to_string(self.folder.path().join("acts")).unwrap();
        let act = |line: &str| -> Option<Act> {
            let (what, rest) = line.split_once(' ')?;
            if let "folder" | "unlink" = what {
                let path = rest.into();
                return Some(if what == "folder" { Act::Folder(path) } else { Act::Unlink(path) });
            }
            let (number, path) = rest.split_once(' ')?;
            let number = number.parse().ok()?;
            match what {
                "create" => Some(Act::Create(number, path.into())),
                "write" => Some(Act::Write(number, path.into())),
                "sync" => Some(Act::Sync(number, path.into())),
                "rename" => {
                    let (old, new) = path.split_once('\t')?;
                    Some(Act::Rename(number, old.into(), new.into()))
                }
                _ => None,
            }
        };
        let acts = log.lines().map(|line| act(line).unwrap_or_else(|| panic!("{line}")));
        acts.collect()
    }
}

/// What is not on the disk yet.
#[derive(Debug, Default)]
pub struct Disk {
    /// Files that have bytes which are not.
    unwritten: BTreeMap<u64, PathBuf>,
    /// Names that are not.
    unnamed: BTreeSet<PathBuf>,
}

impl Disk {
    /// Follows what a program does.
    pub fn follow(&mut self, act: &Act) {
        match act {
            Act::Create(number, path) => {
                self.unwritten.remove(number);
                self.unnamed.insert(path.clone());
            }
            Act::Write(number, path) => {
                self.unwritten.insert(*number, path.clone());
            }
            Act::Sync(number, path) => {
                self.unwritten.remove(number);
                self.unnamed.retain(|name| name.parent() != Some(path));
            }
            Act::Folder(path) => {
                self.unnamed.insert(path.clone());
            }
            Act::Rename(_, old, new) => {
                let moved = |path: PathBuf| match path.strip_prefix(old) {
                    Ok(inside) if inside.as_os_str().is_empty() => new.clone(),
                    Ok(inside) => new.join(inside),
                    Err(_) => path,
                };
                self.unnamed = std::mem::take(&mut self.unnamed).into_iter().map(moved).collect();
                self.unwritten.values_mut().for_each(|path| *path = moved(std::mem::take(path)));
                self.unnamed.insert(new.clone());
            }
            Act::Unlink(path) => {
                self.unnamed.remove(path);
            }
        }
    }

    /// The files at a path, or below it, that would lose bytes.
    pub fn loses_bytes_at(&self, path: &Path) -> Vec<&Path> {
        self.unwritten.values().map(PathBuf::as_path).filter(|of| of.starts_with(path)).collect()
    }

    /// The names below a folder that would be lost, but for those that begin with a dot:
    /// of files that have not yet got their own.
    pub fn loses_names_below(&self, folder: &Path) -> Vec<&Path> {
        let names = self.unnamed.iter().map(PathBuf::as_path);
        let below = |name: &&Path| name.starts_with(folder) && *name != folder;
        names.filter(|name| below(name) && !is_temporary(name)).collect()
    }
}

/// Whether it is the name of a file that is still being written.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

//! Simulated power cuts: bytes that were not synced may be lost, and names whose folder
//! was not synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Records the file operations of programs through a library in `LD_PRELOAD`.
pub struct Watch {
    folder: TempDir,
}

/// A file operation. The number is the inode of the file.
#[derive(Debug)]
pub enum Act {
    /// A new file.
    Create(u64, PathBuf),
    /// Bytes written to a file, or a truncation.
    Write(u64, PathBuf),
    /// A sync of the bytes of a file or of the names in a folder.
    Sync(u64, PathBuf),
    /// A new folder.
    Folder(PathBuf),
    /// A name of a file that had none, or another name.
    Link(u64, PathBuf),
    /// A rename from the first path to the second.
    Rename(u64, PathBuf, PathBuf),
    /// A deleted name.
    Unlink(PathBuf),
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch {
    /// Builds the library with the C compiler.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("log.c");
        fs::write(&source, include_str!("log.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(folder.path().join("log.so")).arg(source);
        assert!(compiler.arg("-ldl").status().unwrap().success());
        Self { folder }
    }

    /// Records a program from its start.
    pub fn on<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", self.folder.path().join("log.so"));
        command.env("FILE_LOG", self.folder.path().join("acts"))
    }

    /// Same as [`Watch::on`], and kills the program at its `act`-th file operation, counted
    /// from 1: after the operation, or in the middle of a write.
    pub fn kill<'a>(&self, command: &'a mut Command, act: usize) -> &'a mut Command {
        self.on(command).env("KILL_AT", act.to_string())
    }

    /// Operations of all recorded programs so far, in order.
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
                "link" => Some(Act::Link(number, path.into())),
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

/// State that a power cut would lose.
#[derive(Debug, Default)]
pub struct Disk {
    /// Files with bytes that were not synced.
    unwritten: BTreeMap<u64, PathBuf>,
    /// Names that were not synced.
    unnamed: BTreeSet<PathBuf>,
}

impl Disk {
    /// Updates the state by an operation.
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
            Act::Link(number, path) => {
                self.unwritten.entry(*number).and_modify(|of| of.clone_from(path));
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

    /// Files at or below a path that would lose bytes.
    pub fn loses_bytes_at(&self, path: &Path) -> Vec<&Path> {
        self.unwritten.values().map(PathBuf::as_path).filter(|of| of.starts_with(path)).collect()
    }

    /// Names below a folder that would be lost, except temporary files, whose names begin
    /// with a dot.
    pub fn loses_names_below(&self, folder: &Path) -> Vec<&Path> {
        let names = self.unnamed.iter().map(PathBuf::as_path);
        let below = |name: &&Path| name.starts_with(folder) && *name != folder;
        names.filter(|name| below(name) && !is_temporary(name)).collect()
    }
}

/// Returns true for the name of a file that is still being written.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

//! Python contenders, embedded in this program.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use storage::write_atomic;

/// The programs, under the names by which they know each other.
const FILES: [(&str, &str); 2] =
    [("peers.py", include_str!("peers.py")), ("peer_models.py", include_str!("peer_models.py"))];

/// Writes the programs to `folder`; returns the one to run.
pub fn write(folder: &Path) -> Result<PathBuf> {
    for (name, text) in FILES {
        write_atomic(&folder.join(name), text.as_bytes())?;
    }
    Ok(folder.join(FILES[0].0))
}

/// The command of a peer.
pub fn contender(python: &Path, program: &Path, name: &str, job: &Path, threads: usize) -> Command {
    let mut command = Command::new(python);
    command.arg(program).args([name, "--job"]).arg(job).arg("--threads").arg(threads.to_string());
    // Everything is on this disk; looking for more would only take time.
    command.env("HF_HUB_OFFLINE", "1").env("PYTHONUNBUFFERED", "1");
    // Of this workspace's settings for cargo, not of Python's: peers run as they
    // do by themselves.
    command.env_remove("GOMP_SPINCOUNT");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let program = write(folder.path()).unwrap();
        assert_eq!(program, folder.path().join("peers.py"));
        assert!(folder.path().join("peer_models.py").is_file());
        let command = contender(Path::new("python3"), &program, "pytorch", Path::new("job"), 2);
        let arguments: Vec<_> = command.get_args().skip(1).collect();
        assert_eq!(arguments, ["pytorch", "--job", "job", "--threads", "2"]);
    }
}

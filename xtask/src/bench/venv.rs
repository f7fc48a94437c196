//! Python environment of the peers.

use std::{
    env, fs,
    io::{ErrorKind, stderr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    net::part_of,
    workspace::{remove_file, show},
};

/// Installed packages. This torch has the same libtorch as the Rust side.
const REQUIREMENTS: &str = "\
torch==2.13.0
transformers==5.23.0
peft==0.21.2
numpy==2.4.6
safetensors==0.8.0
";

/// The file that says what an environment was made for. It is written last: an
/// environment without it is not whole.
const MARKER: &str = "requirements.txt";

const NO_PYTHON: &str = "python3 is not here: install Python 3.11 or newer with its venv module \
                         (`apt install python3-venv` on Debian and Ubuntu), or give the Python of \
                         an environment that has torch, transformers and peft with --python";

/// The Python of the environment in `folder`, which is made if it is not there
/// or was made for something else.
pub fn ensure(root: &Path, folder: &Path) -> Result<PathBuf> {
    let python = folder.join("bin/python");
    if is_whole(folder) {
        return Ok(python);
    }
    say!("making a Python environment in {} (some GB, once)", show(root, folder));
    make(folder).with_context(|| {
        format!("the environment {} for the peers was not made", show(root, folder))
    })?;
    Ok(python)
}

fn is_whole(folder: &Path) -> bool {
    fs::read_to_string(folder.join(MARKER)).is_ok_and(|text| text == REQUIREMENTS)
}

fn make(folder: &Path) -> Result<()> {
    let marker = folder.join(MARKER);
    // First of all: what follows can be interrupted.
    remove_file(&marker)?;
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(folder);
    install(venv)?;
    let wanted = part_of(&marker);
    fs::write(&wanted, REQUIREMENTS)
        .with_context(|| format!("cannot write {}", wanted.display()))?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]).arg(&wanted);
    install(pip)?;
    fs::rename(&wanted, &marker).with_context(|| format!("cannot write {}", marker.display()))
}

/// Runs a program that may talk, but not on standard output: that is for results.
fn install(mut command: Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = match command.stdout(stderr()).status() {
        Err(error) if error.kind() == ErrorKind::NotFound && name == "python3" => bail!(NO_PYTHON),
        status => status.with_context(|| format!("{name} cannot be started"))?,
    };
    if !status.success() {
        bail!("{name} failed ({status}); see its output above");
    }
    Ok(())
}

/// The program that a person gave with `--python`: a path is one from where the
/// person is, not from where peers run.
pub fn given(python: &Path) -> Result<PathBuf> {
    if python.components().count() == 1 {
        return Ok(python.to_owned());
    }
    // Not canonical: an environment is known by its own link to the program.
    let here = env::current_dir().context("the current folder is gone")?;
    let path = here.join(python);
    if !path.is_file() {
        bail!("there is no {}: --python takes the python of an environment", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_complete_with_a_matching_marker() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_whole(folder.path()));
        let marker = folder.path().join(MARKER);
        fs::write(part_of(&marker), REQUIREMENTS).unwrap();
        assert!(!is_whole(folder.path()));
        fs::write(&marker, "torch==2.12.0\n").unwrap();
        assert!(!is_whole(folder.path()));
        fs::write(&marker, REQUIREMENTS).unwrap();
        assert!(is_whole(folder.path()));
        let python = ensure(folder.path(), folder.path()).unwrap();
        assert_eq!(python, folder.path().join("bin/python"));
    }

    #[test]
    fn failing_program_is_reported() {
        let error = install(Command::new("false")).unwrap_err();
        assert!(error.to_string().starts_with("false failed (exit status: 1)"), "{error}");
    }

    #[test]
    fn given_python_must_exist() {
        assert_eq!(given(Path::new("python3")).unwrap(), PathBuf::from("python3"));
        let folder = tempfile::tempdir().unwrap();
        let python = folder.path().join("python");
        let error = given(&python).unwrap_err().to_string();
        assert!(error.starts_with("there is no "), "{error}");
        fs::write(&python, "").unwrap();
        assert_eq!(given(&python).unwrap(), python);
    }
}

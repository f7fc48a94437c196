//! The package index that the user's pip takes packages from.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow};
use configparser::ini::Ini;
use url::Url;

use crate::net::address;

const PYPI: &str = "https://pypi.org/simple";

/// The index of the option, of `PIP_INDEX_URL`, of pip's configuration files, or
/// PyPI: the first of these that says one.
pub fn index_url(option: Option<&str>) -> Result<Url> {
    let (text, origin) = if let Some(url) = option {
        (url.to_owned(), "--index-url".to_owned())
    } else if let Some(url) = env::var("PIP_INDEX_URL").ok().filter(|url| !url.is_empty()) {
        (url, "PIP_INDEX_URL".to_owned())
    } else if let Some((url, file)) = configured()? {
        (url, file.display().to_string())
    } else {
        (PYPI.to_owned(), "the default".to_owned())
    };
    address::parse(&text, &format!("the package index of {origin}"))
}

/// The index of the configuration files, of which the later ones win.
fn configured() -> Result<Option<(String, PathBuf)>> {
    let mut found = None;
    for file in files(&|name| env::var_os(name).map(PathBuf::from)) {
        if let Some(url) = index_in(&file)? {
            found = Some((url, file));
        }
    }
    Ok(found)
}

/// Pip's configuration files: the system's, the user's, the environment's, and
/// the one that a variable names.
fn files(var: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let named = var("PIP_CONFIG_FILE");
    // Pip reads no file at all if the null device is named.
    if named.as_deref() == Some(Path::new("/dev/null")) {
        return Vec::new();
    }
    let mut all = Vec::new();
    let system = var("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
    all.extend(env::split_paths(&system).map(|folder| folder.join("pip/pip.conf")));
    all.push("/etc/pip.conf".into());
    if let Some(home) = var("HOME") {
        all.push(home.join(".pip/pip.conf"));
        let config = var("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        all.push(config.join("pip/pip.conf"));
    }
    all.extend(var("VIRTUAL_ENV").map(|folder| folder.join("pip.conf")));
    all.extend(named);
    all
}

pub(super) fn index_in(file: &Path) -> Result<Option<String>> {
    if !file.is_file() {
        return Ok(None);
    }
    let mut ini = Ini::new();
    ini.load(file).map_err(|error| {
        anyhow!(
            "{} is no configuration of pip: {error}; mend it, or give --index-url",
            file.display()
        )
    })?;
    // What is said for one command wins over what is said for all.
    let sections = ["download", "install", "global"];
    let keys = ["index-url", "index_url"];
    let mut all = sections.iter().flat_map(|section| keys.map(|key| ini.get(section, key)));
    Ok(all.find_map(|url| url.filter(|url| !url.is_empty())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn later_files_win() {
        let var = |name: &str| match name {
            "HOME" => Some("/home/me".into()),
            "VIRTUAL_ENV" => Some("/venv".into()),
            _ => None,
        };
        let expected = [
            "/etc/xdg/pip/pip.conf",
            "/etc/pip.conf",
            "/home/me/.pip/pip.conf",
            "/home/me/.config/pip/pip.conf",
            "/venv/pip.conf",
        ];
        assert_eq!(files(&var), expected.map(PathBuf::from));
        assert!(files(&|_| Some("/dev/null".into())).is_empty());
    }

    #[test]
    fn an_index_is_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pip.conf");
        let index = |text: &str| {
            fs::write(&file, text).unwrap();
            index_in(&file).unwrap()
        };
        assert_eq!(index("[global]\ntimeout = 60\n"), None);
        let url = "https://me:se%23cret@mirror.example/simple";
        assert_eq!(index(&format!("[global]\nindex-url = {url}\n")).as_deref(), Some(url));
        let both = "[global]\nindex_url = http://a\n[install]\nindex-url = http://b\n";
        assert_eq!(index(both).as_deref(), Some("http://b"));
        assert_eq!(index_in(&folder.path().join("none")).unwrap(), None);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        assert!(index_url(Some("mirror")).is_err());
        assert!(index_url(Some("file:///tmp")).is_err());
        assert!(index_url(Some("http://127.0.0.1:1/simple")).is_ok());
    }
}

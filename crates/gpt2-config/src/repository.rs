//! Checkpoints of the Hugging Face Hub in `weights/`.

use std::path::Path;

use serde::Deserialize;

/// Record beside a fetched checkpoint.
pub const RECORD: &str = "fetched.json";

/// Part of the record that names the origin.
#[derive(Deserialize)]
struct Fetched {
    repository: String,
}

/// Returns the name of the directory for a repository `OWNER/NAME` of the Hub, `OWNER--NAME`;
/// `None` if the text does not follow the Hub's rules for names. They exclude `--`, so that every
/// repository has a directory of its own.
pub fn directory_of(repository: &str) -> Option<String> {
    let is_name = |name: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let ends = ['.', '-'];
        (1..=96).contains(&name.len())
            && name.chars().all(is_plain)
            && !name.starts_with(ends)
            && !name.ends_with(ends)
            && !name.contains("--")
            && !name.contains("..")
    };
    let (owner, name) = repository.split_once('/')?;
    let is_repository = is_name(owner) && is_name(name) && !name.ends_with(".git");
    is_repository.then(|| format!("{owner}--{name}"))
}

/// Returns the repository that the model in a directory was fetched from, if its record names one.
pub fn repository_of(folder: &Path) -> Option<String> {
    let record = storage::read_limited(&folder.join(RECORD)).ok()?;
    let Fetched { repository } = serde_json::from_slice(&record).ok()?;
    directory_of(&repository).map(|_| repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_the_hub() {
        for (repository, directory) in
            [("me/small", "me--small"), ("Me-2/gpt2_x.1", "Me-2--gpt2_x.1")]
        {
            assert_eq!(directory_of(repository).as_deref(), Some(directory));
        }
        let long = format!("me/{}", "x".repeat(97));
        for text in [
            "",
            "small",
            "me/",
            "/small",
            "me/small/",
            "a/b/c",
            "me/..",
            "../small",
            "./small",
            "me/a--b",
            "me/-a",
            "me/a.",
            "me/a.git",
            "me/a b",
            "me\\a",
            "https://hub/me/a",
            &long,
        ] {
            assert_eq!(directory_of(text), None, "{text}");
        }
    }

    #[test]
    fn origin_is_read_from_the_record() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(repository_of(folder.path()), None);
        for (record, repository) in [
            (r#"{"repository": "me/small", "commit": "0"}"#, Some("me/small")),
            // The record of another program.
            (r#"{"version": "2.13.0", "device": "cpu"}"#, None),
            (r#"{"repository": "../../etc"}"#, None),
            ("{", None),
        ] {
            std::fs::write(folder.path().join(RECORD), record).unwrap();
            assert_eq!(repository_of(folder.path()).as_deref(), repository, "{record}");
        }
    }
}

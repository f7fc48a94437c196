//! Name of a repository on the hub, with a revision.

use std::fmt;

/// A repository on the hub at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `OWNER/NAME`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl Source {
    /// Reads `OWNER/NAME[@REVISION]` by the rules of the hub for names. They exclude `--`, so that
    /// every repository has a directory of its own.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
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
        let is_repository = repository.split_once('/').is_some_and(|(owner, name)| {
            is_name(owner) && is_name(name) && !name.ends_with(".git")
        });
        if !is_repository {
            return Err(format!(
                "\"{repository}\" is not a repository of the Hugging Face Hub, expected OWNER/NAME of \
                 letters, digits, \".\", \"_\" and \"-\""
            ));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+/".contains(c);
        // As git's own rules; two dots would be a path on the way to the server.
        if revision.is_empty()
            || revision.starts_with(['.', '/', '-'])
            || revision.contains("..")
            || !revision.chars().all(is_plain)
        {
            return Err(format!(
                "\"{revision}\" is not a revision, expected a branch, a tag or a commit"
            ));
        }
        Ok(Self { repository: repository.to_owned(), revision: revision.to_owned() })
    }

    /// Returns whether a revision is the hash of a commit, which never changes its meaning.
    pub fn is_commit(revision: &str) -> bool {
        revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Returns the name of the directory of the repository in `weights/`.
    pub fn directory(&self) -> String {
        self.repository.replace('/', "--")
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_the_hub() {
        for (text, repository, revision) in [
            ("me/small", "me/small", "main"),
            ("Me-2/gpt2_x.1@v1.0", "Me-2/gpt2_x.1", "v1.0"),
            ("me/small@refs/pr/3", "me/small", "refs/pr/3"),
        ] {
            let source = Source::parse(text).unwrap();
            assert_eq!((&*source.repository, &*source.revision), (repository, revision));
        }
        assert_eq!(Source::parse("me/small").unwrap().directory(), "me--small");
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
            "me/a--b",
            "me/-a",
            "me/a.",
            "me/a.git",
            "me/a b",
            "me\\a",
            "https://hub/me/a",
            &long,
        ] {
            let error = Source::parse(text).unwrap_err();
            assert!(error.contains("expected OWNER/NAME"), "{text}: {error}");
        }
        for text in ["me/a@", "me/a@..", "me/a@a/../b", "me/a@a b", "me/a@-x", "me/a@/x"] {
            let error = Source::parse(text).unwrap_err();
            assert!(error.contains("is not a revision"), "{text}: {error}");
        }
    }
}

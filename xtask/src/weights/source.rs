//! Name of a repository on the hub, with a revision.

use std::fmt;

/// A repository on the hub at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `OWNER/NAME`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// Name of its directory in `weights/`.
    pub directory: String,
}

impl Source {
    /// Reads `OWNER/NAME[@REVISION]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        let Some(directory) = gpt2_config::directory_of(repository) else {
            return Err(format!(
                "\"{repository}\" is not a repository of the Hugging Face Hub, expected OWNER/NAME of \
                 letters, digits, \".\", \"_\" and \"-\""
            ));
        };
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
        let (repository, revision) = (repository.to_owned(), revision.to_owned());
        Ok(Self { repository, revision, directory })
    }

    /// Returns whether a revision is the hash of a commit, which never changes its meaning.
    pub fn is_commit(revision: &str) -> bool {
        revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
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
    fn repository_and_revision_are_separated() {
        for (text, repository, revision) in [
            ("me/small", "me/small", "main"),
            ("Me-2/gpt2_x.1@v1.0", "Me-2/gpt2_x.1", "v1.0"),
            ("me/small@refs/pr/3", "me/small", "refs/pr/3"),
        ] {
            let source = Source::parse(text).unwrap();
            assert_eq!((&*source.repository, &*source.revision), (repository, revision));
        }
        assert_eq!(Source::parse("me/small").unwrap().directory, "me--small");
        for text in ["", "small", "me/small/", "../small", "me/a--b"] {
            let error = Source::parse(text).unwrap_err();
            assert!(error.contains("expected OWNER/NAME"), "{text}: {error}");
        }
        for text in ["me/a@", "me/a@..", "me/a@a/../b", "me/a@a b", "me/a@-x", "me/a@/x"] {
            let error = Source::parse(text).unwrap_err();
            assert!(error.contains("is not a revision"), "{text}: {error}");
        }
    }
}

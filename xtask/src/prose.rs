//! Lint for English text: comments, messages, help texts and documents follow the
//! terminology and style of `CONTRIBUTING.md`. It needs no libtorch and no compilation.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use regex::{Regex, RegexBuilder};

/// Pattern, words that make a match acceptable if one of them is captured, and the problem.
/// A space also matches line breaks and comment markers, `\x20` only a space.
type Rule = (&'static str, &'static [&'static str], &'static str);

const RULES: &[Rule] = &[
    (
        r"(\w+) (?:is|are) no (\w+)",
        &[
            "there", "longer", "more", "less", "larger", "smaller", "later", "worse", "better",
            "faster",
        ],
        "write \"is not a …\"",
    ),
    (r"\b(?:that|those) of\b", &[], "repeat the noun"),
    (r"\b(?:is|are|was|were) said\b", &[], "name who reports it"),
    (r"\bso many\b", &[], "give the number or write \"that many\""),
    (r"\btaken for\b", &[], "write \"predicted as\""),
    (r"\brightly\b", &[], "write \"correctly\""),
    (r"(\w+) (?:is|are) (?-i:none)\b", &["there"], "say what is missing or invalid"),
    (r", for (?:there|it|they) ", &[], "write \"because\""),
    (r"\b(?:go|goes|going|went) on\b", &[], "write \"continue\" or \"resume\""),
    (r"\bdrawn weights?\b", &[], "write \"randomly initialized\""),
    (r"\b(?:training|validation|test) parts?\b", &[], "write \"training set\""),
    (r"\bpart classified\b", &[], "write \"accuracy\""),
    (r"\bfactor on the loss\b", &[], "write \"loss scale\""),
    (r"\bas long as the longest\b", &[], "write \"padded to the longest\""),
    (r"\bmistake of the program\b", &[], "write \"internal error\""),
    (
        r"(?m)^\s*//[/!]\x20(?:What|Which|Whether|How|Where|Of|From)\x20",
        &[],
        "begin with a noun phrase or a third-person verb",
    ),
    (
        r"\b(?:behaviou|colou|favou|honou|labou|neighbou)r(?:s|ed|ing|s')?\b",
        &["behavior", "color", "favor", "honor", "labor", "neighbor"],
        "use American spelling (-or)",
    ),
    (
        r"\b(?:initial|normal|token|optim|quant|real|organ|recogn|serial|summar|random)is(?:e[drs]?|ing|ations?)\b",
        &[],
        "use American spelling (-ize)",
    ),
    (
        r"\b(?:(?:un)?labell(?:ed|ing)|modell(?:ed|ing)|travell(?:ed|ing)|learnt|spelt|misspelt|grey|centre|whilst|artefacts?|judgement|licence|catalogue|programme)\b",
        &[],
        "use American spelling",
    ),
];

/// Text that may match a rule: end of the path, a part of the matching line, and the reason.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("xtask/src/prose.rs", "", "the rules and their tests contain what they match"),
    ("", "that of one large batch", "\"the gradient of one large batch\" would be ambiguous"),
];

const ENDINGS: [&str; 7] = ["rs", "md", "py", "sh", "toml", "c", "snap"];
/// Hidden folders with text of ours, also in files without extension.
const HIDDEN: [&str; 2] = [".ci", ".cargo"];
/// Folders of generated or downloaded files.
const SKIPPED: [&str; 6] = [
    "target",
    "libtorch",
    "runs",
    "tests/fuzz/target",
    "tests/fuzz/corpus",
    "tests/fuzz/artifacts",
];

/// Checks all text of the workspace and prints each problem as `file:line: problem`.
pub fn check(root: &Path) -> Result<()> {
    let rules = compile()?;
    let mut files = Vec::new();
    text_files(root, root, &mut files)?;
    let mut count = 0;
    for path in &files {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {} as text", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        for (line, problem) in problems(&name, &text, &rules) {
            tell!("{name}:{line}: {problem}");
            count += 1;
        }
    }
    if count > 0 {
        bail!("{count} style problems in the text of {} files; see CONTRIBUTING.md", files.len());
    }
    say!("the text of {} files follows the style", files.len());
    Ok(())
}

fn compile() -> Result<Vec<(Regex, &'static Rule)>> {
    let compiled = |rule: &'static Rule| {
        let pattern = rule.0.replace(' ', r"(?:\s+(?:(?://[/!]?|#)\s*)?)");
        Ok((RegexBuilder::new(&pattern).case_insensitive(true).build()?, rule))
    };
    RULES.iter().map(compiled).collect()
}

fn text_files(root: &Path, folder: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    let reading = || format!("cannot list {}", folder.display());
    let mut entries: Vec<_> = fs::read_dir(folder)
        .with_context(reading)?
        .collect::<Result<_, _>>()
        .with_context(reading)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let kind = entry.file_type().with_context(reading)?;
        let is_skipped = (name.starts_with('.') && !HIDDEN.contains(&&*name))
            || SKIPPED.iter().any(|skipped| path == root.join(skipped));
        if kind.is_dir() && !is_skipped {
            text_files(root, &path, files)?;
        } else if kind.is_file() && is_text(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> bool {
    let in_hidden = || path.parent().is_some_and(|it| HIDDEN.iter().any(|name| it.ends_with(name)));
    path.extension().map_or_else(in_hidden, |end| ENDINGS.iter().any(|other| end == *other))
}

/// Line number and description of each problem in a file.
fn problems(file: &str, text: &str, rules: &[(Regex, &'static Rule)]) -> Vec<(usize, String)> {
    // Names of functions are read as sentences.
    let is_function = |line: &str| line.trim_start().starts_with("fn ");
    let spaced = |line: &str| if is_function(line) { line.replace('_', " ") } else { line.into() };
    let text: String = text.split_inclusive('\n').map(spaced).collect();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (pattern, (_, accepted, problem)) in rules {
        for captures in pattern.captures_iter(&text) {
            let Some(whole) = captures.get(0) else { continue };
            // A match may begin with the line breaks before a comment.
            let start = whole.start() + whole.as_str().len() - whole.as_str().trim_start().len();
            let line = text[..start].matches('\n').count();
            let is_doc = whole.as_str().trim_start().starts_with("//");
            let continues = is_doc && line > 0 && is_same_comment(lines[line - 1], lines[line]);
            let mut words = captures.iter().skip(1).flatten().map(|word| word.as_str());
            let is_accepted =
                words.any(|word| accepted.iter().any(|other| word.eq_ignore_ascii_case(other)));
            let is_exception = EXCEPTIONS
                .iter()
                .any(|(path, words, _)| file.ends_with(path) && lines[line].contains(words));
            if !is_accepted && !is_exception && !continues {
                let words = whole.as_str().split_whitespace().collect::<Vec<_>>().join(" ");
                found.push((line + 1, format!("{words:?}: {problem}")));
            }
        }
    }
    found.sort();
    found
}

/// Returns true if a doc comment continues one on the line before.
fn is_same_comment(before: &str, line: &str) -> bool {
    let marker = |line: &str| ["///", "//!"].into_iter().find(|mark| line.trim().starts_with(mark));
    marker(before).is_some_and(|mark| marker(line) == Some(mark) && before.trim() != mark)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn found(text: &str) -> Vec<usize> {
        let lines = problems("a.rs", text, &compile().unwrap());
        lines.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn every_rule_matches_its_example() {
        for text in [
            "x is no file",
            "these are no rows",
            "/// Where the images are",
            "as those of PyTorch",
            "Those of PyTorch",
            "How to begin: Those Of PyTorch",
            "the reason is said here",
            "so many rows",
            "ham taken for spam",
            "rightly classified",
            "a batch of 0 is none",
            "refused, for it is empty",
            "the run goes on",
            "of drawn weights",
            "the training part",
            "part classified",
            "the factor on the loss",
            "as long as the longest",
            "a mistake of the program",
            "/// What a run does",
            "its colour",
            "normalised",
            "labelled",
        ] {
            assert_eq!(found(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn accepted_text_has_no_problems() {
        for text in [
            "it is no longer there",
            "there is no row",
            "there is none",
            "/// Returns the rows.\n/// What follows is kept",
            "if x is not a file",
            "the color",
            "let is_none = x.is_none();",
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn matches_span_lines_and_name_the_first() {
        assert_eq!(found("a\n// x is\n    // no file"), [2]);
        assert_eq!(found("/// a\n///\n/// How it works"), [3]);
    }

    #[test]
    fn function_names_are_read_as_sentences() {
        assert_eq!(found("\n    fn a_row_that_is_no_number() {}"), [2]);
        assert!(found("let is_no_number = 1;").is_empty());
    }

    #[test]
    fn text_of_the_project_is_read_in_every_folder() {
        for path in [".ci/run", ".cargo/config.toml", "docs/data.md", "crates/a/src/error.snap"] {
            assert!(is_text(Path::new(path)), "{path}");
        }
        for path in ["LICENSE-MIT", ".gitignore", "tests/fuzz/seeds/labels/a", "Cargo.lock"] {
            assert!(!is_text(Path::new(path)), "{path}");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut files = Vec::new();
        text_files(root, root, &mut files).unwrap();
        for path in [".ci/run", ".cargo/config.toml", "crates/dataset/src/corpus/mod.rs"] {
            assert!(files.contains(&root.join(path)), "{path}");
        }
    }

    #[test]
    fn at_most_ten_exceptions_with_reasons() {
        assert!(EXCEPTIONS.len() <= 10);
        assert!(EXCEPTIONS.iter().all(|(_, _, reason)| !reason.is_empty()));
    }
}

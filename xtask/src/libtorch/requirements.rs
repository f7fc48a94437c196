//! What a wheel requires (PEP 508), and which file of an index meets it.

use std::{fmt, str::FromStr};

use anyhow::{Result, anyhow, bail};
use pep508_rs::{
    ExtraName, MarkerEnvironment, MarkerEnvironmentBuilder, Requirement, VerbatimUrl, VersionOrUrl,
    pep440_rs::{Version, VersionSpecifiers},
};

use super::index::IndexFile;

/// A package that is needed.
#[derive(Clone, Debug)]
pub struct Needed {
    /// Its normalised name.
    pub name: String,
    /// Versions that will do.
    versions: VersionSpecifiers,
    /// Parts of it that are needed.
    pub extras: Vec<ExtraName>,
}

impl Needed {
    /// Reads a requirement such as `torch==2.13.0`.
    pub fn parse(text: &str) -> Result<Self> {
        parse(text).map(Self::from)
    }
}

impl From<Requirement> for Needed {
    fn from(requirement: Requirement) -> Self {
        let versions = match requirement.version_or_url {
            Some(VersionOrUrl::VersionSpecifier(versions)) => versions,
            _ => VersionSpecifiers::empty(),
        };
        Self { name: requirement.name.to_string(), versions, extras: requirement.extras }
    }
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.versions)
    }
}

fn parse(text: &str) -> Result<Requirement> {
    // `pep508_rs` (0.9) takes numbers of characters for numbers of bytes.
    if !text.is_ascii() {
        bail!("{text:?} is no requirement of a package: it has other letters than ASCII");
    }
    // It also panics at a name, of the package or of a part of it, that does
    // not end in a letter or a digit.
    let head = text.split(|c| "]<>=!~;@(".contains(c)).next().unwrap_or_default();
    let mut words = head.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    if words.any(|word| word.ends_with(['-', '_', '.'])) {
        bail!("{text:?} is no requirement of a package: a name ends in a letter or a digit");
    }
    Requirement::<VerbatimUrl>::from_str(text).map_err(|error| {
        // It repeats what it stumbled over, which may be what a terminal obeys.
        let why = error.message.to_string().replace(char::is_control, "\u{fffd}");
        anyhow!("{text:?} is no requirement of a package: {why}")
    })
}

/// A Python on the one platform that libtorch is fetched for.
fn environment() -> Result<MarkerEnvironment> {
    let builder = MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: "3.12.0",
        os_name: "posix",
        platform_machine: "x86_64",
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: "3.12.0",
        python_version: "3.12",
        sys_platform: "linux",
    };
    builder.try_into().map_err(|error| anyhow!("no environment: {error}"))
}

/// The packages that a wheel with this `METADATA` requires, given the parts of it
/// that are wanted.
pub fn needed(metadata: &str, extras: &[ExtraName]) -> Result<Vec<Needed>> {
    let environment = environment()?;
    let mut all = Vec::new();
    // The headers end at an empty line.
    for line in metadata.lines().take_while(|line| !line.is_empty()) {
        if let Some(text) = line.strip_prefix("Requires-Dist:") {
            let requirement = parse(text.trim())?;
            if requirement.evaluate_markers(&environment, extras) {
                all.push(requirement.into());
            }
        }
    }
    Ok(all)
}

/// The file to take: the newest version that will do, of its wheels for Linux on
/// x86-64 the smallest. (Wheels for different Pythons hold the same libtorch.)
pub fn choose(needed: &Needed, files: Vec<IndexFile>) -> Option<IndexFile> {
    let fitting = files.into_iter().filter_map(|file| {
        let (name, version, platform) = parts(&file.filename)?;
        let fits = name == needed.name
            && needed.versions.contains(&version)
            && (platform == "any" || platform.contains("linux") && platform.contains("x86_64"))
            && !platform.contains("musllinux")
            && !file.yanked;
        fits.then_some((version, file))
    });
    let best = fitting.min_by(|(version_a, a), (version_b, b)| {
        let sizes = a.size.cmp(&b.size);
        version_b.cmp(version_a).then(sizes).then_with(|| a.filename.cmp(&b.filename))
    });
    best.map(|(_, file)| file)
}

/// Name, version and platform of a wheel, as its file name says them.
fn parts(filename: &str) -> Option<(String, Version, String)> {
    // It becomes the name of a file here: it may not lead elsewhere.
    if filename.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_.+!".contains(c)) {
        return None;
    }
    let mut parts = filename.strip_suffix(".whl")?.split('-');
    let name = parts.next()?.to_ascii_lowercase().replace(['_', '.'], "-");
    let version = Version::from_str(parts.next()?).ok()?;
    Some((name, version, parts.next_back()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = "\
Metadata-Version: 2.4
Name: torch
Requires-Dist: filelock
Requires-Dist: cuda-toolkit[cublas,cudart]==13.0.3; platform_system == \"Linux\"
Requires-Dist: nvidia-cudnn-cu13==9.20.0.48; platform_system == \"Linux\"
Requires-Dist: nvidia-extra==1; extra == \"more\"
Requires-Dist: nvidia-windows==1; sys_platform == \"win32\"

Requires-Dist: not-a-header
";

    #[test]
    fn markers_choose_what_is_needed() {
        let names = |extras: &[&str]| -> Vec<String> {
            let extras: Vec<ExtraName> = extras.iter().map(|e| e.parse().unwrap()).collect();
            let all = needed(METADATA, &extras).unwrap();
            all.into_iter().map(|needed| needed.to_string()).collect()
        };
        let plain = ["filelock ", "cuda-toolkit ==13.0.3", "nvidia-cudnn-cu13 ==9.20.0.48"];
        assert_eq!(names(&[]), plain);
        assert_eq!(names(&["more"])[3], "nvidia-extra ==1");
        assert_eq!(needed(METADATA, &[]).unwrap()[1].extras.len(), 2);
    }

    #[test]
    fn what_is_no_requirement_is_said() {
        for text in [
            "",
            "a.",
            "a.==1",
            "a_ ; extra == 'b'",
            "a[b-]",
            "a[b, c. ]==1",
            "a[b.",
            "a>\u{e4}",
            "\u{1b}",
        ] {
            let error = needed(&format!("Requires-Dist: {text}"), &[]).unwrap_err().to_string();
            let said = format!("{text:?} is no requirement of a package: ");
            assert!(error.starts_with(&said) && !error.contains(char::is_control), "{error:?}");
        }
        for text in ["a.b-c_d==1.*", "a[b.c,d]>=1.0.", "a @ https://files.example/-a-.whl"] {
            let _ = needed(&format!("Requires-Dist: {text}"), &[]);
        }
    }

    #[test]
    fn the_newest_fitting_wheel_is_taken_and_of_these_the_smallest() {
        let file = |filename: &str, size, yanked| IndexFile {
            filename: filename.to_owned(),
            url: "https://files.example/x".parse().unwrap(),
            sha256: None,
            size: Some(size),
            yanked,
        };
        let files = vec![
            file("a_b-1.0.9-py3-none-manylinux2014_x86_64.whl", 1, false),
            file("a_b-1.0.10-cp312-cp312-manylinux_2_28_x86_64.whl", 9, false),
            file("a_b-1.0.10-cp311-cp311-manylinux_2_28_x86_64.whl", 8, false),
            file("a_b-1.0.10-cp311-cp311-manylinux_2_28_aarch64.whl", 1, false),
            file("a_b-1.0.10-cp311-cp311-musllinux_1_2_x86_64.whl", 1, false),
            file("a_b-1.0.10-cp311-cp311-win_amd64.whl", 1, false),
            file("a_b-1.0.11-py3-none-any.whl", 1, true),
            file("a_b-1.1-py3-none-any.whl", 1, false),
            file("a_b-1.0.12.tar.gz", 1, false),
            file("a_b-1.0.12-x/../../evil-linux_x86_64.whl", 1, false),
            file("a_b-1.0.12-\u{1b}[2J-py3-none-any.whl", 1, false),
            file("other-1.0.12-py3-none-any.whl", 1, false),
        ];
        let chosen = choose(&Needed::parse("A.B==1.0.*").unwrap(), files.clone()).unwrap();
        assert_eq!(chosen.filename, "a_b-1.0.10-cp311-cp311-manylinux_2_28_x86_64.whl");
        assert!(choose(&Needed::parse("a-b==3").unwrap(), files).is_none());
    }
}

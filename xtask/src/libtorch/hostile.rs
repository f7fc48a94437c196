//! What an index, a wheel and a file of pip say is not believed: whatever it is,
//! reading it ends in an error or in something that is safe to be shown to people and
//! to be joined to a folder.

use std::{
    fs,
    path::{Component, Path},
};

use proptest::{collection::vec, prelude::*, sample::Index as Place};
use url::Url;

use super::{
    index::{IndexFile, from_html, from_json},
    pip_config::index_in,
    requirements::{Needed, choose, needed},
};
use crate::net::address;

const JSON: &str = r#"{"meta": {"api-version": "1.1"}, "name": "torch", "files": [
    {"filename": "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl",
     "url": "../../torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl",
     "hashes": {"sha256": "abababababababababababababababababababababababababababababababab"},
     "size": 5, "yanked": false},
    {"filename": "torch-2.13.0.tar.gz", "url": "https://me:hush@files.example/a?sig=hush#b",
     "hashes": {}, "yanked": "broken"}]}"#;

const HTML: &str = r#"<!DOCTYPE html><html><body><h1>Links for torch</h1>
    <a href="../../torch-2.13.0-py3-none-any.whl#sha256=abababababababababababababababababababab"
       data-requires-python="&gt;=3.10">torch-2.13.0-py3-none-any.whl</a><br/>
    <A data-yanked="" HREF='https://me:hush@files.example/a.whl?sig=hush&amp;b'> a-1.whl </A>
    </body></html>"#;

const METADATA: &str = "\
Metadata-Version: 2.4
Name: torch
Requires-Dist: filelock>=3.10
Requires-Dist: cuda-toolkit[cublas,cudart]==13.0.3; platform_system == \"Linux\"
Requires-Dist: nvidia-extra===1!2.0.post1+a; extra == \"more\" and python_version >= \"3.9\"
Requires-Dist: elsewhere @ https://me:hush@files.example/a.whl ; sys_platform != \"win32\"

A description.
";

const PIP: &str = "\
[global]
timeout = 60
index-url = https://me:hush@mirror.example/simple
[install]
index_url: http://mirror.example/simple
; a comment
";

/// A text with some parts of it replaced: by anything, or by another part.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    let parts: Vec<char> = text.chars().collect();
    let change = (
        any::<Place>(),
        0usize..30,
        prop_oneof![
            any::<String>(),
            "[\\[\\]{}<>\"'#&=;:@/.!+* ,\\\\\\-\u{0}-\u{1f}0-9]{0,8}",
            (any::<Place>(), 0usize..30).prop_map(move |(place, length)| {
                let chars: Vec<char> = text.chars().collect();
                let from = place.index(chars.len());
                chars[from..chars.len().min(from + length)].iter().collect()
            }),
        ],
    );
    vec(change, 1..5).prop_map(move |changes| {
        let mut chars = parts.clone();
        for (place, length, new) in changes {
            let from = place.index(chars.len() + 1);
            let to = chars.len().min(from + length);
            chars.splice(from..to, new.chars());
        }
        chars.into_iter().collect()
    })
}

fn any_text() -> impl Strategy<Value = String> {
    vec(any::<u8>(), 0..300).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// File names that are nearly those of wheels.
fn file_name() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "torch-2\\.13\\.0-.{0,20}-(any|manylinux_2_28_x86_64)\\.whl",
        "(torch|\\.\\.|/|C:|\\\\){1,3}-[0-9.!+a-z]{0,8}-py3-none-(any|linux_x86_64|../x86_64_linux)\\.whl",
        damaged("torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl"),
    ]
}

/// Whether a text changes nothing but the place that it is written to.
fn can_be_shown(text: &str) -> bool {
    !text.contains(char::is_control)
}

fn is_safe_url(url: &Url) -> Result<(), TestCaseError> {
    let shown = address::shown(url);
    prop_assert!(can_be_shown(&shown) && shown.trim_end_matches('…').is_ascii(), "{shown:?}");
    let again: Url = shown.parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
    let is_bare = again.username().is_empty() && again.password().is_none();
    prop_assert!(is_bare && matches!(again.query(), None | Some("%E2%80%A6")), "{shown}");
    Ok(())
}

/// Demands it of what was read of a page, and of the file that is chosen of it.
fn is_safe(files: Vec<IndexFile>) -> Result<(), TestCaseError> {
    for file in &files {
        is_safe_url(&file.url)?;
        let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        let is_sum = |sum: &String| sum.len() == 64 && sum.chars().all(is_hex);
        prop_assert!(file.sha256.as_ref().is_none_or(is_sum), "{:?}", file.sha256);
    }
    let wanted = |text| Needed::parse(text).map_err(|error| TestCaseError::fail(error.to_string()));
    for needed in [wanted("torch==2.13.0")?, wanted("torch")?] {
        if let Some(file) = choose(&needed, files.clone()) {
            let name = Path::new(&file.filename);
            let parts: Vec<Component<'_>> = name.components().collect();
            let is_one = matches!(parts[..], [Component::Normal(part)] if part == name.as_os_str());
            prop_assert!(is_one && !file.filename.contains('\\'), "{name:?}");
            prop_assert!(can_be_shown(&file.filename) && file.filename.is_ascii(), "{name:?}");
        }
    }
    Ok(())
}

fn read(page: &str) -> Result<(), TestCaseError> {
    let base: Url = "https://index.example/simple/torch/".parse().unwrap();
    for files in [from_json(page, &base), from_html(page, &base)].into_iter().flatten() {
        is_safe(files)?;
    }
    Ok(())
}

fn requires(metadata: &str) -> Result<(), TestCaseError> {
    match needed(metadata, &["more".parse().unwrap()]) {
        Ok(all) => {
            for needed in all {
                // It becomes a part of an address.
                let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
                prop_assert!(needed.name.chars().all(is_plain), "{}", needed.name);
                prop_assert!(can_be_shown(&needed.to_string()), "{needed}");
            }
        }
        Err(error) => prop_assert!(can_be_shown(&format!("{error:#}")), "{error:#}"),
    }
    Ok(())
}

fn configures(bytes: &[u8]) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pip.conf");
    fs::write(&file, bytes).unwrap();
    match index_in(&file).map(|text| text.map(|text| address::parse(&text, "the index"))) {
        Ok(Some(Ok(url))) => is_safe_url(&url)?,
        Ok(Some(Err(error))) | Err(error) => {
            let said = format!("{error:#}");
            prop_assert!(can_be_shown(&said) && !said.contains("hush"), "{said:?}");
        }
        Ok(None) => {}
    }
    Ok(())
}

#[test]
fn what_is_damaged_below_is_whole_here() {
    let base = "https://index.example/simple/torch/".parse().unwrap();
    assert_eq!(from_json(JSON, &base).unwrap().len(), 2);
    assert_eq!(from_html(HTML, &base).unwrap().len(), 2);
    assert_eq!(needed(METADATA, &["more".parse().unwrap()]).unwrap().len(), 4);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pip.conf"), PIP).unwrap();
    let index = index_in(&folder.path().join("pip.conf")).unwrap();
    assert_eq!(index.as_deref(), Some("http://mirror.example/simple"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_page_is_an_error_or_safe(page in any_text()) {
        read(&page)?;
    }

    #[test]
    fn a_damaged_page_is_an_error_or_safe(json in damaged(JSON), html in damaged(HTML)) {
        read(&json)?;
        read(&html)?;
    }

    #[test]
    fn any_address_and_name_of_a_page_are_an_error_or_safe(url: String, name in file_name()) {
        let json = serde_json::json!({"files": [{"filename": name, "url": url, "hashes": {}}]});
        read(&json.to_string())?;
        read(&format!("<a href=\"{url}\">{name}</a>"))?;
    }

    #[test]
    fn any_metadata_is_an_error_or_safe(text in any_text(), line: String, more in damaged(METADATA)) {
        requires(&text)?;
        requires(&format!("Requires-Dist: {line}\n"))?;
        requires(&more)?;
    }

    #[test]
    fn any_file_name_is_passed_over_or_safe(name in file_name(), size: Option<u64>) {
        let url = "https://files.example/a".parse().unwrap();
        is_safe(vec![IndexFile { filename: name, url, sha256: None, size, yanked: false }])?;
    }

    #[test]
    fn any_configuration_of_pip_is_an_error_or_safe(
        bytes in vec(any::<u8>(), 0..300),
        text in damaged(PIP),
        value: String,
    ) {
        configures(&bytes)?;
        configures(text.as_bytes())?;
        configures(format!("[global]\nindex-url = {value}\n").as_bytes())?;
    }
}

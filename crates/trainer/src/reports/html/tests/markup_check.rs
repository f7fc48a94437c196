//! Strict parser of pages: every element is closed, in order, and every attribute is quoted.

use std::collections::HashSet;

/// Elements without an end tag.
const VOID: [&str; 3] = ["meta", "br", "link"];

/// Parsed page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Names of all elements, in order.
    pub elements: Vec<String>,
    /// Names of all attributes.
    pub attributes: HashSet<String>,
    /// Values of all `id`s, in order.
    pub ids: Vec<String>,
}

/// Parses a page or returns its first defect.
pub(super) fn parse(page: &str) -> Result<Page, String> {
    let (mut found, mut open) = (Page::default(), Vec::<String>::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    while let Some((text, after)) = rest.split_once('<') {
        if text.contains('>') {
            return Err(format!("a lone > in {text:?}"));
        }
        let (tag, after) = after.split_once('>').ok_or("a tag without an end")?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            let expected = open.pop();
            if expected.as_deref() != Some(name) {
                return Err(format!("</{name}> where {expected:?} is open"));
            }
            continue;
        }
        let (tag, is_closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if !name.chars().all(|char| char.is_ascii_alphanumeric()) {
            return Err(format!("<{tag}> is not a tag"));
        }
        found.elements.push(name.to_owned());
        read_attributes(attributes, &mut found)?;
        if !is_closed && !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    if open.is_empty() { Ok(found) } else { Err(format!("{open:?} are not closed")) }
}

fn read_attributes(mut rest: &str, found: &mut Page) -> Result<(), String> {
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or(format!("{rest:?}"))?;
        if name.contains([' ', '"']) {
            return Err(format!("attribute {name:?}"));
        }
        let (value, after) = after.split_once('"').ok_or(format!("{name} without an end"))?;
        found.attributes.insert(name.to_owned());
        if name == "id" {
            found.ids.push(value.to_owned());
        }
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    Ok(())
}

#[test]
fn defects_are_found() {
    for page in [
        "<p></p>",
        "<!DOCTYPE html><p>",
        "<!DOCTYPE html><p><b></p></b>",
        "<!DOCTYPE html><p a=b></p>",
        "<!DOCTYPE html><p>1 > 0</p>",
        "<!DOCTYPE html><p <b></p>",
    ] {
        assert!(parse(page).is_err(), "{page}");
    }
    let page = parse("<!DOCTYPE html><p id=\"a\" b=\"\"><br>text<b/></p>").unwrap();
    assert_eq!(
        (page.elements, page.ids),
        (vec!["p".into(), "br".into(), "b".into()], vec!["a".into()])
    );
}

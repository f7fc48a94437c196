//! Page around the results of an evaluation: title, facts, headline and the frame of tables.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::text::clean;

const STYLE: &str = include_str!("style.css");
/// Forbids to fetch or run anything, whatever the texts contain.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Renders a page. `facts` are names and values shown at the top, of which the first one is in the title;
/// without facts the title names the `kind` of model.
pub(super) fn page(kind: &str, facts: &[(String, String)], results: &Markup) -> String {
    let title = match facts.first() {
        Some((_, value)) => format!("Evaluation of {}", clean(value)),
        None => format!("Evaluation of {kind}"),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    @if !facts.is_empty() { (self::facts(facts)) }
                    (results)
                }
            }
        }
    };
    page.into_string()
}

fn facts(facts: &[(String, String)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts {
                dt { (clean(name)) }
                dd dir="auto" { (clean(value)) }
            }
        }
    }
}

/// Metric of the headline.
pub(super) struct Metric {
    pub name: &'static str,
    pub value: String,
    /// Remarks below the name.
    pub more: Vec<String>,
}

/// Renders the overall metrics.
pub(super) fn headline(metrics: &[Metric]) -> Markup {
    html! {
        dl.headline {
            @for Metric { name, value, more } in metrics {
                div {
                    dt { (name) }
                    dd { (value) }
                    @for more in more { dd.more { (more) } }
                }
            }
        }
    }
}

/// Makes a table scrollable by keyboard if it is wider than the page.
pub(super) fn wide(name: &str, table: &Markup) -> Markup {
    html! { div.wide role="region" tabindex="0" aria-label=(name) { (table) } }
}

/// Table head.
pub(super) fn head(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}

//! Snapshots of error messages.

/// Joins the messages of each type, under its name. Every message is a sentence without a final
/// period and short enough to be read.
pub fn join(sections: &[(&str, String)]) -> String {
    for line in sections.iter().flat_map(|(_, messages)| messages.lines()) {
        assert!(line.chars().count() < 400 && !line.ends_with('.'), "{line}");
    }
    let text = |(name, messages): &(&str, String)| format!("{name}\n\n{messages}\n");
    sections.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Renders an error of every variant, one line each. The arms are matched against each other
/// without a wildcard, so that a new variant does not compile before it has an example.
/// Messages of other crates (`elsewhere`) are in their snapshots.
#[macro_export]
macro_rules! messages {
    (elsewhere { $($elsewhere:pat,)* } $($pattern:pat => $example:expr,)+) => {{
        let is_covered = |error: &_| match error {
            $($pattern => true,)+
            $($elsewhere => false,)*
        };
        let mut lines = Vec::new();
        $({
            let example = $example;
            assert!(is_covered(&example) && matches!(example, $pattern));
            lines.push(example.to_string());
        })+
        lines.sort();
        lines.join("\n")
    }};
    ($($pattern:pat => $example:expr,)+) => {
        $crate::messages! { elsewhere {} $($pattern => $example,)+ }
    };
}

/// Compares the messages of each type, under its name, with the snapshot of the crate
/// (`src/snapshots/error_messages.snap`). For `src/error/tests.rs` of a crate with insta.
#[macro_export]
macro_rules! assert_messages {
    ($($name:literal => $messages:expr,)+) => {
        insta::with_settings!(
            {snapshot_path => "../snapshots", prepend_module_to_snapshot => false},
            {
                let messages = $crate::messages::join(&[$(($name, $messages)),+]);
                insta::assert_snapshot!("error_messages", messages);
            }
        );
    };
}

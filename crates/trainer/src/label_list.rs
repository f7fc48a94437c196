//! Labels in messages.

/// Most labels in a message.
const LISTED: usize = 10;
/// Longest label in a message, in characters.
const LONGEST_LABEL: usize = 40;

/// Lists labels in a message of bounded length.
pub(crate) fn quoted<S: AsRef<str>>(labels: &[S]) -> String {
    let quote = |label: &S| match label.as_ref().char_indices().nth(LONGEST_LABEL) {
        Some((end, _)) => format!("{:?}", format!("{}…", &label.as_ref()[..end])),
        None => format!("{:?}", label.as_ref()),
    };
    let mut listed = labels.iter().take(LISTED).map(quote).collect::<Vec<_>>().join(", ");
    if labels.len() > LISTED {
        listed += &format!(" and {} more", labels.len() - LISTED);
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded() {
        assert_eq!(quoted(&["ham", "spam"]), "\"ham\", \"spam\"");
        let many: Vec<String> = (0..3000).map(|_| "é".repeat(10_000)).collect();
        let listed = quoted(&many);
        assert!(listed.len() < 1200 && listed.ends_with(" and 2990 more"), "{listed}");
    }
}

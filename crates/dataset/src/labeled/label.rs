//! Spelling, order and lookup of labels, the same for every reader and command.

use std::collections::{BTreeMap, HashMap};

use unicode_normalization::UnicodeNormalization;

/// Numbers from here on are not exact in a float, so that their digits would be made up.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// Normalizes the spelling of a label: without white space around it, in Unicode NFC,
/// `true` and `false` in lower case. The result is empty for white space, a missing label.
///
/// ```
/// assert_eq!(dataset::normalize_label(" spam\t"), "spam");
/// assert_eq!(dataset::normalize_label("cafe\u{301}"), "café");
/// assert_eq!(dataset::normalize_label("True"), "true");
/// ```
pub fn normalize_label(label: &str) -> String {
    let mut label: String = label.trim().nfc().collect();
    if ["true", "false"].iter().any(|boolean| label.eq_ignore_ascii_case(boolean)) {
        label.make_ascii_lowercase();
    }
    label
}

/// Spells every label as an integer (`0.0` and `0e0` as `0`), if all of them are whole
/// numbers. Integers keep their spelling, because `007` may be a code.
pub(crate) fn spell_whole_numbers<'a>(labels: impl Iterator<Item = &'a mut String>) {
    let mut numbers = Vec::new();
    for label in labels {
        let Some(number) = whole_number(label) else { return };
        if label.contains(['.', 'e', 'E']) {
            numbers.push((label, number));
        }
    }
    for (label, number) in numbers {
        *label = number.to_string();
    }
}

/// Sorts labels: by value if all of them are whole numbers, otherwise alphabetically.
pub(crate) fn sort(labels: &mut [String]) {
    let are_numbers = labels.iter().all(|label| whole_number(label).is_some());
    labels.sort_by_cached_key(|label| (whole_number(label).filter(|_| are_numbers), label.clone()));
}

/// Returns the value of a whole number: `7`, `+7`, `7.0`, `7e0`.
fn whole_number(label: &str) -> Option<i128> {
    if let Ok(number) = label.parse() {
        return Some(number);
    }
    let is_decimal = label.chars().all(|char| char.is_ascii_digit() || "+-.eE".contains(char));
    let number: f64 = if is_decimal { label.parse().ok()? } else { return None };
    (number.fract() == 0.0 && number.abs() < LARGEST_EXACT).then_some(number as i128)
}

/// Classes by label, however the label is spelled.
///
/// ```
/// let classes = dataset::LabelIndex::new(&["0", "1"]);
/// assert_eq!(classes.class(" 1.0"), Some(1));
/// assert_eq!(classes.class("2"), None);
/// ```
#[derive(Clone, Debug)]
pub struct LabelIndex {
    by_label: HashMap<String, usize>,
    /// If all labels are whole numbers.
    by_number: Option<HashMap<i128, usize>>,
}

impl LabelIndex {
    /// Creates the index of labels in the order of their classes.
    pub fn new<S: AsRef<str>>(labels: &[S]) -> Self {
        let labels = || labels.iter().map(AsRef::as_ref).zip(0..);
        let mut by_label = HashMap::new();
        for (label, class) in labels() {
            by_label.entry(normalize_label(label)).or_insert(class);
        }
        // An exact spelling wins over one that is only normalized to the same.
        by_label.extend(labels().map(|(label, class)| (label.to_owned(), class)));
        let mut by_number = Some(HashMap::new());
        for (label, class) in labels() {
            match (&mut by_number, whole_number(label.trim())) {
                (Some(numbers), Some(number)) => {
                    numbers.entry(number).or_insert(class);
                }
                _ => by_number = None,
            }
        }
        Self { by_label, by_number }
    }

    /// Returns the class of a label; `None` if it is unknown.
    pub fn class(&self, label: &str) -> Option<usize> {
        if let Some(&class) = self.by_label.get(label) {
            return Some(class);
        }
        let label = normalize_label(label);
        let by_number = || self.by_number.as_ref()?.get(&whole_number(&label)?);
        self.by_label.get(&label).or_else(by_number).copied()
    }
}

/// Returns the groups of different labels that a person would read as the same: they
/// differ only in capitals, in white space, in Unicode compatibility (`ＡＢ` and `AB`), or
/// are the same number.
pub(crate) fn alike(labels: &[String]) -> Vec<Vec<String>> {
    let are_numbers = labels.iter().all(|label| whole_number(label).is_some());
    let key = |label: &String| match whole_number(label).filter(|_| are_numbers) {
        Some(number) => number.to_string(),
        None => {
            let folded: String = label.nfkc().flat_map(char::to_lowercase).nfkc().collect();
            folded.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    };
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for label in labels {
        groups.entry(key(label)).or_default().push(label.clone());
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spelled(labels: &[&str]) -> Vec<String> {
        let mut labels: Vec<String> = labels.iter().map(|label| normalize_label(label)).collect();
        spell_whole_numbers(labels.iter_mut());
        labels
    }

    #[test]
    fn labels_are_trimmed_and_composed() {
        for label in ["spam", " spam", "spam\t", "\u{a0}spam\u{3000}", "spam\r"] {
            assert_eq!(normalize_label(label), "spam", "{label:?}");
        }
        assert_eq!(normalize_label("Caf\u{65}\u{301} "), "Caf\u{e9}");
        assert_eq!(normalize_label("not  spam"), "not  spam", "white space within is kept");
        for label in ["", " ", "\t\u{a0}"] {
            assert_eq!(normalize_label(label), "", "{label:?}");
        }
    }

    #[test]
    fn booleans_are_lower_case() {
        assert_eq!(spelled(&["True", "FALSE", "true"]), ["true", "false", "true"]);
        assert_eq!(spelled(&["Truey", "T"]), ["Truey", "T"]);
    }

    #[test]
    fn whole_floats_are_integers_where_all_labels_are_whole() {
        assert_eq!(spelled(&["0.0", "1.0", "-2.", "3e0", "1E2"]), ["0", "1", "-2", "3", "100"]);
        assert_eq!(spelled(&["-0.0", "1"]), ["0", "1"]);
        assert_eq!(spelled(&["007", "1.0"]), ["007", "1"], "integers keep their spelling");
        for labels in [["0.0", "1.5"], ["1.0", "none"], ["1.0", "inf"], ["1.0", "1e300"]] {
            assert_eq!(spelled(&labels), labels);
        }
    }

    #[test]
    fn whole_numbers_are_sorted_by_value() {
        let sorted = |labels: &[&str]| {
            let mut labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
            sort(&mut labels);
            labels
        };
        assert_eq!(sorted(&["10", "2", "-1", "0"]), ["-1", "0", "2", "10"]);
        assert_eq!(sorted(&["10", "2", "b"]), ["10", "2", "b"]);
        assert_eq!(sorted(&["01", "1", "0"]), ["0", "01", "1"]);
        let large = ["9".repeat(38), "1".repeat(40)];
        assert_eq!(sorted(&[&large[0], &large[1]]), [&*large[1], &*large[0]], "not a number");
    }

    #[test]
    fn labels_are_found_however_they_are_spelled() {
        let numbers = LabelIndex::new(&["0", "1", "10"]);
        for (label, class) in [("0", 0), (" 0.0", 0), ("1e0", 1), ("10.00", 2), ("010", 2)] {
            assert_eq!(numbers.class(label), Some(class), "{label}");
        }
        assert_eq!((numbers.class("2"), numbers.class("x")), (None, None));
        let words = LabelIndex::new(&["True", "caf\u{e9}", "1"]);
        assert_eq!(words.class("TRUE"), Some(0));
        assert_eq!(words.class("cafe\u{301} "), Some(1));
        assert_eq!(words.class("1.0"), None, "not all labels are numbers");
        let similar = LabelIndex::new(&["spam", " spam"]);
        assert_eq!((similar.class(" spam"), similar.class("spam ")), (Some(1), Some(0)));
    }

    #[test]
    fn labels_that_look_the_same_are_grouped() {
        let of = |labels: &[&str]| {
            alike(&labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["Spam", "ham", "spam"]), [["Spam", "spam"]]);
        assert_eq!(of(&["not spam", "not\u{a0}spam", "x"]), [["not spam", "not\u{a0}spam"]]);
        assert_eq!(of(&["AB", "\u{ff21}\u{ff22}"]), [["AB", "\u{ff21}\u{ff22}"]]);
        assert_eq!(of(&["STRASSE", "strasse", "Strasse"]).concat().len(), 3);
        assert_eq!(of(&["1", "01", "2"]), [["1", "01"]]);
        assert!(of(&["ham", "spam", "1.0", "1"]).is_empty());
    }

    proptest! {
        #[test]
        fn normalizing_twice_changes_nothing(label in "\\PC{0,12}") {
            let once = normalize_label(&label);
            prop_assert_eq!(normalize_label(&once), once.clone());
            prop_assert_eq!(LabelIndex::new(std::slice::from_ref(&label)).class(&label), Some(0));
            prop_assert_eq!(LabelIndex::new(&[once]).class(&label), Some(0));
        }

        #[test]
        fn floats_of_integers_are_the_integers(numbers in prop::collection::vec(-9999i64..9999, 1..20)) {
            let floats: Vec<String> = numbers.iter().map(|number| format!("{number}.0")).collect();
            let floats: Vec<&str> = floats.iter().map(String::as_str).collect();
            let expected: Vec<String> = numbers.iter().map(i64::to_string).collect();
            prop_assert_eq!(spelled(&floats), expected);
        }
    }
}

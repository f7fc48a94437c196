//! A report for people: plain text, aligned.

use unicode_width::UnicodeWidthStr;

use super::report::{ClassMetrics, ClassificationReport};

/// Columns of a terminal that a table of labels may fill.
const WIDTH: usize = 100;
/// Confusions that are listed where the matrix would not fit.
const LISTED: usize = 20;
/// What stands for a value that is not defined.
const NONE: &str = "-";

impl ClassificationReport {
    /// A line for every class, averages, accuracy with its interval, and the confusion
    /// matrix. Labels are not cut: where the matrix is too wide for them its columns
    /// have numbers, and where it is too wide altogether the most frequent confusions
    /// are listed instead.
    pub fn to_table(&self) -> String {
        let Self { per_class, macro_average: average, .. } = self;
        let head = ["class", "precision", "recall", "f1", "rows", "ROC AUC"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(per_class.iter().map(class_line));
        lines.push(vec![
            "(mean of classes)".to_owned(),
            number(Some(average.precision)),
            number(Some(average.recall)),
            number(Some(average.f1)),
            self.rows.to_string(),
            number(average.roc_auc),
        ]);
        let mut text = aligned(&lines);
        text += &format!(
            "\naccuracy {} % on {} rows (95 % interval {} to {} %)\n",
            percent(self.accuracy),
            self.rows,
            percent(self.accuracy_interval.low),
            percent(self.accuracy_interval.high),
        );
        text += &format!(
            "mean loss {:.4} nats, weighted f1 {:.4}, calibration error {} %\n\n",
            self.mean_loss,
            self.weighted_f1,
            percent(self.expected_calibration_error),
        );
        text + &self.confusion_table()
    }

    fn confusion_table(&self) -> String {
        let labels: Vec<String> =
            self.per_class.iter().map(|class| one_line(&class.label)).collect();
        let numbers: Vec<String> = (1..=labels.len()).map(|number| format!("[{number}]")).collect();
        let numbered: Vec<String> = numbers
            .iter()
            .zip(&labels)
            .map(|(number, label)| format!("{number} {label}"))
            .collect();
        let plain = self.matrix(&labels, &labels);
        if width(&plain) <= WIDTH {
            return format!("rows: the true class, columns: what it was taken for\n{plain}");
        }
        let short = self.matrix(&numbered, &numbers);
        // The labels of rows do not count here: they are as long as they are.
        if width(&self.matrix(&numbers, &numbers)) <= WIDTH {
            return format!("rows: the true class, columns: what it was taken for\n{short}");
        }
        self.most_frequent_confusions(&labels)
    }

    fn matrix(&self, rows: &[String], columns: &[String]) -> String {
        let mut lines = vec![[String::new()].iter().chain(columns).cloned().collect::<Vec<_>>()];
        for (label, counts) in rows.iter().zip(&self.confusion) {
            let counts = counts.iter().map(u64::to_string);
            lines.push(std::iter::once(label.clone()).chain(counts).collect());
        }
        aligned(&lines)
    }

    fn most_frequent_confusions(&self, labels: &[String]) -> String {
        let mut pairs = Vec::new();
        for (of, counts) in self.confusion.iter().enumerate() {
            for (taken_for, &count) in counts.iter().enumerate() {
                if of != taken_for && count > 0 {
                    pairs.push((count, of, taken_for));
                }
            }
        }
        if pairs.is_empty() {
            return "no class was taken for another\n".to_owned();
        }
        // Of equals the first in the matrix is the first here.
        pairs.sort_by_key(|&(count, ..)| std::cmp::Reverse(count));
        let more = pairs.len().saturating_sub(LISTED);
        let mut lines = vec![["true class", "taken for", "rows"].map(str::to_owned).to_vec()];
        for &(count, of, taken_for) in pairs.iter().take(LISTED) {
            lines.push(vec![labels[of].clone(), labels[taken_for].clone(), count.to_string()]);
        }
        let mut text = format!("most frequent confusions\n{}", aligned(&lines));
        if more > 0 {
            text += &format!("and {more} more pairs of classes\n");
        }
        text
    }
}

fn class_line(class: &ClassMetrics) -> Vec<String> {
    vec![
        one_line(&class.label),
        number(class.precision),
        number(class.recall),
        number(class.f1),
        class.support.to_string(),
        number(class.roc_auc),
    ]
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.4}"))
}

fn percent(part: f64) -> String {
    format!("{:.2}", 100.0 * part)
}

/// A label as it can stand in a table: line breaks and other control characters
/// would break it, or the terminal.
fn one_line(label: &str) -> String {
    label.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// Lines of equally many cells as columns, two spaces apart, the first of them
/// aligned to the left and numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().map(|line| line[column].width()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let mut shown = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let room = " ".repeat(width - cell.width());
            match column {
                0 => shown += &format!("{cell}{room}"),
                _ => shown += &format!("  {room}{cell}"),
            }
        }
        text += shown.trim_end();
        text.push('\n');
    }
    text
}

/// Columns that the widest line takes.
fn width(text: &str) -> usize {
    text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Classification;

    /// A report of classes with these labels, each row `(true, predicted)`.
    fn report(labels: &[String], rows: &[(usize, usize)]) -> ClassificationReport {
        let mut seen = Classification::new(labels.iter().cloned()).unwrap();
        for &(class, predicted) in rows {
            let rest = 0.25 / (labels.len() - 1) as f64;
            let mut probabilities = vec![rest; labels.len()];
            probabilities[predicted] = 0.75;
            seen.push(class, &probabilities).unwrap();
        }
        seen.report().unwrap()
    }

    fn names(count: usize, length: usize) -> Vec<String> {
        (0..count).map(|class| format!("{class:-<length$}")).collect()
    }

    #[test]
    fn a_small_table_in_full() {
        let labels = ["ham", "spam", "不明"].map(str::to_owned);
        let report = report(&labels, &[(0, 0), (0, 0), (0, 1), (1, 1)]);
        let expected = "\
class              precision  recall      f1  rows  ROC AUC
ham                   1.0000  0.6667  0.8000     3   0.8333
spam                  0.5000  1.0000  0.6667     1   0.8333
不明                       -       -       -     0        -
(mean of classes)     0.5000  0.5556  0.4889     4   0.8333

accuracy 75.00 % on 4 rows (95 % interval 30.06 to 95.44 %)
mean loss 0.7356 nats, weighted f1 0.7667, calibration error 0.00 %

rows: the true class, columns: what it was taken for
      ham  spam  不明
ham     2     1     0
spam    0     1     0
不明    0     0     0
";
        assert_eq!(report.to_table(), expected);
    }

    #[test]
    fn columns_are_numbered_where_labels_are_long() {
        let labels = names(4, 40);
        let table = report(&labels, &[(0, 0), (3, 1)]).to_table();
        let rows: Vec<&str> = table.lines().rev().take(5).collect();
        assert_eq!(rows[4].split_whitespace().collect::<Vec<_>>(), ["[1]", "[2]", "[3]", "[4]"]);
        let last: Vec<&str> = rows[0].split_whitespace().collect();
        assert_eq!(last, ["[4]", labels[3].as_str(), "0", "1", "0", "0"]);
        assert!(rows[..4].iter().all(|row| row.width() == rows[4].width()), "{table}");
    }

    #[test]
    fn of_many_classes_the_most_frequent_confusions_are_listed() {
        let mut rows = vec![(5, 7), (3, 4), (3, 4), (3, 4)];
        rows.extend((10..40).map(|class| (class, class + 1)));
        let table = report(&names(60, 3), &rows).to_table();
        let end = table.split("most frequent confusions\n").nth(1).unwrap();
        let lines: Vec<&str> = end.lines().collect();
        assert_eq!(lines.len(), 1 + LISTED + 1);
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["3--", "4--", "3"]);
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["5--", "7--", "1"]);
        assert_eq!(lines[1 + LISTED], "and 12 more pairs of classes");
        let table = report(&names(60, 3), &[(5, 5)]).to_table();
        assert!(table.ends_with("no class was taken for another\n"));
    }

    #[test]
    fn a_label_does_not_break_the_table() {
        let labels = ["a\nb\u{1b}[31m".to_owned(), "c".to_owned()];
        let table = report(&labels, &[(0, 0), (1, 1)]).to_table();
        assert!(table.contains("\na b [31m "), "{table}");
    }
}

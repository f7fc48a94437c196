//! Classification report as an aligned plain-text table.

use unicode_width::UnicodeWidthStr;

use super::report::{ClassMetrics, ClassificationReport};

/// Widest confusion matrix in terminal columns.
const WIDTH: usize = 100;
/// Confusions listed if the matrix is too wide.
const LISTED: usize = 20;
/// Heading of the confusion matrix.
const MATRIX_TITLE: &str = "Confusion matrix (rows: true class, columns: predicted class)";
/// Undefined metric.
const UNDEFINED: &str = "-";

impl ClassificationReport {
    /// Returns a line for every class, averages, accuracy with its confidence interval, and
    /// the confusion matrix. If the labels make the matrix too wide, its columns are
    /// numbered; if it is still too wide, the most frequent confusions are listed instead.
    pub fn to_table(&self) -> String {
        let Self { per_class, macro_average: average, .. } = self;
        let head = ["class", "precision", "recall", "F1", "examples", "ROC AUC"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(per_class.iter().map(class_line));
        lines.push(vec![
            "macro average".to_owned(),
            number(Some(average.precision)),
            number(Some(average.recall)),
            number(Some(average.f1)),
            self.examples.to_string(),
            number(average.roc_auc),
        ]);
        let mut text = aligned(&lines);
        if let Some(note) = self.absent_classes() {
            text += &format!("{}\n", one_line(&note));
        }
        text += &format!(
            "\naccuracy {} % on {} examples (95 % confidence interval {} to {} %)\n",
            percent(self.accuracy),
            self.examples,
            percent(self.accuracy_interval.low),
            percent(self.accuracy_interval.high),
        );
        text += &format!(
            "majority class {}: accuracy {} %\n",
            one_line(&self.majority_class.label),
            percent(self.majority_class.accuracy)
        );
        text += &format!(
            "mean loss {:.4} nats, weighted F1 {:.4}, expected calibration error {} %\n\n",
            self.mean_loss,
            self.weighted_f1,
            percent(self.expected_calibration_error),
        );
        text + &self.confusion_table()
    }

    fn confusion_table(&self) -> String {
        if self.confusion.is_empty() {
            return self.most_frequent_confusions();
        }
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
            return format!("{MATRIX_TITLE}\n{plain}");
        }
        // Row labels are shown in full, whatever their width.
        if width(&self.matrix(&numbers, &numbers)) <= WIDTH {
            return format!("{MATRIX_TITLE}\n{}", self.matrix(&numbered, &numbers));
        }
        self.most_frequent_confusions()
    }

    fn matrix(&self, rows: &[String], columns: &[String]) -> String {
        let mut lines = vec![[String::new()].iter().chain(columns).cloned().collect::<Vec<_>>()];
        for (label, counts) in rows.iter().zip(&self.confusion) {
            let counts = counts.iter().map(u64::to_string);
            lines.push(std::iter::once(label.clone()).chain(counts).collect());
        }
        aligned(&lines)
    }

    fn most_frequent_confusions(&self) -> String {
        if self.confusions.is_empty() {
            return "No misclassified examples\n".to_owned();
        }
        let mut lines =
            vec![["true class", "predicted class", "examples"].map(str::to_owned).to_vec()];
        for confusion in self.confusions.iter().take(LISTED) {
            lines.push(vec![
                one_line(&confusion.label),
                one_line(&confusion.predicted),
                confusion.examples.to_string(),
            ]);
        }
        let mut text = format!("Most frequent confusions\n{}", aligned(&lines));
        let listed: u64 =
            self.confusions.iter().take(LISTED).map(|confusion| confusion.examples).sum();
        if listed < self.misclassified {
            let more = self.misclassified - listed;
            text += &format!("and {more} more misclassified examples of other pairs of classes\n");
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
    value.map_or_else(|| UNDEFINED.to_owned(), |value| format!("{value:.4}"))
}

fn percent(fraction: f64) -> String {
    format!("{:.2}", 100.0 * fraction)
}

/// Replaces control characters of a label, which could break the table or the terminal.
fn one_line(label: &str) -> String {
    label.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// Joins lines of equally many cells to a table; the first column is aligned left, the
/// others right.
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

/// Returns the width of the longest line in terminal columns.
fn width(text: &str) -> usize {
    text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Classification;

    /// Report of classes with these labels; examples are `(true, predicted)`.
    fn report(labels: &[String], examples: &[(usize, usize)]) -> ClassificationReport {
        let mut collected = Classification::new(labels.iter().cloned()).unwrap();
        for &(class, predicted) in examples {
            let rest = 0.25 / (labels.len() - 1) as f64;
            let mut probabilities = vec![rest; labels.len()];
            probabilities[predicted] = 0.75;
            collected.push(class, &probabilities).unwrap();
        }
        collected.report().unwrap()
    }

    fn names(count: usize, length: usize) -> Vec<String> {
        (0..count).map(|class| format!("{class:-<length$}")).collect()
    }

    #[test]
    fn small_table_in_full() {
        let labels = ["ham", "spam", "不明"].map(str::to_owned);
        let report = report(&labels, &[(0, 0), (0, 0), (0, 1), (1, 1)]);
        let expected = "\
class          precision  recall      F1  examples  ROC AUC
ham               1.0000  0.6667  0.8000         3   0.8333
spam              0.5000  1.0000  0.6667         1   0.8333
不明                   -       -       -         0        -
macro average     0.7500  0.8333  0.7333         4   0.8333
macro averages leave out classes absent from the data: \"不明\"

accuracy 75.00 % on 4 examples (95 % confidence interval 30.06 to 95.44 %)
majority class ham: accuracy 75.00 %
mean loss 0.7356 nats, weighted F1 0.7667, expected calibration error 0.00 %

Confusion matrix (rows: true class, columns: predicted class)
      ham  spam  不明
ham     2     1     0
spam    0     1     0
不明    0     0     0
";
        assert_eq!(report.to_table(), expected);
    }

    #[test]
    fn columns_are_numbered_if_labels_are_long() {
        let labels = names(4, 40);
        let table = report(&labels, &[(0, 0), (3, 1)]).to_table();
        let rows: Vec<&str> = table.lines().rev().take(5).collect();
        assert_eq!(rows[4].split_whitespace().collect::<Vec<_>>(), ["[1]", "[2]", "[3]", "[4]"]);
        let last: Vec<&str> = rows[0].split_whitespace().collect();
        assert_eq!(last, ["[4]", labels[3].as_str(), "0", "1", "0", "0"]);
        assert!(rows[..4].iter().all(|row| row.width() == rows[4].width()), "{table}");
    }

    #[test]
    fn most_frequent_confusions_replace_a_wide_matrix() {
        let mut rows = vec![(5, 7), (3, 4), (3, 4), (3, 4)];
        rows.extend((10..40).map(|class| (class, class + 1)));
        let table = report(&names(60, 3), &rows).to_table();
        let end = table.split("Most frequent confusions\n").nth(1).unwrap();
        let lines: Vec<&str> = end.lines().collect();
        assert_eq!(lines.len(), 1 + LISTED + 1);
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["3--", "4--", "3"]);
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["5--", "7--", "1"]);
        assert_eq!(
            lines[1 + LISTED],
            "and 12 more misclassified examples of other pairs of classes"
        );
        let table = report(&names(60, 3), &[(5, 5)]).to_table();
        assert!(table.ends_with("No misclassified examples\n"));
    }

    #[test]
    fn control_characters_of_labels_are_replaced() {
        let labels = ["a\nb\u{1b}[31m".to_owned(), "c".to_owned()];
        let table = report(&labels, &[(0, 0), (1, 1)]).to_table();
        assert!(table.contains("\na b [31m "), "{table}");
    }
}

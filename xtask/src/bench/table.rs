//! Tables of results.

use std::fmt::Write;

use super::results::{Evaluation, Process, Ratio, Results, Training};

/// All results as text.
pub fn text(results: &Results) -> String {
    let mut text = format!(
        "{} rounds of {} steps, {} threads, {}, {}\n",
        results.rounds, results.steps_per_round, results.threads, results.cpu, results.date
    );
    if !results.versions.is_empty() {
        let versions: Vec<String> =
            results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", versions.join(", "));
    }
    for (name, all) in
        [("training", &results.training), ("language model", &results.language_modeling)]
    {
        if !all.is_empty() {
            text += &training(name, all);
        }
    }
    if !results.evaluation.is_empty() {
        text += &inference(&results.evaluation, ["classifying", "s/pass", "messages/s"]);
    }
    if !results.generation.is_empty() {
        text += &inference(&results.generation, ["generating", "s/pass", "prompts/s"]);
    }
    if let Some(roof) = &results.roof {
        let _ = writeln!(text, "\n{}: {:.1} Gflop/s without padding", roof.name, roof.gflops);
        for library in &roof.libraries {
            let _ = writeln!(
                text,
                "  {:.1} % of the {:.1} Gflop/s of {}'s matrix products",
                100.0 * library.share,
                library.roof_gflops,
                library.name
            );
        }
    }
    text
}

fn training(name: &str, all: &[Training]) -> String {
    let rows = all.iter().map(|one| {
        let speeds = [
            format!("{:.1}", one.seconds_per_epoch),
            format!("{:.1}", one.ms_per_step),
            format!("{:.1}", one.tokens_per_second),
        ];
        row(&one.process, speeds, one.ratio)
    });
    comparison([name, "s/epoch", "ms/step"], rows)
}

fn inference(all: &[Evaluation], columns: [&str; 3]) -> String {
    let rows = all.iter().map(|one| {
        let seconds: f64 = one.passes.iter().map(|pass| pass.seconds).sum();
        let speeds = [
            format!("{:.2}", seconds / one.passes.len() as f64),
            format!("{:.1}", one.rows_per_second),
            format!("{:.1}", one.tokens_per_second),
        ];
        row(&one.process, speeds, one.ratio)
    });
    comparison(columns, rows)
}

fn comparison(own: [&str; 3], rows: impl Iterator<Item = Vec<String>>) -> String {
    let names =
        own.into_iter().chain(["tokens/s", "peak MiB", "start s", "relative time: min", "median"]);
    let heading = names.map(str::to_owned).collect();
    aligned(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

fn row(process: &Process, speeds: [String; 3], ratio: Option<Ratio>) -> Vec<String> {
    let ratio = |number: fn(Ratio) -> f64| {
        ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", number(ratio)))
    };
    let mut row = vec![process.name.clone()];
    row.extend(speeds);
    row.push(mebibytes(process.peak_memory_bytes));
    row.push(format!("{:.1}", process.start_seconds));
    row.extend([ratio(|ratio| ratio.min), ratio(|ratio| ratio.median)]);
    row
}

pub fn mebibytes(bytes: Option<u64>) -> String {
    bytes
        .map_or_else(|| "-".to_owned(), |bytes| format!("{:.0}", bytes as f64 / f64::from(1 << 20)))
}

/// Rows under each other: names to the left, numbers to the right. An empty line
/// comes first.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        text.push('\n');
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
    }
    format!("\n{}\n", text.trim_start_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::sample;

    #[test]
    fn results_are_formatted() {
        let expected = "\
2 rounds of 2 steps, 2 threads, A processor, Tue, 24 Nov 2026 14:00:00 GMT
torch 2.13.0

training  s/epoch  ms/step  tokens/s  peak MiB  start s  relative time: min  median
packed       81.2    625.0     320.0      1536      1.5                1.00    1.00
book        178.8   1375.0     145.5         -      2.5                2.00    2.25

classifying   s/pass  messages/s  tokens/s  peak MiB  start s  relative time: min  median
predict         2.00       150.0    4500.0      1536      1.5                1.00    1.00
transformers    6.50        46.2    1384.6      1536      4.5                3.00    3.25

packed: 80.0 Gflop/s without padding
  80.0 % of the 100.0 Gflop/s of mkl's matrix products
  80.0 % of the 100.0 Gflop/s of onednn's matrix products
";
        assert_eq!(text(&sample()), expected);
    }

    #[test]
    fn missing_ratio_is_a_dash() {
        let mut results = sample();
        results.training.remove(0);
        results.training[0].ratio = None;
        results.evaluation.clear();
        results.roof = None;
        let text = text(&results);
        assert!(text.ends_with("-       -\n"), "{text}");
        assert!(!text.contains("classifying"), "{text}");
    }
}

//! Result of a dry run as text.

use indicatif::{DecimalBytes, FormattedDuration, HumanCount};
use storage::terminal_safe;

use std::time::Duration;

use crate::{
    config::layers::to_toml,
    error::Result,
    run::dry_run::{DryRun, Estimate},
    task::statistics::{DataStatistics, SplitStatistics},
};

/// Most classes in the table.
const MOST_CLASSES: usize = 20;
/// Widest label, in characters.
const WIDEST_LABEL: usize = 32;

/// Formats settings, data, parameters, steps and the estimate of a dry run.
pub(crate) fn to_table(found: &DryRun) -> Result<String> {
    let mut text = "Settings (run.toml)\n".to_owned();
    for line in to_toml(&found.settings)?.lines() {
        text += &format!("  {line}\n");
    }
    text += &data_table(&found.data);
    text += &class_table(&found.data.splits);
    let fraction = found.trainable_parameters as f64 / found.total_parameters as f64;
    let DryRun { steps, steps_per_epoch, examples_per_step, runs, .. } = *found;
    text += &format!(
        "\nParameters  {} in the model, {} trainable ({:.2} %)\n",
        HumanCount(found.total_parameters),
        HumanCount(found.trainable_parameters),
        100.0 * fraction,
    );
    text += &format!(
        "Steps       {} of {} examples ({:.2} epochs of {} steps)\n",
        HumanCount(steps as u64),
        HumanCount(examples_per_step as u64),
        steps as f64 / steps_per_epoch.max(1) as f64,
        HumanCount(steps_per_epoch as u64),
    );
    if runs > 1 {
        text += &format!("Runs        {runs}, one for each seed\n");
    }
    Ok(text + &estimate_text(&found.estimate))
}

fn data_table(data: &DataStatistics) -> String {
    let has_lengths = data.splits.iter().any(|split| split.lengths.is_some());
    let mut text = format!("\nData (maximum sequence length {} tokens)\n", data.max_length);
    let head = ["split", if has_lengths { "examples" } else { "documents" }, "tokens"];
    text += &format!("  {:<12}{:>10}{:>14}", head[0], head[1], head[2]);
    if has_lengths {
        for name in ["min", "median", "mean", "p95", "max", "truncated"] {
            text += &format!("{name:>10}");
        }
    }
    text.push('\n');
    for split in &data.splits {
        let [examples, tokens] = [split.examples, split.tokens].map(|n| HumanCount(n as u64));
        let (examples, tokens) = (examples.to_string(), tokens.to_string());
        text += &format!("  {:<12}{examples:>10}{tokens:>14}", split.name);
        if let Some(lengths) = split.lengths {
            text += &format!("{:>10}{:>10}{:>10.1}", lengths.min, lengths.median, lengths.mean);
            text += &format!("{:>10}{:>10}{:>10}", lengths.p95, lengths.max, split.truncated);
        }
        text.push('\n');
    }
    text
}

/// Examples of each class in each split.
fn class_table(splits: &[SplitStatistics]) -> String {
    let Some(first) = splits.first().filter(|split| !split.classes.is_empty()) else {
        return String::new();
    };
    let mut text = format!("\nExamples per class\n  {:<34}", "class");
    for split in splits {
        text += &format!("{:>12}", split.name);
    }
    text.push('\n');
    for (class, counts) in first.classes.iter().enumerate().take(MOST_CLASSES) {
        let label: String = terminal_safe(&counts.label).chars().take(WIDEST_LABEL).collect();
        text += &format!("  {label:<34}");
        for split in splits {
            text += &format!("{:>12}", split.classes.get(class).map_or(0, |class| class.examples));
        }
        text.push('\n');
    }
    if first.classes.len() > MOST_CLASSES {
        text += &format!("  and {} more classes\n", first.classes.len() - MOST_CLASSES);
    }
    text
}

fn estimate_text(estimate: &Estimate) -> String {
    let Estimate { device, threads, measured_steps, seconds_per_step, .. } = estimate;
    let duration = |seconds: f64| FormattedDuration(Duration::from_secs_f64(seconds.max(0.0)));
    let memory = match estimate.peak_memory_bytes {
        Some(bytes) => DecimalBytes(bytes).to_string(),
        None => "unknown on this system".to_owned(),
    };
    let of_device = if device.starts_with("cuda") { ", without the memory of the GPU" } else { "" };
    format!(
        "\nEstimate from {measured_steps} training steps on {device} (CPU threads: {threads}), \
         {seconds_per_step:.3} s each\n\
         Time        {}: loading {}, training {}, evaluations {}\n\
         Memory      {memory} at the peak{of_device}; trainable parameters, \
         gradients and AdamW take {}\n",
        duration(estimate.seconds),
        duration(estimate.loading_seconds),
        duration(estimate.training_seconds),
        duration(estimate.evaluation_seconds),
        DecimalBytes(estimate.training_state_bytes),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::task::statistics::{ClassExamples, TokenLengths};

    fn split(name: &str, classes: usize) -> SplitStatistics {
        let class = |class: usize| ClassExamples { label: format!("class {class}"), examples: 3 };
        SplitStatistics {
            name: name.to_owned(),
            examples: 3 * classes,
            tokens: 12_345,
            classes: (0..classes).map(class).collect(),
            lengths: TokenLengths::of([4, 5, 9]),
            truncated: 1,
        }
    }

    #[test]
    fn table_is_bounded_and_names_every_section() {
        let settings = json!({"lr": 0.1, "model": "pocket"}).as_object().unwrap().clone();
        let found = DryRun {
            settings,
            data: DataStatistics {
                splits: ["training", "validation", "test"].map(|name| split(name, 500)).to_vec(),
                max_length: 9,
            },
            total_parameters: 1000,
            trainable_parameters: 25,
            steps: 130,
            steps_per_epoch: 65,
            examples_per_step: 8,
            runs: 3,
            estimate: Estimate {
                device: "cpu".to_owned(),
                threads: 2,
                measured_steps: 10,
                seconds_per_step: 0.25,
                loading_seconds: 2.0,
                training_seconds: 32.5,
                evaluation_seconds: 3600.0,
                seconds: 3634.5,
                training_state_bytes: 400,
                peak_memory_bytes: Some(1_500_000_000),
            },
        };
        let text = to_table(&found).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        for part in [
            "  lr = 0.1\n",
            "and 480 more classes",
            "25 trainable (2.50 %)",
            "130 of 8 examples (2.00 epochs of 65 steps)",
            "3, one for each seed",
            "01:00:34: loading 00:00:02, training 00:00:32, evaluations 01:00:00",
            "1.50 GB at the peak",
        ] {
            assert!(text.contains(part), "{part:?} is missing: {text}");
        }
    }
}

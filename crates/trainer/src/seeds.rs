//! The same run with several seeds: how much of a result is chance.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint,
    claim::Claim,
    config::RunConfig,
    error::{Error, Result},
    files::write_json,
    loaders::Accuracies,
    observer::Observer,
    report::Report,
    run::{Control, REPORT, run_with},
};

/// The report of several runs that differ in their seed alone: `seeds.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedsReport {
    /// Folder with a folder of results for each seed.
    pub out: PathBuf,
    /// The seeds, in the order of the runs.
    pub seeds: Vec<u32>,
    /// A report for each seed.
    pub runs: Vec<Report>,
    /// The mean of the accuracies after training.
    pub mean: Accuracies,
    /// Their standard deviation (of a sample: divided by the runs less one); not
    /// a number for a single run.
    pub standard_deviation: Accuracies,
}

/// Runs `config` with each seed, into a folder `seed-N` below `config.out`. The
/// split is the same for all ([`RunConfig::split_seed`]). With `control.resume`, runs
/// that are finished are taken as they are, and one that is not goes on.
///
/// # Errors
/// [`Error::Config`] without a seed; whatever a run returns.
pub fn run_seeds(
    config: &RunConfig,
    seeds: &[u32],
    control: &Control,
    observer: &mut dyn Observer,
) -> Result<SeedsReport> {
    if seeds.is_empty() {
        return Err(Error::Config("no seed is given".to_owned()));
    }
    let _claim = Claim::new(&config.out)?;
    let mut runs = Vec::new();
    for &seed in seeds {
        observer.notice(&format!("seed {seed}"));
        let out = config.out.join(format!("seed-{seed}"));
        let finished = out.join(REPORT);
        if control.resume && finished.exists() && checkpoint::list(&out)?.is_empty() {
            runs.push(read_report(&finished)?);
            continue;
        }
        runs.push(run_with(&RunConfig { seed, out, ..config.clone() }, control, observer)?);
    }
    let of = |statistic: fn(&[f64]) -> f64| Accuracies {
        train: statistic(&runs.iter().map(|run| run.accuracy.train).collect::<Vec<_>>()),
        validation: statistic(&runs.iter().map(|run| run.accuracy.validation).collect::<Vec<_>>()),
        test: statistic(&runs.iter().map(|run| run.accuracy.test).collect::<Vec<_>>()),
    };
    let (mean, standard_deviation) = (of(mean), of(standard_deviation));
    let report = SeedsReport {
        out: config.out.clone(),
        seeds: seeds.to_vec(),
        runs,
        mean,
        standard_deviation,
    };
    write_json(&config.out.join("seeds.json"), &report)?;
    Ok(report)
}

fn read_report(path: &Path) -> Result<Report> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::Config(format!("{} cannot be read: {error}; delete it to run again", path.display()))
    };
    let text = fs::read(path).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}

impl SeedsReport {
    /// The accuracies as a table, in per cent.
    pub fn to_table(&self) -> String {
        let line = |name: &str, accuracy: &Accuracies, decimals: usize| {
            let Accuracies { train, validation, test } = accuracy;
            let percent = |value: &f64| format!("{:.decimals$} %", 100.0 * value);
            format!(
                "{name:<10}{:>12}{:>12}{:>12}\n",
                percent(train),
                percent(validation),
                percent(test)
            )
        };
        let mut text = format!("{:<10}{:>12}{:>12}{:>12}\n", "seed", "train", "validation", "test");
        for (seed, run) in self.seeds.iter().zip(&self.runs) {
            text += &line(&seed.to_string(), &run.accuracy, 2);
        }
        text += &line("mean", &self.mean, 2);
        text += &line("sd", &self.standard_deviation, 2);
        text += &format!("\neverything else: {}\n", self.out.display());
        text
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn standard_deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        // numpy.std([2, 4, 4, 4, 5, 5, 7, 9], ddof=1)
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), 5.0);
        assert!((standard_deviation(&values) - 2.138_089_935_299_395).abs() < 1e-12);
        assert!(standard_deviation(&[1.0]).is_nan());
    }
}

//! The same run with several seeds: how much of a result is chance.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gpt2_model::{DeviceChoice, resolve_device};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    config::settings::RunConfig,
    error::{Error, Result},
    reports::run_report::Report,
    run::directory,
    run::files::write_json,
    run::lock::Claim,
    run::phases::{Control, REPORT, device_name, run_with},
    task::loaders::Accuracies,
    training::checkpoint,
    training::observer::Observer,
};

/// Name of the report.
const SEEDS: &str = "seeds.json";

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
    let file = config.out.join(SEEDS);
    if file.exists() && read_json::<SeedsReport>(&file).is_err() {
        return Err(Error::Config(format!(
            "{} is no report of seeds; give --out another folder",
            file.display()
        )));
    }
    // sha256 of the labelled text and of the base, which is large: once for all seeds.
    let mut input: Option<[String; 2]> = None;
    let mut runs = Vec::new();
    for &seed in seeds {
        observer.notice(&format!("seed {seed}"));
        let out = config.out.join(format!("seed-{seed}"));
        let finished = out.join(REPORT);
        if control.resume && finished.exists() && checkpoint::list(&out)?.is_empty() {
            let report = read_report(&finished)?;
            check_settings(&out, &RunConfig { seed, ..config.clone() })?;
            let input = match &mut input {
                Some(input) => input,
                None => input.insert(input_of(config)?),
            };
            check_input(&out, &report, input)?;
            runs.push(report);
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
    write_json(&file, &report)?;
    Ok(report)
}

fn read_report(path: &Path) -> Result<Report> {
    read_json(path).map_err(|error| {
        Error::Config(format!("{} cannot be read: {error}; delete it to run again", path.display()))
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> std::result::Result<T, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// Sums of what the runs of `config` are made from.
fn input_of(config: &RunConfig) -> Result<[String; 2]> {
    let data = config.labelled().source.sha256()?;
    Ok([data, checkpoint::digest_of_model(&config.model, config.random_init)?])
}

/// Refuses to take a finished run for one of this text and base, which it is not.
fn check_input(out: &Path, report: &Report, [data, base]: &[String; 2]) -> Result<()> {
    let was = [&report.data_sha256, &report.model_sha256];
    match checkpoint::changed_input(was, [data, base]) {
        None => Ok(()),
        Some(what) => Err(Error::Config(format!(
            "the run in {} was made with another {what}: its files have changed; put them back, or \
             give --out another folder",
            out.display()
        ))),
    }
}

/// Refuses to take a finished run for one of `config`, which it is not.
fn check_settings(out: &Path, config: &RunConfig) -> Result<()> {
    let Some(was) = run_folder::begun_as(out)? else {
        return Err(Error::Config(format!(
            "{} has a {REPORT}, but no config.json of a run; give --out another folder",
            out.display()
        )));
    };
    // What was left to the run is what it took.
    let choice: DeviceChoice = config.device.parse().map_err(Error::Config)?;
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1);
    let resolved = RunConfig {
        max_length: config.max_length.or(was.max_length),
        threads: config.threads.or(Some(threads)),
        device: device_name(resolve_device(choice)?),
        ..config.clone()
    };
    run_folder::check_begun(out, &resolved)
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

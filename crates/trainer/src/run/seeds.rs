//! Repetition of a run with several seeds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dataset::Tokenizer;
use gpt2_model::{Arithmetic, resolve_device};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tch::Device;

use crate::{
    config::{error::SettingsError, paths, resolve::ResolvedRun, settings::Settings},
    error::Result,
    inference::adapter_digest,
    reports::Report,
    run::{
        directory::{REPORT, begun_as, check_begun},
        error::RunDirectoryError,
        inputs::device_choice,
        lock::DirectoryLock,
        start::{Control, run},
    },
    task::classification::batches::Accuracies,
    training::{
        checkpoint::{self, InputDigests},
        observer::Observer,
    },
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
    /// Loss and perplexity of language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_model: Option<LanguageModelSeeds>,
}

/// Measures of the runs of a language model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageModelSeeds {
    /// Their mean.
    pub mean: ValidationMeasures,
    /// Their standard deviation, as of the accuracies.
    pub standard_deviation: ValidationMeasures,
}

/// Measures on the validation set after training, of the tokens that are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationMeasures {
    /// Mean cross-entropy in nats.
    pub validation_loss: f64,
    /// Perplexity.
    pub validation_perplexity: f64,
}

impl ValidationMeasures {
    /// Measures of a run; `None` of a classifier.
    fn of(report: &Report) -> Option<Self> {
        let report = report.language_model.as_ref()?;
        let (validation_loss, validation_perplexity) =
            (report.validation_loss, report.validation_perplexity);
        Some(Self { validation_loss, validation_perplexity })
    }
}

impl LanguageModelSeeds {
    /// Measures of runs; `None` of classifiers, or without a run.
    fn of(runs: &[Report]) -> Option<Self> {
        let runs = runs.iter().map(ValidationMeasures::of).collect::<Option<Vec<_>>>()?;
        let of = |statistic: fn(&[f64]) -> f64| {
            let values =
                |of: fn(&ValidationMeasures) -> f64| -> Vec<f64> { runs.iter().map(of).collect() };
            ValidationMeasures {
                validation_loss: statistic(&values(|it| it.validation_loss)),
                validation_perplexity: statistic(&values(|it| it.validation_perplexity)),
            }
        };
        (!runs.is_empty())
            .then(|| Self { mean: of(mean), standard_deviation: of(standard_deviation) })
    }
}

/// Repeats a run with each of its seeds (`--seeds`), in a directory `seed-N` below its own.
/// The split is the same for all (`--split-seed`). With `control.resume`, finished runs are
/// kept and an unfinished one resumes. Of several processes, only rank 0 returns complete reports.
///
/// # Errors
/// [`SettingsError::TooFewSeeds`] without a seed; any error of a run.
pub fn run_seeds(
    repeated: &ResolvedRun,
    control: &Control,
    observer: &mut dyn Observer,
) -> Result<SeedsReport> {
    let seeds = &repeated.settings.training.seeds;
    if seeds.is_empty() {
        return Err(SettingsError::TooFewSeeds { seeds: Vec::new() }.into());
    }
    // Only rank 0 of several processes reads and writes the directory.
    let leads = control.group.is_main();
    let _lock = leads.then(|| DirectoryLock::new(&repeated.out)).transpose()?;
    let file = repeated.out.join(SEEDS);
    if leads && file.exists() && read_json::<SeedsReport>(&file).is_err() {
        return Err(RunDirectoryError::ForeignSeedsReport { path: file }.into());
    }
    // The base model is large: once for all seeds.
    let mut inputs: Option<InputDigests> = None;
    let mut runs = Vec::new();
    for &seed in seeds {
        observer.notice(&format!("seed {seed}"));
        let out = with_seed(repeated, seed).out;
        let finished = out.join(REPORT);
        let has_finished = leads && control.resume && finished.exists();
        let has_finished = has_finished && checkpoint::list(&out)?.is_empty();
        if control.group.max(has_finished.into())? > 0 && !leads {
            continue;
        }
        if has_finished {
            let report = read_report(&finished)?;
            check_settings(&out, &with_seed(repeated, seed))?;
            // Randomly initialized weights differ from seed to seed.
            let given = match inputs.take().filter(|_| !repeated.settings.random_init) {
                Some(given) => given,
                None => inputs_of(&with_seed(repeated, seed))?,
            };
            check_inputs(&out, &report, &given)?;
            inputs = Some(given);
            runs.push(report);
            continue;
        }
        runs.push(run(&with_seed(repeated, seed), control, observer)?);
    }
    let of = |statistic: fn(&[f64]) -> f64| Accuracies {
        train: statistic(&runs.iter().map(|run| run.accuracy.train).collect::<Vec<_>>()),
        validation: statistic(&runs.iter().map(|run| run.accuracy.validation).collect::<Vec<_>>()),
        test: runs
            .iter()
            .map(|run| run.accuracy.test)
            .collect::<Option<Vec<_>>>()
            .map(|values| statistic(&values)),
    };
    let (mean, standard_deviation) = (of(mean), of(standard_deviation));
    let report = SeedsReport {
        out: repeated.out.clone(),
        seeds: seeds.to_vec(),
        language_model: LanguageModelSeeds::of(&runs),
        runs,
        mean,
        standard_deviation,
    };
    if leads {
        storage::write_json(&file, &report)?;
    }
    Ok(report)
}

fn read_report(path: &Path) -> Result<Report> {
    read_json(path)
        .map_err(|reason| RunDirectoryError::DamagedReport { path: path.to_owned(), reason }.into())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> std::result::Result<T, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// The run with one of the seeds, in its directory `seed-N`.
pub(crate) fn with_seed(repeated: &ResolvedRun, seed: u32) -> ResolvedRun {
    let mut run = repeated.clone();
    run.settings.training.seed = seed;
    run.settings.training.seeds = Vec::new();
    run.out = repeated.out.join(format!("seed-{seed}"));
    run
}

/// Returns the digests of the inputs of a run.
fn inputs_of(run: &ResolvedRun) -> Result<InputDigests> {
    let Settings { random_init, training, adapter, .. } = &run.settings;
    let seed = random_init.then_some(training.seed.into());
    let base = paths::load(&run.model, seed, Device::Cpu)?;
    let tokenizer = Tokenizer::of_model(&run.model)?;
    Ok(InputDigests {
        data: run.data_sha256(&tokenizer)?,
        base: base.digest()?,
        tokenizer: tokenizer.fingerprint().map(str::to_owned),
        adapter: adapter.adapter.as_deref().map(adapter_digest).transpose()?,
    })
}

/// Refuses a finished run on other inputs.
fn check_inputs(out: &Path, report: &Report, given: &InputDigests) -> Result<()> {
    let Report { data_sha256, base_digest, tokenizer, adapter_digest, .. } = report.clone();
    let was =
        InputDigests { data: data_sha256, base: base_digest, tokenizer, adapter: adapter_digest };
    match was.changed(given) {
        None => Ok(()),
        Some(input) => Err(RunDirectoryError::OtherInput { path: out.to_owned(), input }.into()),
    }
}

/// Refuses a finished run with other settings.
fn check_settings(out: &Path, run: &ResolvedRun) -> Result<()> {
    let Some(was) = begun_as(out)? else {
        return Err(RunDirectoryError::NoSettings { path: out.to_owned() }.into());
    };
    // Settings that were left to the run are those that it chose.
    let mut run = run.clone();
    let Settings { data, machine, .. } = &mut run.settings;
    if let Some(max_length) = was.get("max-length").and_then(serde_json::Value::as_u64) {
        data.max_length.get_or_insert(max_length as usize);
    }
    if let (None, Some(chosen)) = (machine.arithmetic, was.get("arithmetic")) {
        machine.arithmetic = Arithmetic::deserialize(chosen).ok();
    }
    machine.threads.get_or_insert(usize::try_from(tch::get_num_threads()).unwrap_or(1));
    machine.device = device_choice(resolve_device(machine.device)?);
    check_begun(out, &run.repeating().to_layer()?)
}

impl SeedsReport {
    /// The accuracies as a table, in per cent, and loss and perplexity of language models.
    pub fn to_table(&self) -> String {
        let line = |name: &str, accuracy: &Accuracies, measures: Option<ValidationMeasures>| {
            let Accuracies { train, validation, test } = accuracy;
            let percent = |value: &f64| format!("{:.2} %", 100.0 * value);
            let test = test.as_ref().map_or(String::new(), percent);
            let measures = measures.map_or(String::new(), |it| {
                format!("{:>12.4}{:>12.2}", it.validation_loss, it.validation_perplexity)
            });
            format!(
                "{name:<10}{:>12}{:>12}{:>12}{measures}\n",
                percent(train),
                percent(validation),
                test
            )
        };
        let of_all = |of: fn(LanguageModelSeeds) -> ValidationMeasures| self.language_model.map(of);
        let columns = of_all(|it| it.mean)
            .map_or(String::new(), |_| format!("{:>12}{:>12}", "loss", "perplexity"));
        let mut text =
            format!("{:<10}{:>12}{:>12}{:>12}{columns}\n", "seed", "train", "validation", "test");
        for (seed, run) in self.seeds.iter().zip(&self.runs) {
            text += &line(&seed.to_string(), &run.accuracy, ValidationMeasures::of(run));
        }
        text += &line("mean", &self.mean, of_all(|it| it.mean));
        text += &line("sd", &self.standard_deviation, of_all(|it| it.standard_deviation));
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
    fn standard_deviation_is_the_sample_estimate() {
        // numpy.std([2, 4, 4, 4, 5, 5, 7, 9], ddof=1)
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), 5.0);
        assert!((standard_deviation(&values) - 2.138_089_935_299_395).abs() < 1e-12);
        assert!(standard_deviation(&[1.0]).is_nan());
    }
}

//! Results computed from the measured times.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    protocol::{Evaluated, Roof, Trained},
    rounds::Plan,
};

/// Everything, as `--json` writes it.
#[derive(Debug, Serialize)]
pub struct Results {
    pub date: String,
    pub cpu: String,
    pub threads: usize,
    pub rounds: u32,
    pub steps_per_round: u32,
    pub steps_per_epoch: usize,
    pub versions: BTreeMap<String, String>,
    pub training: Vec<Training>,
    /// Training of language models.
    pub language_modeling: Vec<Training>,
    pub evaluation: Vec<Evaluation>,
    /// Texts that were generated; tokens are the new ones.
    pub generation: Vec<Evaluation>,
    /// Speed of the training baseline relative to the machine's.
    pub roof: Option<Share>,
}

/// A run of a program, whatever it did.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    pub name: String,
    /// Seconds from the start of the program until it is ready.
    pub start_seconds: f64,
    /// As the program itself says.
    pub load_seconds: f64,
    pub peak_memory_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct Training {
    #[serde(flatten)]
    pub process: Process,
    pub seconds_per_epoch: f64,
    pub ms_per_step: f64,
    pub tokens_per_second: f64,
    /// Its time per token over the time of the first contender.
    pub ratio: Option<Ratio>,
    pub chunks: Vec<Trained>,
}

#[derive(Debug, Serialize)]
pub struct Evaluation {
    #[serde(flatten)]
    pub process: Process,
    pub rows_per_second: f64,
    pub tokens_per_second: f64,
    /// Its time over the time of the first contender.
    pub ratio: Option<Ratio>,
    pub passes: Vec<Evaluated>,
}

/// Minimum and median of the ratios of all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    pub min: f64,
    pub median: f64,
}

/// Speed of a contender relative to the machine's matrix products.
#[derive(Debug, Serialize)]
pub struct Share {
    pub name: String,
    /// Operations that it needed a second, padding not counted.
    pub gflops: f64,
    pub libraries: Vec<Library>,
    /// As they were measured.
    pub measured: Vec<Roof>,
}

#[derive(Debug, Serialize)]
pub struct Library {
    pub name: String,
    /// The highest that was measured.
    pub roof_gflops: f64,
    pub share: f64,
}

impl Ratio {
    /// Ratios of the times of the same work, round by round; `None` without a round.
    fn of(own: &[f64], baseline: &[f64]) -> Option<Self> {
        let mut ratios: Vec<f64> =
            own.iter().zip(baseline).map(|(own, baseline)| own / baseline).collect();
        ratios.sort_by(f64::total_cmp);
        let min = *ratios.first()?;
        let middle = ratios.len() / 2;
        let median = match ratios.len() % 2 {
            0 => f64::midpoint(ratios[middle - 1], ratios[middle]),
            _ => ratios[middle],
        };
        Some(Self { min, median })
    }
}

/// Ratios of the times of all contenders to the times of the first one.
fn ratios<T>(all: &[(Process, Vec<T>)], time: fn(&T) -> f64) -> Vec<Option<Ratio>> {
    let times = |(_, units): &(Process, Vec<T>)| units.iter().map(time).collect::<Vec<_>>();
    let first = all.first().map(times).unwrap_or_default();
    all.iter().map(|one| Ratio::of(&times(one), &first)).collect()
}

/// Sums up who trained. Contenders have done at least one round.
pub fn training(all: Vec<(Process, Vec<Trained>)>, steps_per_epoch: usize) -> Vec<Training> {
    // Per token, because the rounds of batches grouped by length have other numbers of tokens.
    let ratios = ratios(&all, |chunk| chunk.seconds / chunk.tokens as f64);
    let sum = |((process, chunks), ratio): ((Process, Vec<Trained>), _)| {
        let seconds: f64 = chunks.iter().map(|chunk| chunk.seconds).sum();
        let steps: u64 = chunks.iter().map(|chunk| chunk.steps).sum();
        let tokens: u64 = chunks.iter().map(|chunk| chunk.tokens).sum();
        let step = seconds / steps as f64;
        Training {
            process,
            seconds_per_epoch: step * steps_per_epoch as f64,
            ms_per_step: 1000.0 * step,
            tokens_per_second: tokens as f64 / seconds,
            ratio,
            chunks,
        }
    };
    all.into_iter().zip(ratios).map(sum).collect()
}

/// Sums up who classified or generated. Contenders have done at least one round.
pub fn evaluation(all: Vec<(Process, Vec<Evaluated>)>) -> Vec<Evaluation> {
    let ratios = ratios(&all, |pass| pass.seconds);
    let sum = |((process, passes), ratio): ((Process, Vec<Evaluated>), _)| {
        let seconds: f64 = passes.iter().map(|pass| pass.seconds).sum();
        let rows: u64 = passes.iter().map(|pass| pass.rows).sum();
        let tokens: u64 = passes.iter().map(|pass| pass.tokens).sum();
        Evaluation {
            process,
            rows_per_second: rows as f64 / seconds,
            tokens_per_second: tokens as f64 / seconds,
            ratio,
            passes,
        }
    };
    all.into_iter().zip(ratios).map(sum).collect()
}

/// The share of the highest measured speed that `training` reached.
pub fn share(training: &Training, measured: Vec<Roof>) -> Option<Share> {
    let first = measured.first()?;
    let gflops = first.flops_per_token * training.tokens_per_second / 1e9;
    let mut highest: BTreeMap<&str, f64> = BTreeMap::new();
    for (library, &speed) in measured.iter().flat_map(|roof| &roof.gflops) {
        let known = highest.entry(library).or_insert(speed);
        *known = known.max(speed);
    }
    let library = |(name, roof_gflops): (&str, f64)| Library {
        name: name.to_owned(),
        roof_gflops,
        share: gflops / roof_gflops,
    };
    let libraries = highest.into_iter().map(library).collect();
    Some(Share { name: training.process.name.clone(), gflops, libraries, measured })
}

/// Puts together what belongs to a run as a whole.
pub fn heading(plan: Plan, steps_per_epoch: usize, threads: usize) -> Results {
    Results {
        date: httpdate::fmt_http_date(std::time::SystemTime::now()),
        cpu: cpu(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        threads,
        rounds: plan.rounds,
        steps_per_round: plan.steps,
        steps_per_epoch,
        versions: BTreeMap::new(),
        training: Vec::new(),
        language_modeling: Vec::new(),
        evaluation: Vec::new(),
        generation: Vec::new(),
        roof: None,
    }
}

/// The name of the processor in what Linux says of it.
fn cpu(cpuinfo: &str) -> String {
    let name = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.unwrap_or_else(|| "unknown processor".to_owned())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Results to print.
    pub fn sample() -> Results {
        let process = |name: &str, load_seconds| Process {
            name: name.to_owned(),
            start_seconds: load_seconds + 0.5,
            load_seconds,
            peak_memory_bytes: (name != "book").then_some(3 << 29),
        };
        let chunk = |seconds| Trained { seconds, steps: 2, tokens: 400, losses: vec![0.7, 0.6] };
        let pass = |seconds| Evaluated { seconds, rows: 300, tokens: 9000 };
        let mut results = heading(Plan { rounds: 2, steps: 2 }, 130, 2);
        results.date = "Tue, 24 Nov 2026 14:00:00 GMT".to_owned();
        results.cpu = "A processor".to_owned();
        results.versions = BTreeMap::from([("torch".to_owned(), "2.13.0".to_owned())]);
        results.training = training(
            vec![
                (process("packed", 1.0), vec![chunk(1.0), chunk(1.5)]),
                (process("book", 2.0), vec![chunk(2.5), chunk(3.0)]),
            ],
            130,
        );
        results.evaluation = evaluation(vec![
            (process("predict", 1.0), vec![pass(2.0), pass(2.0)]),
            (process("transformers", 4.0), vec![pass(6.0), pass(7.0)]),
        ]);
        let roof = |mkl, onednn| Roof {
            gflops: BTreeMap::from([("mkl".to_owned(), mkl), ("onednn".to_owned(), onednn)]),
            rows: 200.0,
            flops_per_token: 2.5e8,
        };
        results.roof = share(&results.training[0], vec![roof(90.0, 100.0), roof(100.0, 80.0)]);
        results
    }

    #[test]
    fn ratios_have_minimum_and_median() {
        let ratio = |own: &[f64], baseline: &[f64]| Ratio::of(own, baseline);
        let expected = Some(Ratio { min: 1.5, median: 2.0 });
        assert_eq!(ratio(&[2.0, 3.0, 8.0], &[1.0, 2.0, 2.0]), expected);
        assert_eq!(ratio(&[2.0, 3.0], &[1.0, 1.0]), Some(Ratio { min: 2.0, median: 2.5 }));
        assert_eq!(ratio(&[], &[]), None);
    }

    #[test]
    fn times_are_scaled_to_an_epoch() {
        let results = sample();
        let packed = &results.training[0];
        assert_eq!((packed.ms_per_step, packed.seconds_per_epoch), (625.0, 81.25));
        assert_eq!(packed.tokens_per_second, 320.0);
        assert_eq!(packed.ratio, Some(Ratio { min: 1.0, median: 1.0 }));
        assert_eq!(results.training[1].ratio, Some(Ratio { min: 2.0, median: 2.25 }));
        assert_eq!(results.evaluation[0].rows_per_second, 150.0);
        assert_eq!(results.evaluation[1].ratio, Some(Ratio { min: 3.0, median: 3.25 }));
    }

    #[test]
    fn ratios_are_per_token_and_refer_to_the_first_contender() {
        let mut sample = sample().training;
        let book = sample.remove(1);
        let mut long = book.chunks.clone();
        long.iter_mut().for_each(|chunk| chunk.tokens *= 4);
        let peft = Process { name: "peft".to_owned(), ..book.process.clone() };
        let results = training(vec![(book.process, book.chunks), (peft, long)], 130);
        assert_eq!(results[0].ratio, Some(Ratio { min: 1.0, median: 1.0 }));
        assert_eq!(results[1].ratio, Some(Ratio { min: 0.25, median: 0.25 }));
    }

    #[test]
    fn fraction_refers_to_the_highest_roof() {
        let roof = sample().roof.unwrap();
        assert_eq!((roof.name.as_str(), roof.gflops), ("packed", 80.0));
        let libraries: Vec<_> =
            roof.libraries.iter().map(|one| (one.name.as_str(), one.roof_gflops)).collect();
        assert_eq!(libraries, [("mkl", 100.0), ("onednn", 100.0)]);
        assert_eq!(roof.libraries[0].share, 0.8);
    }

    #[test]
    fn processor_name_is_found() {
        assert_eq!(cpu("processor\t: 0\nmodel name\t: AMD EPYC 7B13\n"), "AMD EPYC 7B13");
        assert_eq!(cpu(""), "unknown processor");
    }
}

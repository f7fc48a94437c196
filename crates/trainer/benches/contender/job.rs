//! Job of all contenders: a model, tokenized examples, and the batches of an epoch.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use dataset::{
    DataLoader, LabeledText, Padding, Quotes, SplitConfig, TokenizedSet, Tokenizer, TorchRng,
};
use gpt2_model::{Arithmetic, DType, Gpt2, Gpt2Config};
use lora::LoraConfig;
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use tch::Device;
use trainer::{
    AdamWConfig, AdapterSettings, StepConfig, Stepper, Trainable, TrainingSettings,
    process::release_free_memory,
};

/// Job, stored in `job.json`.
#[derive(Serialize, Deserialize)]
pub struct Job {
    pub max_length: usize,
    pub pad_token: u32,
    pub batch_size: usize,
    pub rank: i64,
    pub alpha: f64,
    pub lr: f64,
    pub weight_decay: f64,
    pub classes: usize,
    pub seed: u32,
    pub train: Rows,
    pub test: Rows,
    /// Indices of the examples of each training batch of an epoch.
    pub batches: Vec<Vec<usize>>,
    /// Examples of the contenders that train a language model.
    pub language_model: Examples,
    #[serde(skip)]
    model: Option<Gpt2>,
}

/// Token ids of examples without labels.
#[derive(Default, Serialize, Deserialize)]
pub struct Examples {
    pub ids: Vec<Vec<u32>>,
    /// Indices of the examples of each training batch of an epoch.
    pub batches: Vec<Vec<usize>>,
}

/// Training batches of an epoch of the language model.
const LANGUAGE_MODEL_BATCHES: usize = 8;
/// Tokens of its shortest and longest example.
const LENGTHS: [u32; 2] = [8, 256];

impl Examples {
    /// Random tokens; every length between the shortest and the longest is equally likely. What the
    /// tokens are makes no difference to the speed.
    fn random(batch_size: usize) -> Self {
        let mut rng = TorchRng::manual_seed(SEED.into());
        let count = LANGUAGE_MODEL_BATCHES * batch_size;
        let mut row = || {
            let [shortest, longest] = LENGTHS;
            let length = shortest + rng.next_u32() % (longest - shortest + 1);
            (0..length).map(|_| rng.next_u32() % dataset::END_OF_TEXT).collect()
        };
        let rows: Vec<usize> = (0..count).collect();
        Self {
            ids: rows.iter().map(|_| row()).collect(),
            batches: rows.chunks(batch_size).map(<[usize]>::to_vec).collect(),
        }
    }
}

/// Examples of a set.
#[derive(Serialize, Deserialize)]
pub struct Rows {
    pub ids: Vec<Vec<u32>>,
    pub labels: Vec<usize>,
}

impl Rows {
    fn of(encoded: &TokenizedSet) -> Self {
        Self { ids: encoded.ids().to_vec(), labels: encoded.labels().to_vec() }
    }

    pub fn encoded(&self) -> Result<TokenizedSet> {
        TokenizedSet::from_ids(self.ids.clone(), self.labels.clone())
            .context("expected a class and at least one token per example")
    }
}

impl Job {
    /// Reads the job and loads its model to a device.
    pub fn read(folder: &Path, device: Device) -> Result<Self> {
        let text = fs::read(folder.join("job.json"))?;
        let mut job: Self = serde_json::from_slice(&text)?;
        job.model = Some(Gpt2::load(folder.join("model"), device)?);
        release_free_memory();
        Ok(job)
    }

    /// Takes the model, which can be taken once.
    pub fn take_model(&mut self) -> Result<Gpt2> {
        self.model.take().context("the model was taken")
    }

    /// Adapters of the job.
    pub fn lora(&self) -> Result<LoraConfig> {
        let recipe = AdapterSettings::default().lora()?;
        Ok(LoraConfig { rank: self.rank, alpha: self.alpha, ..recipe })
    }

    /// Optimizer steps of the job.
    pub fn stepper(
        &self,
        trainable: &Trainable,
        arithmetic: Arithmetic,
        dtype: DType,
    ) -> Result<Stepper> {
        let config = StepConfig { dtype, arithmetic, ..StepConfig::default() };
        let recipe = TrainingSettings::default().adamw();
        let adamw = AdamWConfig { lr: self.lr, weight_decay: self.weight_decay, ..recipe };
        Ok(Stepper::new(trainable.parameter_groups(), adamw, config)?)
    }

    /// Examples of batch `number`, modulo the batches of an epoch.
    pub fn batch(&self, number: usize) -> &[usize] {
        &self.batches[number % self.batches.len()]
    }

    /// Number of tokens of a batch.
    pub fn tokens(&self, batch: &[usize]) -> usize {
        batch.iter().map(|&row| self.train.ids[row].len()).sum()
    }
}

/// Writes the job of the recipe on the SMS messages and a randomly initialized GPT-2 124M.
pub fn write(folder: &Path, data: Option<&Path>) -> Result<()> {
    let data = trainer::config::paths::data(
        &data.map(Path::to_owned).into_iter().collect::<Vec<_>>(),
        true,
    )?;
    let settings = SplitConfig { quotes: Quotes::Strip, ..SplitConfig::default() };
    let split = LabeledText::open(&data[0])?.read()?.split(&settings)?;
    let tokenizer = Tokenizer::gpt2();
    let train = TokenizedSet::new(&split.train, &tokenizer, Some(1024));
    let max_length = train.longest();
    let test = TokenizedSet::new(&split.test, &tokenizer, Some(max_length));
    let batch_size = TrainingSettings::default().batch_size;
    let loader = DataLoader::new(&train, batch_size, Padding::Packed, true, true)?;
    let epoch = loader.iter(&mut TorchRng::manual_seed(SEED.into()));
    let recipe = recipe()?;
    let job = Job {
        max_length,
        batch_size,
        classes: split.labels.len(),
        batches: epoch.map(|batch| batch.row_numbers).collect(),
        train: Rows::of(&train),
        test: Rows::of(&test),
        language_model: Examples::random(batch_size),
        ..recipe
    };
    save(&job, folder, 12)
}

/// Writes a job of batches of `rows` random examples of `length` tokens, for a model of GPT-2's
/// width with `layers` layers and adapters of rank `rank`.
pub fn write_shape(folder: &Path, [rows, length, layers, rank]: [u32; 4]) -> Result<()> {
    const BATCHES: u32 = 8;
    let mut rng = TorchRng::manual_seed(SEED.into());
    let mut row = || (0..length).map(|_| rng.next_u32() % dataset::END_OF_TEXT).collect();
    let ids: Vec<Vec<u32>> = (0..rows * BATCHES).map(|_| row()).collect();
    let labels = (0..ids.len()).map(|row| row % 2).collect();
    let numbers: Vec<usize> = (0..ids.len()).collect();
    let size = rows as usize;
    let job = Job {
        max_length: length as usize,
        batch_size: size,
        rank: rank.into(),
        batches: numbers.chunks(size.max(1)).map(<[usize]>::to_vec).collect(),
        train: Rows { ids, labels },
        ..recipe()?
    };
    save(&job, folder, layers.into())
}

const SEED: u32 = 123;

/// Settings of the recipes, without data.
fn recipe() -> Result<Job> {
    let (adamw, lora) = (TrainingSettings::default().adamw(), AdapterSettings::default().lora()?);
    let none = || Rows { ids: Vec::new(), labels: Vec::new() };
    Ok(Job {
        max_length: 0,
        pad_token: dataset::END_OF_TEXT,
        batch_size: 0,
        rank: lora.rank,
        alpha: lora.alpha,
        lr: adamw.lr,
        weight_decay: adamw.weight_decay,
        classes: 2,
        seed: SEED,
        batches: Vec::new(),
        train: none(),
        test: none(),
        language_model: Examples::default(),
        model: None,
    })
}

fn save(job: &Job, folder: &Path, layers: i64) -> Result<()> {
    fs::write(folder.join("job.json"), serde_json::to_vec(job)?)?;
    let config =
        Gpt2Config::named("gpt2").context("internal error: the shape of gpt2 is unknown")?;
    let config = Gpt2Config { n_layer: layers, ..config };
    let model = Gpt2::random(&config, job.seed.into(), Device::Cpu)?;
    Ok(model.save(&folder.join("model"), DType::Float32)?)
}

//! What all contenders do: a model, rows of tokens, and the batches of an epoch.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use dataset::{DataLoader, Encoded, Padding, Quotes, SplitConfig, Tokenizer, TorchRng};
use gpt2_model::{Gpt2, Gpt2Config, StorageType};
use serde::{Deserialize, Serialize};
use tch::Device;

/// `job.json`.
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
    /// Row numbers of each training batch of an epoch.
    pub batches: Vec<Vec<usize>>,
    #[serde(skip)]
    model: Option<Gpt2>,
}

/// A part of the data.
#[derive(Serialize, Deserialize)]
pub struct Rows {
    pub ids: Vec<Vec<u32>>,
    pub labels: Vec<usize>,
}

impl Rows {
    fn of(encoded: &Encoded) -> Self {
        Self { ids: encoded.ids().to_vec(), labels: encoded.labels().to_vec() }
    }

    pub fn encoded(&self) -> Result<Encoded> {
        Encoded::from_ids(self.ids.clone(), self.labels.clone()).context("rows without tokens")
    }
}

impl Job {
    /// Reads the job and loads its model.
    pub fn read(folder: &Path) -> Result<Self> {
        let text = fs::read(folder.join("job.json"))?;
        let mut job: Self = serde_json::from_slice(&text)?;
        job.model = Some(Gpt2::load(&folder.join("model"), Device::Cpu)?);
        Ok(job)
    }

    /// The model, once.
    pub fn take_model(&mut self) -> Result<Gpt2> {
        self.model.take().context("the model was taken")
    }

    /// The rows of batch `number`, counted round and round.
    pub fn batch(&self, number: usize) -> &[usize] {
        &self.batches[number % self.batches.len()]
    }

    /// Tokens of the rows of a batch.
    pub fn tokens(&self, batch: &[usize]) -> usize {
        batch.iter().map(|&row| self.train.ids[row].len()).sum()
    }
}

/// The recipe on the SMS messages and on a GPT-2 124M with random weights.
pub fn write(folder: &Path, data: Option<&Path>) -> Result<()> {
    let data = trainer::places::data(data)?;
    let settings = SplitConfig { quotes: Quotes::Strip, ..SplitConfig::default() };
    let prepared = dataset::prepare(&data, &settings, folder.join("split"))?;
    let tokenizer = Tokenizer::gpt2();
    let train = Encoded::new(&prepared.split.train, &tokenizer, Some(1024));
    let max_length = train.longest();
    let test = Encoded::new(&prepared.split.test, &tokenizer, Some(max_length));

    let (config, adamw, lora) = (
        trainer::FitConfig::recipe(trainer::Recipe::Book),
        trainer::recipe_adamw(),
        trainer::recipe_lora(),
    );
    let seed = 123;
    let loader = DataLoader::new(&train, config.batch_size, Padding::Packed, true, true)?;
    let epoch = loader.iter(&mut TorchRng::manual_seed(seed.into()));
    let job = Job {
        max_length,
        pad_token: dataset::END_OF_TEXT,
        batch_size: config.batch_size,
        rank: lora.rank,
        alpha: lora.alpha,
        lr: adamw.lr,
        weight_decay: adamw.weight_decay,
        classes: prepared.split.labels.len(),
        seed,
        batches: epoch.map(|batch| batch.row_numbers).collect(),
        train: Rows::of(&train),
        test: Rows::of(&test),
        model: None,
    };
    fs::write(folder.join("job.json"), serde_json::to_vec(&job)?)?;
    let config = Gpt2Config::named("gpt2").context("GPT-2 has a name")?;
    let model = Gpt2::random(&config, seed.into(), Device::Cpu)?;
    Ok(model.save(&folder.join("model"), StorageType::Float32)?)
}

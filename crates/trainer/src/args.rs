//! The command line of a training run, shared by the binaries.

use std::path::{Path, PathBuf};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use dataset::Quotes;
use gpt2_model::{Arithmetic, DType, DeviceChoice, Pooling};
use lora::Scaling;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    adamw::AdamWConfig,
    config::{FitConfig, PadTo, Recipe, RunConfig, recipe_adamw, recipe_lora},
    error::Result,
    places,
    step::StepConfig,
    suggested::Suggested,
};

/// Options of a training run. What is not given comes from what the model suggests
/// ([`Suggested`]), else from the recipe.
#[derive(Args, Clone, Debug, Default)]
pub struct TrainArgs {
    /// Base model: a folder with config.json and model.safetensors, or the name
    /// of a folder below weights/ [default: gpt2]
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<String>,
    /// Labelled text, a line "label<TAB>text" each
    /// [default: datasets/sms-spam/SMSSpamCollection]
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Quotation marks that a text opens with: text like any other, or stripped as
    /// CSV readers do [default: keep; with --recipe book: strip]
    #[arg(long, value_parser = choice::<Quotes>(&["keep", "strip"]))]
    pub quotes: Option<Quotes>,
    /// Folder for the results [default: a new one below runs/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where defaults come from; the settings of a fine_tuning.json in the model's
    /// folder take the place of the default recipe's
    #[arg(long, value_enum, default_value_t)]
    pub recipe: Recipe,
    /// Inner dimension of the adapters [default: 16]
    #[arg(long, value_name = "N", help_heading = "Adapter")]
    pub rank: Option<i64>,
    /// Strength of the adapters [default: 16]
    #[arg(long, value_name = "X", help_heading = "Adapter")]
    pub alpha: Option<f64>,
    /// Factor on the low-rank product: alpha, alpha / rank, or alpha / sqrt(rank)
    /// [default: alpha]
    #[arg(long, help_heading = "Adapter", value_parser = choice::<Scaling>(&["alpha", "alpha-over-rank", "rslora"]))]
    pub scaling: Option<Scaling>,
    /// Layers that get an adapter, by name or its end: c_attn, attn.c_proj, q,
    /// score … [default: all-linear]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Adapter")]
    pub target_modules: Vec<String>,
    /// Learning rate [default: 5e-5]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub lr: Option<f64>,
    /// Weight decay of AdamW [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub weight_decay: Option<f64>,
    /// Passes over the training part [default: 5]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Rows in a batch [default: 8]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub batch_size: Option<usize>,
    /// Evaluate the losses after every N steps [default: 50]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub eval_every: Option<usize>,
    /// Batches of each part in an evaluation [default: 5]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub eval_batches: Option<usize>,
    /// Seed of the split, the head, the adapters and the order of rows
    #[arg(long, value_name = "N", default_value_t = 123, help_heading = "Training")]
    pub seed: u32,
    /// Repeat the run with each of these seeds on one split (that of --split-seed,
    /// else of seed 123), and report the mean and the standard deviation
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        help_heading = "Training",
        conflicts_with = "seed"
    )]
    pub seeds: Vec<u32>,
    /// Seed of the split alone, to vary --seed on the same split [default: --seed]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub split_seed: Option<u32>,
    /// Longest row in tokens; longer ones are cut [default: the longest training row]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub max_length: Option<usize>,
    /// What speaks for a row: the last position of the padded row, or the last real
    /// token [default: last-token; with --recipe book: last-position]
    #[arg(long, help_heading = "Training", value_parser = choice::<Pooling>(&["last-position", "last-token"]))]
    pub pooling: Option<Pooling>,
    /// How far the rows of a batch are padded. At the last token padding changes
    /// nothing but the time, and by default none is computed [default: none; with
    /// last-position: max-length; with stepwise arithmetic: longest; with --recipe
    /// book: max-length]
    #[arg(long, help_heading = "Training", value_parser = choice::<PadTo>(&["none", "longest", "max-length"]))]
    pub pad_to: Option<PadTo>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", help_heading = "Machine")]
    pub device: DeviceChoice,
    /// Fused operations are the fastest; step by step, rounding is that of the
    /// book's program [default: fused; with --recipe book: stepwise]
    #[arg(long, help_heading = "Machine", value_parser = choice::<Arithmetic>(&["fused", "stepwise"]))]
    pub arithmetic: Option<Arithmetic>,
    /// What the frozen weights are kept and multiplied in; adapters and optimizer
    /// stay float32. float16 is for CUDA [default: float32]
    #[arg(long, help_heading = "Machine", value_parser = choice::<DType>(&["float32", "bfloat16", "float16"]))]
    pub dtype: Option<DType>,
    /// Compute blocks a second time for their gradients instead of remembering
    /// them: less memory for long rows, up to half as much time again
    #[arg(long, help_heading = "Machine")]
    pub gradient_checkpointing: bool,
    /// Threads to compute with on the CPU [default: one a core]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub threads: Option<usize>,
    /// Draw the base weights instead of reading them; config.json is enough
    #[arg(long)]
    pub random_init: bool,
    /// Print the modules of the adapted model; with --json, to standard error
    #[arg(long)]
    pub print_model: bool,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// A value of a type whose names are known to serde.
pub(crate) fn choice<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    names: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names)
        .try_map(|name| serde_json::from_value::<T>(Value::String(name)))
}

impl TrainArgs {
    /// The run that is asked for, everything resolved.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for settings without meaning, [`Error::Missing`](crate::Error::Missing) if the
    /// model or the data are not there, naming the command that fetches them.
    pub fn resolve(&self) -> Result<RunConfig> {
        let name = self.model.as_deref().unwrap_or("gpt2");
        let model = places::model(name, self.random_init)?;
        let suggested = self.suggested(&model)?.map(|(_, suggested)| suggested).unwrap_or_default();
        let fit = FitConfig::recipe(self.recipe);
        let pooling = self.pooling.or(suggested.pooling).unwrap_or(fit.pooling);
        let arithmetic = self.arithmetic.unwrap_or_else(|| self.recipe.arithmetic());
        let pad_to = match (pooling, arithmetic, fit.pad_to) {
            // Only the last real token is blind to padding.
            (Pooling::LastPosition, _, _) => PadTo::MaxLength,
            (Pooling::LastToken, Arithmetic::Stepwise, PadTo::None) => PadTo::Longest,
            (Pooling::LastToken, _, pad_to) => pad_to,
        };
        let (lora, adamw) = (recipe_lora(), recipe_adamw());
        let targets = if self.target_modules.is_empty() {
            lora.targets
        } else {
            self.target_modules.iter().map(|name| name.trim().to_owned()).collect()
        };
        let mut config = RunConfig {
            recipe: self.recipe,
            model,
            random_init: self.random_init,
            data: PathBuf::new(),
            out: PathBuf::new(),
            quotes: self.quotes.unwrap_or_else(|| self.recipe.quotes()),
            seed: self.seed,
            split_seed: self.split_seed.unwrap_or(self.seed),
            max_length: self.max_length,
            arithmetic,
            device: self.device.to_string(),
            threads: self.threads,
            fit: FitConfig {
                epochs: self.epochs.or(suggested.epochs).unwrap_or(fit.epochs),
                batch_size: self.batch_size.or(suggested.batch_size).unwrap_or(fit.batch_size),
                eval_every: self.eval_every.unwrap_or(fit.eval_every),
                eval_batches: self.eval_batches.unwrap_or(fit.eval_batches),
                pooling,
                pad_to: self.pad_to.unwrap_or(pad_to),
                step: StepConfig {
                    dtype: self.dtype.unwrap_or_default(),
                    gradient_checkpointing: self.gradient_checkpointing,
                },
            },
            adamw: AdamWConfig {
                lr: self.lr.or(suggested.lr).unwrap_or(adamw.lr),
                weight_decay: self
                    .weight_decay
                    .or(suggested.weight_decay)
                    .unwrap_or(adamw.weight_decay),
                ..adamw
            },
            lora: lora::LoraConfig {
                rank: self.rank.or(suggested.rank).unwrap_or(lora.rank),
                alpha: self.alpha.or(suggested.alpha).unwrap_or(lora.alpha),
                scaling: self.scaling.or(suggested.scaling).unwrap_or(lora.scaling),
                targets,
                ..lora
            },
        };
        config.check()?;
        config.data = places::data(self.data.as_deref())?;
        config.out = places::out(self.out.as_deref(), name)?;
        Ok(config)
    }

    /// What the model in a folder suggests, and the file that says it. The book's
    /// recipe is the book's, whatever a model suggests.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) names a file that cannot be read.
    pub fn suggested(&self, model: &Path) -> Result<Option<(PathBuf, Suggested)>> {
        match self.recipe {
            Recipe::Default => Suggested::of_model(model),
            Recipe::Book => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use crate::suggested::SUGGESTED_FILE;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: TrainArgs,
    }

    fn resolve(arguments: &str) -> Result<RunConfig> {
        let all = std::iter::once("program").chain(arguments.split_whitespace());
        let mut args = Program::try_parse_from(all).unwrap().args;
        args.random_init = true;
        args.data = Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        args.out = Some(tempfile::tempdir().unwrap().keep());
        args.resolve()
    }

    #[test]
    fn the_book_is_a_recipe_of_its_own() {
        let book = resolve("--recipe book").unwrap();
        assert_eq!((book.fit.pooling, book.fit.pad_to), (Pooling::LastPosition, PadTo::MaxLength));
        assert_eq!((book.lora.rank, book.lora.factor()), (16, 16.0));
        assert_eq!((book.adamw.lr, book.adamw.weight_decay), (5e-5, 0.1));
        let default = resolve("").unwrap();
        assert_eq!((default.fit.pooling, default.fit.pad_to), (Pooling::LastToken, PadTo::None));
        assert_eq!(default.lora, book.lora);
        let arithmetic = [book.arithmetic, default.arithmetic];
        assert_eq!(arithmetic, [Arithmetic::Stepwise, Arithmetic::Fused]);
    }

    #[test]
    fn options_win_over_the_recipe() {
        let options = "--recipe book --rank 4 --alpha 8 --scaling rslora --target-modules q,v \
                       --lr 0.1 --epochs 2 --pooling last-token --seed 7";
        let config = resolve(options).unwrap();
        assert_eq!((config.lora.rank, config.lora.factor()), (4, 4.0));
        assert_eq!(config.lora.targets, ["q", "v"].map(String::from).into_iter().collect());
        assert_eq!((config.adamw.lr, config.fit.epochs, config.split_seed), (0.1, 2, 7));
        assert_eq!(config.fit.pad_to, PadTo::MaxLength);
        assert_eq!(resolve("--seed 7 --split-seed 9").unwrap().split_seed, 9);
        // Rows that end at their last position must all be of one length.
        assert_eq!(resolve("--pooling last-position").unwrap().fit.pad_to, PadTo::MaxLength);
        assert_eq!(resolve("--arithmetic stepwise").unwrap().fit.pad_to, PadTo::Longest);
        assert_eq!(resolve("--pad-to max-length").unwrap().fit.pad_to, PadTo::MaxLength);
    }

    #[test]
    fn what_a_model_suggests_stands_between_options_and_recipe() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        let suggested = r#"{"lr": 0.5, "rank": 3, "epochs": 9, "scaling": "rslora"}"#;
        fs::write(folder.path().join(SUGGESTED_FILE), suggested).unwrap();
        let model = format!("--model {}", folder.path().display());
        let config = resolve(&format!("{model} --epochs 1")).unwrap();
        assert_eq!((config.adamw.lr, config.lora.rank, config.fit.epochs), (0.5, 3, 1));
        assert_eq!((config.lora.alpha, config.lora.scaling), (16.0, Scaling::RsLora));
        let book = resolve(&format!("{model} --recipe book")).unwrap();
        assert_eq!((book.adamw.lr, book.lora.rank, book.fit.epochs), (5e-5, 16, 5));
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        for (option, sentence) in [
            ("--epochs 0", "epochs is 0"),
            ("--batch-size 0", "batch-size is 0"),
            ("--rank 0", "rank is 0"),
            ("--lr nan", "lr is NaN"),
            ("--max-length 0", "max-length is 0"),
            ("--threads 0", "threads is 0"),
            ("--pooling last-position --pad-to longest", "rows of one length"),
            ("--arithmetic stepwise --pad-to none", "rows of one length"),
            ("--recipe book --dtype bfloat16", "float32 only"),
            ("--recipe book --gradient-checkpointing", "without padding"),
        ] {
            let error = resolve(option).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
    }

    #[test]
    fn a_resolved_run_survives_json() {
        let config = resolve("").unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<RunConfig>(&text).unwrap(), config);
    }
}

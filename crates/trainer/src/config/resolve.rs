//! From options to a run: what is not said is filled in.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use gpt2_model::{Arithmetic, Pooling};

use crate::{
    config::args::TrainArgs,
    config::model_defaults::Suggested,
    config::pairs::{pattern, targets},
    config::paths,
    config::settings::{Balance, FitConfig, PadTo, Recipe, RunConfig, recipe_adamw, recipe_lora},
    error::{Error, Result},
    task::class_weights::ClassWeights,
    training::adamw::AdamWConfig,
    training::step::StepConfig,
};

/// The seed of a run that names none.
const SEED: u32 = 123;

impl TrainArgs {
    /// The run that is asked for, everything resolved.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for settings without meaning,
    /// [`Error::Missing`](crate::Error::Missing) if the model or the data are not
    /// there, naming the command that fetches them.
    pub fn resolve(&self) -> Result<RunConfig> {
        let name = self.model.as_deref().unwrap_or("gpt2");
        let model = places::model(name, self.random_init.unwrap_or_default())?;
        let suggested = self.suggested(&model)?.map(|(_, suggested)| suggested).unwrap_or_default();
        let recipe = self.recipe.unwrap_or_default();
        let fit = FitConfig::recipe(recipe);
        let pooling = self.pooling.or(suggested.pooling).unwrap_or(fit.pooling);
        let arithmetic = self.arithmetic.unwrap_or_else(|| recipe.arithmetic());
        let pad_to = match (pooling, arithmetic, fit.pad_to) {
            // Only the last real token is blind to padding.
            (Pooling::LastPosition, _, _) => PadTo::MaxLength,
            (Pooling::LastToken, Arithmetic::Stepwise, PadTo::None) => PadTo::Longest,
            (Pooling::LastToken, _, pad_to) => pad_to,
        };
        let (lora, adamw) = (recipe_lora(), recipe_adamw());
        let targets = match self.target_modules.is_empty() {
            true => lora.targets.clone(),
            false => targets(&self.target_modules)?,
        };
        self.check_seeds()?;
        let seed = self.seed.unwrap_or(SEED);
        let class_weights = self.class_weights.clone().unwrap_or_default();
        let mut config = RunConfig {
            recipe,
            model,
            random_init: self.random_init.unwrap_or_default(),
            data: PathBuf::new(),
            validation_data: self.validation_data.clone(),
            test_data: self.test_data.clone(),
            format: self.format,
            text_column: self.text_column.clone(),
            label_column: self.label_column.clone(),
            balance: self.balance.unwrap_or(match (&self.test_data, &class_weights) {
                (None, ClassWeights::None) => Balance::Undersample,
                _ => Balance::None,
            }),
            stratify: self.stratify.unwrap_or_default(),
            out: PathBuf::new(),
            quotes: self.quotes.unwrap_or_else(|| recipe.quotes()),
            seed,
            split_seed: self.split_seed.unwrap_or(seed),
            max_length: self.max_length,
            arithmetic,
            device: self.device.unwrap_or_default().to_string(),
            threads: self.threads,
            head: self.head.unwrap_or_default(),
            class_weights,
            checkpoint_every: self.checkpoint_every,
            keep_checkpoints: self.keep_checkpoints.unwrap_or(2),
            tensorboard: self.tensorboard.unwrap_or_default(),
            fit: FitConfig {
                epochs: self.epochs.or(suggested.epochs).unwrap_or(fit.epochs),
                batch_size: self.batch_size.or(suggested.batch_size).unwrap_or(fit.batch_size),
                gradient_accumulation_steps: self
                    .gradient_accumulation_steps
                    .unwrap_or(fit.gradient_accumulation_steps),
                schedule: self.schedule.unwrap_or(fit.schedule),
                warmup_steps: self.warmup_steps.unwrap_or(fit.warmup_steps),
                lora_plus_ratio: self.lora_plus_ratio.unwrap_or(fit.lora_plus_ratio),
                eval_every: self.eval_every.unwrap_or(fit.eval_every),
                eval_batches: self.eval_batches.unwrap_or(fit.eval_batches),
                early_stopping: self.early_stopping,
                keep: self.keep.unwrap_or(fit.keep),
                pooling,
                pad_to: self.pad_to.unwrap_or(pad_to),
                step: StepConfig {
                    dtype: self.dtype.unwrap_or_default(),
                    gradient_checkpointing: self.gradient_checkpointing.unwrap_or_default(),
                    max_grad_norm: self.max_grad_norm,
                    detect_anomaly: self.detect_anomaly.unwrap_or_default(),
                    rows_at_a_time: None,
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
                rank_pattern: pattern("rank-pattern", &self.rank_pattern)?,
                alpha_pattern: pattern("alpha-pattern", &self.alpha_pattern)?,
                dropout: self.lora_dropout.unwrap_or(lora.dropout),
                dora: self.dora.unwrap_or_default(),
                init: self.init.unwrap_or(lora.init),
            },
        };
        config.check()?;
        config.data = places::data(self.data.as_deref())?;
        for part in config.validation_data.iter().chain(&config.test_data) {
            places::data(Some(part))?;
        }
        config.out = places::out(self.out.as_deref(), name)?;
        Ok(config)
    }

    /// What the model in a folder suggests, and the file that says it. The book's
    /// recipe is the book's, whatever a model suggests.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) names a file that cannot be read.
    pub fn suggested(&self, model: &Path) -> Result<Option<(PathBuf, Suggested)>> {
        match self.recipe.unwrap_or_default() {
            Recipe::Default => Suggested::of_model(model),
            Recipe::Book => Ok(None),
        }
    }

    /// Refuses seeds that are no sample of seeds.
    fn check_seeds(&self) -> Result<()> {
        let distinct: BTreeSet<u32> = self.seeds.iter().copied().collect();
        let sentence = match self.seeds.len() {
            0 => return Ok(()),
            _ if self.seed.is_some() => "seed and seeds are both given; leave one of them out",
            1 => "seeds has one seed, of which there is no deviation; give more, or use seed",
            count if distinct.len() < count => "seeds has a seed twice; give each once",
            _ => return Ok(()),
        };
        Err(Error::Config(sentence.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use lora::Scaling;

    use super::*;
    use crate::{config::file::RESOLVED_FILE, config::model_defaults::SUGGESTED_FILE};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: TrainArgs,
    }

    fn parse(arguments: &str) -> TrainArgs {
        let all = std::iter::once("program").chain(arguments.split_whitespace());
        Program::try_parse_from(all).unwrap().args
    }

    fn resolve(arguments: &str) -> Result<RunConfig> {
        let mut args = parse(arguments).with_file()?;
        args.random_init = Some(true);
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
            ("--gradient-accumulation-steps 0", "gradient-accumulation-steps is 0"),
            ("--max-grad-norm 0", "max-grad-norm is 0"),
            ("--lora-plus-ratio 0", "lora-plus-ratio is 0"),
            ("--rank-pattern c_attn", "rank-pattern has \"c_attn\""),
            ("--rank-pattern c_attn=0", "is 0"),
            ("--lora-dropout 1", "dropout is 1"),
            ("--lora-dropout 0.1 --gradient-checkpointing", "dropout"),
            ("--target-modules q,re:x", "one pattern"),
            ("--validation-data Cargo.toml", "validation-data needs test-data"),
            ("--seeds 5", "one seed"),
            ("--seeds 5,5", "twice"),
            ("--init pissa --dtype bfloat16", "float32"),
            ("--early-stopping 0", "early-stopping is 0"),
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

    #[test]
    fn a_file_stands_for_options_and_options_win() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.toml");
        let text = "rank = 4\nseed = 9\nlr = 1e-3\ntarget-modules = [\"q\"]\n\
                    schedule = \"cosine\"\nclass-weights = \"spam=2\"\ndtype = \"bfloat16\"\n";
        fs::write(&file, text).unwrap();
        let with = |options: &str| resolve(&format!("--config {} {options}", file.display()));
        let config = with("").unwrap();
        let options = "--rank 4 --seed 9 --lr 1e-3 --target-modules q --schedule cosine \
                       --class-weights spam=2 --dtype bfloat16";
        let mut same = resolve(options).unwrap();
        same.out.clone_from(&config.out);
        assert_eq!(config, same);
        assert_eq!(with("--rank 8 --target-modules v").unwrap().lora.rank, 8);
        assert_eq!(
            parse(&format!("--config {} --seeds 1,2", file.display())).with_file().unwrap().seed,
            None
        );

        // Flags too, in both directions; and what goes together only on one side.
        fs::write(&file, "dora = true\ntensorboard = false\n").unwrap();
        assert!(with("").unwrap().lora.dora && !with("--dora=false").unwrap().lora.dora);
        assert!(with("--tensorboard").unwrap().tensorboard);
        fs::write(&file, "validation-data = \"Cargo.toml\"\n").unwrap();
        assert!(with("").unwrap_err().to_string().contains("needs test-data"));
        assert!(with("--test-data Cargo.toml").is_ok());
        fs::write(&file, "seed = 1\nseeds = [2, 3]\n").unwrap();
        assert!(with("").unwrap_err().to_string().contains("both given"));

        fs::write(&file, "rank = 4\nrnak = 5\n").unwrap();
        let error = with("").unwrap_err().to_string();
        assert!(error.contains("run.toml, line 2: unknown field `rnak`"), "{error}");
        fs::write(&file, "# none\n\nlr = \"fast\"\n").unwrap();
        let error = with("").unwrap_err().to_string();
        assert!(error.contains("run.toml, line 3: ") && error.contains("fast"), "{error}");
        assert!(resolve("--config nowhere.toml").unwrap_err().to_string().contains("nowhere.toml"));
    }

    #[test]
    fn classes_that_are_weighted_are_not_cut_down() {
        assert_eq!(resolve("").unwrap().balance, Balance::Undersample);
        assert_eq!(resolve("--class-weights balanced").unwrap().balance, Balance::None);
        let both = resolve("--class-weights spam=2 --balance undersample").unwrap();
        assert_eq!(both.balance, Balance::Undersample);
    }

    #[test]
    fn a_resolved_file_repeats_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(RESOLVED_FILE);
        for options in [
            "",
            "--recipe book",
            "--rank 4 --alpha 0.1 --target-modules q --head full --keep best --seed 5",
            r"--target-modules re:h\.[01]\..*,x{1,2} --lora-dropout 0.25 --dora --init pissa",
            r"--rank-pattern c_attn=8,h\.0\..*=2 --alpha-pattern c_fc=0.1 --scaling rslora",
            "--early-stopping 2 --class-weights balanced --max-grad-norm 0.5 --tensorboard \
             --gradient-accumulation-steps 3 --lora-plus-ratio 16 --warmup-steps 7 --device cpu \
             --checkpoint-every 9 --keep-checkpoints 1 --detect-anomaly",
        ] {
            let config = resolve(options).unwrap();
            fs::write(&file, TrainArgs::repeating(&config).to_toml().unwrap()).unwrap();
            let mut again = resolve(&format!("--config {}", file.display())).unwrap();
            again.out.clone_from(&config.out);
            again.data = std::path::absolute(&config.data).unwrap();
            assert_eq!(again, config, "{options}");
        }
    }
}

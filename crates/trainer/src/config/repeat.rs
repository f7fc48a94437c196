//! From a run back to options: what `run.toml` says.

use std::path::Path;

use crate::{
    config::args::TrainArgs,
    config::pairs::{names_of, pairs},
    config::settings::RunConfig,
};

impl TrainArgs {
    /// The options that repeat a run, into another folder.
    pub(crate) fn repeating(config: &RunConfig) -> Self {
        let fit = &config.fit;
        let path = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            config: None,
            model: Some(match config.model.file_name() {
                // A name is enough for a model that is only drawn.
                Some(name) if !config.model.exists() => name.to_string_lossy().into_owned(),
                _ => path(&config.model).display().to_string(),
            }),
            out: None,
            recipe: Some(config.recipe),
            data: Some(path(&config.data)),
            validation_data: config.validation_data.as_deref().map(path),
            test_data: config.test_data.as_deref().map(path),
            format: config.format,
            text_column: config.text_column.clone(),
            label_column: config.label_column.clone(),
            balance: Some(config.balance),
            stratify: Some(config.stratify),
            quotes: Some(config.quotes),
            max_length: config.max_length,
            split_seed: Some(config.split_seed),
            rank: Some(config.lora.rank),
            alpha: Some(config.lora.alpha),
            scaling: Some(config.lora.scaling),
            target_modules: names_of(&config.lora.targets),
            rank_pattern: pairs(&config.lora.rank_pattern),
            alpha_pattern: pairs(&config.lora.alpha_pattern),
            lora_dropout: Some(config.lora.dropout),
            dora: Some(config.lora.dora),
            init: Some(config.lora.init),
            head: Some(config.head),
            lr: Some(config.adamw.lr),
            lora_plus_ratio: Some(fit.lora_plus_ratio),
            schedule: Some(fit.schedule),
            warmup_steps: Some(fit.warmup_steps),
            weight_decay: Some(config.adamw.weight_decay),
            max_grad_norm: fit.step.max_grad_norm,
            detect_anomaly: Some(fit.step.detect_anomaly),
            epochs: Some(fit.epochs),
            batch_size: Some(fit.batch_size),
            gradient_accumulation_steps: Some(fit.gradient_accumulation_steps),
            class_weights: Some(config.class_weights.clone()),
            eval_every: Some(fit.eval_every),
            eval_batches: Some(fit.eval_batches),
            early_stopping: fit.early_stopping,
            keep: Some(fit.keep),
            checkpoint_every: config.checkpoint_every,
            keep_checkpoints: Some(config.keep_checkpoints),
            resume: false,
            seed: Some(config.seed),
            seeds: Vec::new(),
            pooling: Some(fit.pooling),
            pad_to: Some(fit.pad_to),
            device: config.device.parse().ok(),
            arithmetic: Some(config.arithmetic),
            dtype: Some(fit.step.dtype),
            gradient_checkpointing: Some(fit.step.gradient_checkpointing),
            threads: config.threads,
            random_init: Some(config.random_init),
            tensorboard: Some(config.tensorboard),
            print_model: false,
            json: false,
        }
    }
}

//! Builder of a run.

use std::path::{Path, PathBuf};

use lora::LoraConfig;

use crate::{
    config::{resolve::ResolvedRun, settings::Settings},
    error::Result,
    inference::SavedAdapter,
    reports::Report,
    run::start::{Control, run},
    training::observer::Observer,
};

/// Builder of a training run: the default settings with changes.
///
/// ```no_run
/// use lora::LoraConfig;
/// use trainer::{Console, Predictor, Run};
///
/// let report = Run::new("weights/gpt2", "spam.csv")
///     .lora(LoraConfig::new(16))
///     .learning_rate(5e-5)
///     .epochs(5)
///     .out("runs/spam")
///     .train(&mut Console::default())?;
/// println!("{}", report.to_table());
/// let spam = Predictor::load("runs/spam/adapter")?.classify(["WIN a prize"])?;
/// if let Some(answer) = &spam[0] {
///     println!("{}", answer.label);
/// }
/// # Ok::<(), trainer::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Run {
    settings: Settings,
}

impl Run {
    /// Creates a run that fine-tunes a model, given by directory or by name below `weights/`, on
    /// a data file.
    pub fn new(model: impl AsRef<Path>, data: impl Into<PathBuf>) -> Self {
        let mut settings = Settings {
            model: model.as_ref().to_string_lossy().into_owned(),
            ..Settings::default()
        };
        settings.data.data = vec![data.into()];
        Self { settings }
    }

    /// Sets the adapter.
    #[must_use]
    pub fn lora(mut self, config: LoraConfig) -> Self {
        self.settings.adapter.set_lora(&config);
        self
    }

    /// Sets the learning rate.
    #[must_use]
    pub fn learning_rate(mut self, lr: f64) -> Self {
        self.settings.training.lr = lr;
        self
    }

    /// Sets the number of epochs.
    #[must_use]
    pub fn epochs(mut self, epochs: impl Into<f64>) -> Self {
        self.settings.training.epochs = epochs.into();
        self
    }

    /// Sets the output directory.
    #[must_use]
    pub fn out(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.out = Some(directory.into());
        self
    }

    /// Changes any other setting.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Carries out the run.
    ///
    /// # Errors
    /// As [`run()`].
    pub fn train(self, observer: &mut dyn Observer) -> Result<Report> {
        let adapter =
            self.settings.adapter.adapter.as_deref().map(SavedAdapter::load).transpose()?;
        let trained_format = adapter.and_then(|adapter| adapter.prompt_format());
        let resolved = ResolvedRun { trained_format, ..ResolvedRun::new(self.settings)? };
        run(&resolved, &Control::default(), observer)
    }
}

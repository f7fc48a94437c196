//! Last phase of a run: saving, final evaluation, and the report.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    config::resolve::ResolvedRun,
    error::Result,
    inference::{ADAPTER, AdapterMetadata, write_card, write_companions},
    reports::{EpochAccuracy, Report, training_curves},
    run::{
        directory::{MODEL, REPORT},
        session::{Session, TrainedSession},
    },
    task::data::TaskData,
    trainable::network::Network,
    training::{
        checkpoint,
        event::Event,
        fit::{Fitted, TrainingHook},
    },
};

/// Results of a trained session.
pub(crate) struct Results<'a, D: TaskData>(pub TrainedSession<'a, D>);

impl<D: TaskData> Results<'_, D> {
    /// Saves the adapter or model, evaluates it on all data, and writes predictions, events,
    /// plots and, last, the report. Only one process of several writes.
    pub fn write(self) -> Result<Report> {
        let TrainedSession { mut session, fitted, steps_per_epoch, mut rng } = self.0;
        let out = session.directory.output().map(Path::to_owned);
        session.save_adapter(ADAPTER)?;
        session.recorder.stage("evaluating the trained model");
        let mut report = session.begin_report(&fitted);
        let Session { data, run, network, .. } = &mut session;
        data.evaluate(network, &run.settings, &mut rng, out.as_deref(), &mut report)?;
        report.warn();
        if let Some(model) = &mut report.language_model {
            model.before = session.initial.language_model;
        }
        let Some(out) = out else { return Ok(report) };
        if let Some(measures) = report.language_model.and_then(|model| model.after) {
            let steps = report.steps;
            session.recorder.event(Event::Tokens { steps, is_whole: true, measures })?;
        }
        session.recorder.event(Event::Final {
            train_accuracy: report.accuracy.train,
            validation_accuracy: report.accuracy.validation,
            test_accuracy: report.accuracy.test,
            trainable_parameters: report.trainable_parameters,
            total_parameters: report.total_parameters,
            seconds: fitted.seconds,
        })?;
        let Session { data, run, network, trainable, recorder, metadata, directory, .. } = session;
        let weights = match trainable.adapter() {
            Some(_) => {
                write_card(&out.join(ADAPTER), &metadata, &report)?;
                out.join(ADAPTER).join(lora::WEIGHTS_FILE)
            }
            None => save_model(&data, network, &run, &metadata, &out.join(MODEL))?,
        };
        report.saved_bytes = fs::metadata(&weights).map_err(storage::Error::read(&weights))?.len();
        let events = recorder.into_events()?;
        let examples = run.settings.training.examples_per_step();
        training_curves::write(&events, steps_per_epoch, examples, &out)?;
        report.epochs = EpochAccuracy::of(&events);
        storage::write_json(&out.join(REPORT), &report)?;
        checkpoint::delete(&out)?;
        // The lock is held until everything is written.
        drop(directory);
        Ok(report)
    }
}

/// Saves a trained network as a Hugging Face model with its metadata. Returns its weight file.
fn save_model<D: TaskData>(
    data: &D,
    network: D::Network,
    run: &ResolvedRun,
    metadata: &AdapterMetadata,
    directory: &Path,
) -> Result<PathBuf> {
    storage::create_directory(directory)?;
    let config = data.save_model(network, run.settings.output.save_dtype, directory)?;
    write_companions(directory, &config, data.tokenizer(), metadata)?;
    Ok(directory.join("model.safetensors"))
}

impl<D: TaskData> Session<'_, D> {
    /// Report of the run before its evaluation.
    fn begin_report(&self, fitted: &Fitted) -> Report {
        let (run, settings) = (&self.run, &self.run.settings);
        Report {
            recipe: settings.recipe,
            task: settings.task,
            train: settings.train,
            model: run.model.clone(),
            data: run.data.clone(),
            out: self.directory.path().to_owned(),
            data_sha256: self.data.sha256().to_owned(),
            base_digest: self.metadata.base_digest.clone().unwrap_or_default(),
            tokenizer: self.metadata.tokenizer.clone(),
            adapter_digest: self.adapter_digest.clone(),
            device: settings.machine.device.to_string(),
            arithmetic: settings.machine.arithmetic,
            total_parameters: self.total_parameters,
            trainable_parameters: self.network.count().trainable,
            steps: fitted.steps,
            best: fitted.best,
            initial: self.initial.accuracies,
            seconds: fitted.seconds,
            ..Report::default()
        }
    }
}

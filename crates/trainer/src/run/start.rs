//! Entry point of a run.

use std::sync::{Arc, atomic::AtomicBool};

use distributed::Group;

use crate::{
    config::resolve::ResolvedRun,
    error::Result,
    reports::Report,
    run::{
        agreement,
        directory::{RunDirectory, check_inputs},
        inputs::Inputs,
        results::Results,
        session::Session,
    },
    task::{
        classification::data::ClassificationData, data::TaskData, kind::TaskKind,
        language_model::data::LanguageModelData,
    },
    training::observer::Observer,
};

/// Control of a run: resume, stop, and the processes that share it.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Resume from the last checkpoint in the directory, if there is one.
    pub resume: bool,
    /// Once true, the run writes a checkpoint and ends with
    /// [`Error::Interrupted`](crate::Error::Interrupted).
    pub stop: Arc<AtomicBool>,
    /// Processes that carry out the run together, of which each must call [`run`] with the same
    /// settings and inputs.
    pub group: Group,
}

/// Carries out a run and writes into its directory: `run.toml` (all settings), the split,
/// `metrics.jsonl`, the adapter or model, plots of loss and accuracy as SVG and PNG, predictions
/// for the test set and `report.json`.
///
/// During training, `checkpoints/` has the last `--keep-checkpoints` checkpoints, written after
/// each epoch and every `--checkpoint-every` steps. A resumed run writes the bytes of an
/// uninterrupted run, except for times.
///
/// If several processes share a run, only rank 0 writes, and only its observer receives events. The
/// others return a report without the values that are computed from written files.
///
/// # Errors
/// Any error of reading, computing or writing, as one sentence;
/// [`Error::Checkpoint`](crate::Error::Checkpoint) for a checkpoint that is damaged or
/// belongs to a run with other settings, data or base model;
/// [`Error::Interrupted`](crate::Error::Interrupted).
pub fn run(run: &ResolvedRun, control: &Control, observer: &mut dyn Observer) -> Result<Report> {
    let (data, group) = (&run.settings.data, &control.group);
    let mut silent = ();
    let observer = if group.is_main() { observer } else { &mut silent };
    let given = data.validation_data.iter().chain(&data.test_data);
    let checked = check_inputs(given.chain(&run.data).map(|path| path.as_path()), &run.out);
    group.all_succeed(checked)?;
    let directory = RunDirectory::open_in_group(&run.out, control.resume, group, observer)?;
    match run.settings.task {
        TaskKind::Classify => phases::<ClassificationData>(directory, run, control, observer),
        TaskKind::LanguageModel => phases::<LanguageModelData>(directory, run, control, observer),
    }
}

fn phases<D: TaskData>(
    directory: RunDirectory,
    run: &ResolvedRun,
    control: &Control,
    observer: &mut dyn Observer,
) -> Result<Report> {
    let group = &control.group;
    let inputs = group.all_succeed(Inputs::<D>::prepare(directory, run, group, observer))?;
    agreement::check(group, &inputs.run.repeating(), &inputs.identity.inputs)?;
    group.all_succeed(inputs.directory.check_identity(&inputs.identity))?;
    agreement::connect(group, inputs.run.settings.machine.device, observer)?;
    let session = Session::new(inputs, control.stop.clone(), observer)?;
    Results(session.train()?).write()
}

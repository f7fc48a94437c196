//! Observer of a run.

use gpt2_model::TreeLine;

use crate::training::event::Event;

/// Receives the events of a run as they happen. All methods are optional.
pub trait Observer {
    /// A phase that may take a while begins.
    fn stage(&mut self, _name: &str) {}

    /// A note for the user.
    fn notice(&mut self, _note: &str) {}

    /// The modules of the network that is trained.
    fn model(&mut self, _tree: &[TreeLine]) {}

    /// Training begins or resumes.
    fn training(&mut self, _start: TrainingStart) {}

    /// A line of `metrics.jsonl`.
    fn event(&mut self, _event: &Event) {}
}

/// Size of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrainingStart {
    /// Optimizer steps of the run.
    pub steps: usize,
    /// Steps taken before the run was resumed.
    pub done: usize,
    /// Epochs of the run, the last of which may be incomplete.
    pub epochs: usize,
    /// Examples per optimizer step.
    pub examples_per_step: usize,
}

/// Ignores all events.
impl Observer for () {}

//! Observer of a run.

use gpt2_model::TreeLine;

use crate::training::event::Event;

/// Receives the events of a run as they happen. Every method may be left out.
pub trait Observer {
    /// A step that may take a while begins.
    fn stage(&mut self, _what: &str) {}

    /// Something that the user should know and that stops nothing.
    fn notice(&mut self, _what: &str) {}

    /// The modules of the network that is trained.
    fn model(&mut self, _tree: &[TreeLine]) {}

    /// Training begins or resumes.
    fn training(&mut self, _start: TrainingStart) {}

    /// A line of `metrics.jsonl`.
    fn event(&mut self, _event: &Event) {}
}

/// The size of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrainingStart {
    /// Optimizer steps.
    pub steps: usize,
    /// Those that were taken before it was interrupted.
    pub done: usize,
    /// Examples of a step.
    pub examples_per_step: usize,
}

/// Watches nothing.
impl Observer for () {}

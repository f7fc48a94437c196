//! Who watches a run.

use gpt2_model::TreeLine;

use crate::training::event::Event;

/// Is told what a run does while it does it. Every method may be left out.
pub trait Observer {
    /// A step that may take a while begins.
    fn stage(&mut self, _what: &str) {}

    /// Something that the user should know and that stops nothing.
    fn notice(&mut self, _what: &str) {}

    /// The modules of the adapted model.
    fn model(&mut self, _tree: &[TreeLine]) {}

    /// Training begins and will take so many steps.
    fn training(&mut self, _steps: usize) {}

    /// A line of `metrics.jsonl`.
    fn event(&mut self, _event: &Event) {}
}

/// Watches nothing.
impl Observer for () {}

//! Module tree of a model as text.

use tch::Tensor;

use crate::{classifier::Gpt2Classifier, model::gpt2::Gpt2};

/// Module with parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeLine {
    /// Full name, `h.0.attn.c_attn` for example.
    pub name: String,
    /// Layer type and sizes.
    pub about: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Number of trainable parameters.
    pub trainable: u64,
}

impl TreeLine {
    fn new(name: String, about: String, parameters: &[(String, Tensor)]) -> Self {
        let count = |trainable_only: bool| {
            let counted = parameters.iter().filter(|(_, p)| !trainable_only || p.requires_grad());
            counted.map(|(_, parameter)| parameter.numel() as u64).sum()
        };
        Self { name, about, parameters: count(false), trainable: count(true) }
    }
}

impl Gpt2 {
    /// Returns the modules in the order of computation.
    pub fn tree(&self) -> Vec<TreeLine> {
        let mut lines = Vec::new();
        self.visit_modules(&mut |name, about, parameters| {
            lines.push(TreeLine::new(name, about, &parameters));
        });
        lines
    }
}

impl Gpt2Classifier {
    /// The modules in the order they are computed, the head last.
    pub fn tree(&self) -> Vec<TreeLine> {
        let mut lines = Vec::new();
        self.visit_modules(&mut |name, about, parameters| {
            lines.push(TreeLine::new(name, about, &parameters));
        });
        lines
    }
}

/// Formats a tree with one line per module, below the components of its name.
pub fn format_tree(lines: &[TreeLine]) -> String {
    let mut text = String::new();
    let mut open: Vec<&str> = Vec::new();
    for line in lines {
        let path: Vec<&str> = line.name.split('.').collect();
        let Some((leaf, parents)) = path.split_last() else { continue };
        let shared = open.iter().zip(parents).take_while(|(a, b)| a == b).count();
        open.truncate(shared);
        for part in &parents[shared..] {
            text.push_str(&format!("{:indent$}{part}\n", "", indent = 2 * open.len()));
            open.push(part);
        }
        let counts = if line.trainable > 0 {
            format!("{} parameters, {} trainable", line.parameters, line.trainable)
        } else {
            format!("{} parameters", line.parameters)
        };
        let indent = 2 * open.len();
        text.push_str(&format!("{:indent$}{leaf}: {} [{counts}]\n", "", line.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_listed_below_the_components_of_their_names() {
        let line = |name: &str, trainable| TreeLine {
            name: name.to_owned(),
            about: "X".to_owned(),
            parameters: 3,
            trainable,
        };
        let text = format_tree(&[line("wte", 0), line("h.0.a.b", 1), line("h.0.c", 0)]);
        let expected = "wte: X [3 parameters]\nh\n  0\n    a\n      b: X [3 parameters, 1 trainable]\n    \
                        c: X [3 parameters]\n";
        assert_eq!(text, expected);
    }
}

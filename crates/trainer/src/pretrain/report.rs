//! The report of a pretraining run: `report.json`, and a table for people.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::reports::run_report::{bytes, grouped};

/// What a pretraining run was and what came of it. Perplexities are those of the
/// next token on the whole held-out part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PretrainReport {
    /// Folder with the model.
    pub out: PathBuf,
    /// The text.
    pub text: Vec<PathBuf>,
    /// Device that computed, `cpu` or `cuda:N`.
    pub device: String,
    /// Documents that were trained on.
    pub train_documents: usize,
    /// Documents that were held out.
    pub held_out_documents: usize,
    /// Tokens that were trained on.
    pub train_tokens: usize,
    /// Tokens that were held out.
    pub held_out_tokens: usize,
    /// Different tokens in the text that was trained on.
    pub train_vocabulary: u64,
    /// Optimizer steps.
    pub steps: usize,
    /// Tokens seen in these, repetitions included.
    pub tokens_seen: usize,
    /// Passes over the text.
    pub epochs: f64,
    /// Perplexity of the model, as its file holds it.
    pub held_out_perplexity: f64,
    /// Perplexity of a bigram model of the same text.
    pub bigram_perplexity: f64,
    /// Perplexity of a unigram model of the same text.
    pub unigram_perplexity: f64,
    /// Numbers in the model.
    pub parameters: u64,
    /// Bytes of the model file.
    pub model_bytes: u64,
    /// Time of training, evaluations and samples included, in seconds.
    pub seconds: f64,
}

impl PretrainReport {
    /// The report as a table and the place of the model.
    pub fn to_table(&self) -> String {
        let mut text = format!("{:<10}{:>22}\n", "model", "held-out perplexity");
        for (model, perplexity) in [
            ("unigram", self.unigram_perplexity),
            ("bigram", self.bigram_perplexity),
            ("GPT-2", self.held_out_perplexity),
        ] {
            text += &format!("{model:<10}{perplexity:>22.2}\n");
        }
        text += &format!(
            "\n{} tokens seen in {} steps ({:.2} passes over {}), {:.1} minutes on {}\n",
            grouped(self.tokens_seen as u64),
            grouped(self.steps as u64),
            self.epochs,
            grouped(self.train_tokens as u64),
            self.seconds / 60.0,
            self.device,
        );
        text += &format!(
            "held out: {} tokens in {} of {} documents\n",
            grouped(self.held_out_tokens as u64),
            grouped(self.held_out_documents as u64),
            grouped((self.held_out_documents + self.train_documents) as u64),
        );
        text += &format!(
            "model: {} ({} parameters, {})\n",
            self.out.display(),
            grouped(self.parameters),
            bytes(self.model_bytes)
        );
        text
    }
}

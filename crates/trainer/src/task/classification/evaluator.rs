//! Loss, accuracy and logits of a classifier on batches.

use std::collections::{BTreeSet, HashMap};

use dataset::{Batch, TokenizedSet, length_sorted_batches};
use gpt2_model::{Gpt2Classifier, PackedRows, Pooling, tensor::integers};
use tch::{Kind, Reduction, TchError, Tensor};

use crate::{
    error::{Error, Result},
    metrics::argmax,
    training::scalar::scalar,
};

/// Tokens that are computed together where only answers are wanted.
const BATCH_TOKENS: usize = 1024;

/// A classifier and how its rows are pooled.
#[derive(Clone, Copy, Debug)]
pub struct Evaluator<'a> {
    /// The model.
    pub model: &'a Gpt2Classifier,
    /// Position that speaks for a row.
    pub pooling: Pooling,
}

/// What a classifier made of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Number of the row in its part, from 0.
    pub row: usize,
    /// Its class.
    pub label: usize,
    /// One logit a class.
    pub logits: Vec<f32>,
}

impl Prediction {
    /// The class with the highest logit, of equals the first.
    pub fn predicted(&self) -> usize {
        argmax(&self.logits)
    }

    /// The logits as probabilities (softmax), one a class.
    pub fn probabilities(&self) -> Vec<f64> {
        let highest = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let power = |logit: &f32| f64::from(logit - highest).exp();
        let powers: Vec<f64> = self.logits.iter().map(power).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }

    /// Cross-entropy of the row, in nats.
    pub fn loss(&self) -> f64 {
        let highest = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = self.logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
        let own = self.logits.get(self.label).copied().unwrap_or(f32::NEG_INFINITY);
        sum.ln() - f64::from(own - highest)
    }

    /// Whether the class is the predicted one.
    pub fn is_correct(&self) -> bool {
        self.predicted() == self.label
    }
}

impl Evaluator<'_> {
    /// Logits `[rows, classes]` of a batch.
    pub fn logits(&self, batch: &Batch) -> Result<Tensor> {
        let device = self.model.body().device();
        let Some(width) = batch.width else {
            if self.pooling == Pooling::LastPosition {
                return Err(Error::Config(
                    "rows without padding are pooled at their last token, not at the last position"
                        .to_owned(),
                ));
            }
            let rows = PackedRows::new(&batch.ids, &batch.lengths, device)?;
            return Ok(self.model.forward_packed(&rows)?);
        };
        let size = [batch.rows() as i64, width as i64];
        let ids = integers(&batch.ids, device)?.f_view(size)?;
        let lengths = integers(&batch.lengths, device)?;
        Ok(self.model.forward(&ids, &lengths, self.pooling)?)
    }

    /// Mean cross-entropy of a batch, in nats: a scalar to differentiate.
    pub fn loss(&self, batch: &Batch) -> Result<Tensor> {
        Ok(cross_entropy(&self.logits(batch)?, batch, None)?)
    }

    /// The mean of the batches' losses, in nats; `NaN` without a batch.
    pub fn mean_loss(&self, batches: impl Iterator<Item = Batch>) -> Result<f64> {
        let _no_grad = tch::no_grad_guard();
        let (mut sum, mut count) = (0.0, 0);
        for batch in batches {
            sum += scalar(&self.loss(&batch)?)?;
            count += 1;
        }
        Ok(sum / f64::from(count))
    }

    /// The part of all rows that is classified rightly; `NaN` without a row.
    pub fn accuracy(&self, batches: impl Iterator<Item = Batch>) -> Result<f64> {
        Ok(accuracy(&self.predict(batches)?))
    }

    /// A prediction for every row, in the order of the batches.
    pub fn predict(&self, batches: impl Iterator<Item = Batch>) -> Result<Vec<Prediction>> {
        let _no_grad = tch::no_grad_guard();
        let mut all = Vec::new();
        for batch in batches {
            let logits = self.logits(&batch)?.f_to_kind(Kind::Float)?;
            let mut values = vec![0f32; logits.numel()];
            let count = values.len();
            logits.f_contiguous()?.f_view([-1])?.f_copy_data(&mut values, count)?;
            let rows = values.chunks_exact(count / batch.rows().max(1));
            for ((logits, &row), &label) in rows.zip(&batch.row_numbers).zip(&batch.labels) {
                all.push(Prediction { row, label: label as usize, logits: logits.to_vec() });
            }
        }
        Ok(all)
    }

    /// A prediction for each of the rows of `part` that have these numbers, in
    /// their order, at the last token of each. They are computed packed and in the
    /// order of their lengths ([`dataset::length_sorted_batches`]).
    pub fn predict_packed(
        &self,
        part: &TokenizedSet,
        rows: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<Prediction>> {
        let rows: Vec<usize> = rows.into_iter().collect();
        let once: BTreeSet<usize> = rows.iter().copied().collect();
        let found = self.predict(length_sorted_batches(part, once, BATCH_TOKENS)?)?;
        let by_row: HashMap<usize, Prediction> =
            found.into_iter().map(|prediction| (prediction.row, prediction)).collect();
        Ok(rows.iter().filter_map(|row| by_row.get(row).cloned()).collect())
    }
}

/// Mean cross-entropy of a batch's logits `[rows, classes]`, in nats; with a weight
/// for each class `[classes]`, the weighted mean.
pub(crate) fn cross_entropy(
    logits: &Tensor,
    batch: &Batch,
    weights: Option<&Tensor>,
) -> Result<Tensor, TchError> {
    let labels = integers(&batch.labels, logits.device())?;
    // Class weights are float32, and logits of a bfloat16 head are not.
    let logits = logits.f_to_kind(Kind::Float)?;
    logits.f_cross_entropy_loss(&labels, weights, Reduction::Mean, -100, 0.0)
}

/// The part of `predictions` that is right; `NaN` if there is none.
pub fn accuracy(predictions: &[Prediction]) -> f64 {
    let right = predictions.iter().filter(|prediction| prediction.is_correct()).count();
    right as f64 / predictions.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(logits: &[f32]) -> Prediction {
        Prediction { row: 0, label: 1, logits: logits.to_vec() }
    }

    #[test]
    fn probabilities_and_loss_are_those_of_the_logits() {
        assert_eq!(prediction(&[0.0, 1.0, 1000.0]).probabilities(), [0.0, 0.0, 1.0]);
        let even = prediction(&[1.0, 1.0 + 3f32.ln()]);
        assert!((even.probabilities()[1] - 0.75).abs() < 1e-6);
        assert!((even.loss() + 0.75f64.ln()).abs() < 1e-6);
        assert_eq!(prediction(&[0.0, 0.0, 1000.0]).loss(), 1000.0);
    }
}

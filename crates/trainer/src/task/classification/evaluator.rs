//! Logits, loss and accuracy of a classifier on batches.

use std::collections::{BTreeSet, HashMap};

use dataset::{Batch, TokenizedSet, length_sorted_batches};
use distributed::Group;
use gpt2_model::{Gpt2Classifier, PackedRows, Pooling, tensor::integers};
use tch::{Kind, Reduction, TchError, Tensor};

use crate::{
    config::error::{Conflict, SettingsError},
    error::Result,
    metrics::argmax,
    training::scalar::scalar,
};

/// Tokens per batch of an evaluation without padding.
const BATCH_TOKENS: usize = 1024;

/// A classifier and its pooling.
#[derive(Clone, Copy, Debug)]
pub struct Evaluator<'a> {
    /// The model.
    pub model: &'a Gpt2Classifier,
    /// Token whose hidden state is classified.
    pub pooling: Pooling,
    group: Option<&'a Group>,
}

/// Logits of one example.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Index of the example in its set.
    pub row: usize,
    /// True class.
    pub label: usize,
    /// Logits, `[classes]`.
    pub logits: Vec<f32>,
}

impl Prediction {
    /// Class with the highest logit; ties go to the first.
    pub fn predicted(&self) -> usize {
        argmax(&self.logits)
    }

    /// Probabilities (softmax of the logits), `[classes]`.
    pub fn probabilities(&self) -> Vec<f64> {
        let highest = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let power = |logit: &f32| f64::from(logit - highest).exp();
        let powers: Vec<f64> = self.logits.iter().map(power).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }

    /// Cross-entropy of the example, in nats.
    pub fn loss(&self) -> f64 {
        let highest = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = self.logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
        let of_label = self.logits.get(self.label).copied().unwrap_or(f32::NEG_INFINITY);
        sum.ln() - f64::from(of_label - highest)
    }

    /// Returns whether the predicted class is the true one.
    pub fn is_correct(&self) -> bool {
        self.predicted() == self.label
    }
}

impl<'a> Evaluator<'a> {
    /// Creates an evaluator in a single process.
    pub fn new(model: &'a Gpt2Classifier, pooling: Pooling) -> Self {
        Self { model, pooling, group: None }
    }

    /// Shares the batches of each evaluation with the other processes of a group, which must
    /// evaluate the same batches. Every process gets all results.
    #[must_use]
    pub fn with_group(self, group: &'a Group) -> Self {
        Self { group: Some(group), ..self }
    }

    /// Results of all batches, in their order.
    fn map(
        &self,
        batches: impl Iterator<Item = Batch>,
        compute: impl FnMut(Batch) -> Result<Vec<f64>>,
    ) -> Result<Vec<Vec<f64>>> {
        self.group.cloned().unwrap_or_default().map(batches, compute)
    }

    /// Logits of a batch, `[batch, classes]`.
    pub fn logits(&self, batch: &Batch) -> Result<Tensor> {
        let device = self.model.body().device();
        let Some(width) = batch.width else {
            return Ok(self.model.forward_packed(&self.packed(batch)?)?);
        };
        let size = [batch.rows() as i64, width as i64];
        let ids = integers(&batch.ids, device)?.f_view(size)?;
        let lengths = integers(&batch.lengths, device)?;
        Ok(self.model.forward(&ids, &lengths, self.pooling)?)
    }

    /// Sequences of a batch without padding.
    pub(crate) fn packed(&self, batch: &Batch) -> Result<PackedRows> {
        if self.pooling == Pooling::LastPosition {
            return Err(SettingsError::from(Conflict::PoolingPadding).into());
        }
        Ok(PackedRows::new(&batch.ids, &batch.lengths, self.model.body().device())?)
    }

    /// Logits of a batch, `[batch, classes]`, without gradients.
    fn predicted_logits(&self, batch: &Batch) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        match batch.width {
            None => Ok(self.model.predict_packed(&self.packed(batch)?)?),
            Some(_) => self.logits(batch),
        }
    }

    /// Mean cross-entropy of a batch, in nats, as a differentiable scalar.
    pub fn loss(&self, batch: &Batch) -> Result<Tensor> {
        Ok(cross_entropy(&self.logits(batch)?, batch, None)?)
    }

    /// Mean of the losses of batches, in nats; NaN without batches.
    pub fn mean_loss(&self, batches: impl Iterator<Item = Batch>) -> Result<f64> {
        let losses = self.map(batches, |batch| {
            let logits = self.predicted_logits(&batch)?;
            Ok(vec![scalar(&cross_entropy(&logits, &batch, None)?)?])
        })?;
        Ok(losses.iter().flatten().sum::<f64>() / losses.len() as f64)
    }

    /// Accuracy on batches, from 0 to 1; NaN without examples.
    pub fn accuracy(&self, batches: impl Iterator<Item = Batch>) -> Result<f64> {
        Ok(accuracy(&self.predict(batches)?))
    }

    /// Predictions in the order of the batches.
    pub fn predict(&self, batches: impl Iterator<Item = Batch>) -> Result<Vec<Prediction>> {
        let mut examples = Vec::new();
        let batches = batches.inspect(|batch| {
            examples.extend(batch.row_numbers.iter().copied().zip(batch.labels.clone()));
        });
        let logits = self.map(batches, |batch| {
            // Exact: the logits are of float32 or less.
            let logits = self.predicted_logits(&batch)?.f_to_kind(Kind::Double)?;
            let mut values = vec![0.0; logits.numel()];
            let count = values.len();
            logits.f_contiguous()?.f_view([-1])?.f_copy_data(&mut values, count)?;
            Ok(values)
        })?;
        let logits: Vec<f32> = logits.into_iter().flatten().map(|logit| logit as f32).collect();
        let rows = logits.chunks_exact((logits.len() / examples.len().max(1)).max(1));
        let prediction = |((row, label), logits): ((usize, i64), &[f32])| Prediction {
            row,
            label: label as usize,
            logits: logits.to_vec(),
        };
        Ok(examples.into_iter().zip(rows).map(prediction).collect())
    }

    /// Predictions for the examples of `set` with these indices, in their order, pooled at the
    /// last token. They are computed packed and sorted by length
    /// ([`dataset::length_sorted_batches`]).
    pub fn predict_packed(
        &self,
        set: &TokenizedSet,
        rows: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<Prediction>> {
        let rows: Vec<usize> = rows.into_iter().collect();
        let distinct: BTreeSet<usize> = rows.iter().copied().collect();
        let found = self.predict(length_sorted_batches(set, distinct, BATCH_TOKENS)?)?;
        let by_row: HashMap<usize, Prediction> =
            found.into_iter().map(|prediction| (prediction.row, prediction)).collect();
        Ok(rows.iter().filter_map(|row| by_row.get(row).cloned()).collect())
    }
}

/// Mean cross-entropy of a batch with logits `[batch, classes]`, in nats; with class weights
/// `[classes]`, the weighted mean.
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

/// Accuracy of predictions, from 0 to 1; NaN without predictions.
pub fn accuracy(predictions: &[Prediction]) -> f64 {
    let correct = predictions.iter().filter(|prediction| prediction.is_correct()).count();
    correct as f64 / predictions.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(logits: &[f32]) -> Prediction {
        Prediction { row: 0, label: 1, logits: logits.to_vec() }
    }

    #[test]
    fn probabilities_and_loss_follow_from_the_logits() {
        assert_eq!(prediction(&[0.0, 1.0, 1000.0]).probabilities(), [0.0, 0.0, 1.0]);
        let odds = prediction(&[1.0, 1.0 + 3f32.ln()]);
        assert!((odds.probabilities()[1] - 0.75).abs() < 1e-6);
        assert!((odds.loss() + 0.75f64.ln()).abs() < 1e-6);
        assert_eq!(prediction(&[0.0, 0.0, 1000.0]).loss(), 1000.0);
    }
}

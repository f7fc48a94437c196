//! Language-modeling task of the training loop.

use std::rc::Rc;

use dataset::{END_OF_TEXT, Tokenizer, TorchRng, TrainWindows, WindowBatch, stream_windows};
use distributed::Group;
use gpt2_model::{GenerateConfig, Gpt2, RandomSampling, Sampling, generate};
use tch::{Device, Kind, Tensor};

use crate::{
    config::settings::Settings,
    error::{Error, Result},
    task::{
        language_model::{
            sampled_softmax::{Candidates, Sampler},
            tied_head,
        },
        objective::{Measures, Objective, Task},
    },
};

/// Tokens per batch of an evaluation.
pub(crate) const EVALUATION_TOKENS: usize = 8192;

/// Tokens of a generated sample.
const SAMPLE_TOKENS: usize = 60;

/// Windows of text, and the candidates of the sampled softmax.
#[derive(Debug)]
pub struct LanguageModelBatch {
    windows: WindowBatch,
    /// First token of each window, as an index into the training set.
    starts: Vec<usize>,
    candidates: Option<Rc<Candidates>>,
}

impl LanguageModelBatch {
    /// Number of tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.windows.ids.len()
    }
}

/// Next-token prediction on windows of text.
#[derive(Debug)]
pub(crate) struct LanguageModelTask<'a> {
    model: &'a Gpt2,
    windows: TrainWindows<'a>,
    train: &'a [u32],
    validation: &'a [u32],
    sampler: Option<Sampler>,
    /// Data type of the matrix products of the head.
    kind: Kind,
    context: usize,
    micro_batch_size: usize,
    eval_batches: usize,
    seed: u32,
    group: Group,
}

impl<'a> LanguageModelTask<'a> {
    /// Task of a model on the tokens of training and validation set.
    pub fn new(
        model: &'a Gpt2,
        train: &'a [u32],
        validation: &'a [u32],
        settings: &Settings,
    ) -> Result<Self> {
        let training = &settings.training;
        let context = settings.data.max_length.unwrap_or(model.config().n_positions as usize);
        let vocabulary = model.config().vocab_size as usize;
        let (seed, device) = (training.seed, model.device());
        let sampler = training.softmax_candidates;
        let sampler =
            sampler.map(|size| Sampler::new(&counts(train, vocabulary), size, seed, device));
        give_gradient(model.token_embedding())?;
        Ok(Self {
            model,
            windows: TrainWindows::new(train, context, training.examples_per_step(), seed)?,
            train,
            validation,
            sampler,
            kind: settings.machine.dtype.kind(),
            context,
            micro_batch_size: training.batch_size,
            eval_batches: training.eval_batches,
            seed,
            group: Group::alone(),
        })
    }

    /// Shares the batches of each evaluation with the other processes of a group.
    #[must_use]
    pub fn with_group(self, group: Group) -> Self {
        Self { group, ..self }
    }

    /// Measures on the first `batches` batches of the validation set.
    pub fn evaluate_validation(&self, batches: usize) -> Result<Measures> {
        evaluate(self.model, self.validation, self.context, batches, &self.group)
    }

    /// Measures on the first `batches` batches of the training set.
    pub fn evaluate_train(&self, batches: usize) -> Result<Measures> {
        evaluate(self.model, self.train, self.context, batches, &self.group)
    }
}

/// Number of occurrences of each token as a target, which the first of a stream is not.
fn counts(stream: &[u32], vocabulary: usize) -> Vec<u64> {
    let mut counts = vec![0; vocabulary];
    for &token in stream.iter().skip(1) {
        if let Some(count) = counts.get_mut(token as usize) {
            *count += 1;
        }
    }
    counts
}

/// Gives a trainable token embedding a gradient of zeros, to which [`tied_head::backward`]
/// adds.
fn give_gradient(embedding: &Tensor) -> Result<()> {
    if embedding.requires_grad() && !embedding.f_grad()?.defined() {
        let nothing = embedding.f_narrow(0, 0, 1)?.f_sum(Kind::Float)?;
        nothing.f_mul_scalar(0.0)?.f_backward()?;
    }
    Ok(())
}

/// Evaluates next-token prediction on a stream of tokens with the full softmax, in
/// consecutive windows of `context` tokens and at most `batches` batches, which the processes of
/// `group` share.
pub(crate) fn evaluate(
    model: &Gpt2,
    stream: &[u32],
    context: usize,
    batches: usize,
    group: &Group,
) -> Result<Measures> {
    let _no_grad = tch::no_grad_guard();
    let rows = (EVALUATION_TOKENS / context.max(1)).max(1);
    let sums = group.map(stream_windows(stream, context, rows).take(batches), |batch| {
        let size = [batch.rows() as i64, batch.width as i64];
        let ids = Tensor::f_from_slice(&batch.ids)?.f_view(size)?.f_to_device(model.device())?;
        let targets = Tensor::f_from_slice(&batch.targets)?.f_to_device(model.device())?;
        let hidden = model.forward(&ids)?.f_view([-1, model.config().n_embd])?;
        let (sum, hits) = tied_head::evaluate(model.token_embedding(), &hidden, &targets)?;
        Ok::<_, Error>(vec![sum, hits, batch.targets.len() as f64])
    })?;
    let [loss, correct, count] =
        [0, 1, 2].map(|index| sums.iter().filter_map(|sums| sums.get(index)).sum::<f64>());
    Ok(Measures { loss: loss / count, accuracy: correct / count })
}

impl Objective for LanguageModelTask<'_> {
    type Batch = LanguageModelBatch;

    fn micro_batches(&self, batch: &LanguageModelBatch) -> Option<Vec<LanguageModelBatch>> {
        let LanguageModelBatch { windows, starts, candidates } = batch;
        if windows.rows() <= self.micro_batch_size {
            return None;
        }
        let tokens = self.micro_batch_size * windows.width;
        let pairs = windows.ids.chunks(tokens).zip(windows.targets.chunks(tokens));
        let micro_batch = |((ids, targets), starts): ((&[i64], &[i64]), &[usize])| {
            let (ids, targets) = (ids.to_vec(), targets.to_vec());
            LanguageModelBatch {
                windows: WindowBatch { ids, targets, width: windows.width },
                starts: starts.to_vec(),
                candidates: candidates.clone(),
            }
        };
        Some(pairs.zip(starts.chunks(self.micro_batch_size)).map(micro_batch).collect())
    }

    fn weight(&self, batch: &LanguageModelBatch) -> f64 {
        batch.windows.targets.len() as f64
    }

    fn backward(&self, batch: &LanguageModelBatch, factor: f64) -> Result<Tensor> {
        let LanguageModelBatch { windows, candidates, .. } = batch;
        let (model, device) = (self.model, self.model.device());
        let embedding = model.token_embedding();
        let dim = model.config().n_embd;
        let ids = Tensor::f_from_slice(&windows.ids)?.f_to_device(device)?;
        let targets = Tensor::f_from_slice(&windows.targets)?.f_to_device(device)?;
        // The embedded tokens are a leaf here: their gradient has a row per token of the batch,
        // while the gradient of the table would have a row per token of the vocabulary.
        let is_trained = embedding.requires_grad();
        let size = [windows.rows() as i64, windows.width as i64, dim];
        let embedded = embedding.f_detach()?.f_index_select(0, &ids)?.f_view(size)?;
        let embedded = embedded.f_set_requires_grad(is_trained)?;
        let hidden = model.forward_embedded(&embedded)?.f_view([-1, dim])?;
        let mut gradient = is_trained.then(|| embedding.f_grad()).transpose()?;
        let (loss, by_hidden) = tied_head::backward(
            embedding,
            gradient.as_mut(),
            &hidden,
            &targets,
            candidates.as_deref(),
            self.kind,
            factor,
        )?;
        if hidden.requires_grad() {
            // Its gradient with respect to the parameters below equals the gradient of the loss.
            hidden.f_mul(&by_hidden)?.f_sum(Kind::Float)?.f_backward()?;
        }
        if let Some(gradient) = &mut gradient {
            let by_embedded = embedded.f_grad()?.f_view([-1, dim])?;
            let _ = gradient.f_index_add_(0, &ids, &by_embedded)?;
        }
        Ok(loss.f_view([0i64; 0])?)
    }
}

impl Task for LanguageModelTask<'_> {
    fn device(&self) -> Device {
        self.model.device()
    }

    fn steps_per_epoch(&self) -> usize {
        self.windows.batches_per_epoch()
    }

    fn epoch<'s>(
        &'s self,
        epoch: usize,
        skip: usize,
        _rng: &mut TorchRng,
    ) -> Box<dyn Iterator<Item = Result<LanguageModelBatch>> + 's> {
        let steps = self.steps_per_epoch();
        let first = epoch.saturating_sub(1) * steps;
        let mut windows = self.windows.clone();
        Box::new((first + skip..first + steps).map(move |step| {
            let batch = windows.batch(step);
            let candidates = self
                .sampler
                .as_ref()
                .map(|sampler| sampler.candidates(step, &batch.targets).map(Rc::new));
            let candidates = candidates.transpose()?;
            Ok(LanguageModelBatch { windows: batch, starts: windows.starts(step), candidates })
        }))
    }

    fn examples(&self, batch: &LanguageModelBatch) -> Vec<usize> {
        batch.starts.clone()
    }

    fn describe(&self, examples: &[usize]) -> String {
        format!("windows that begin at tokens {examples:?} of the training set")
    }

    fn losses(&self, _rng: &mut TorchRng) -> Result<[f64; 2]> {
        let train = self.evaluate_train(self.eval_batches)?;
        Ok([train.loss, self.evaluate_validation(self.eval_batches)?.loss])
    }

    fn accuracies(&self, _rng: &mut TorchRng) -> Result<[f64; 2]> {
        let train = self.evaluate_train(self.eval_batches)?;
        Ok([train.accuracy, self.evaluate_validation(self.eval_batches)?.accuracy])
    }

    fn validate(&self) -> Result<Measures> {
        self.evaluate_validation(usize::MAX)
    }

    /// Text generated from the end-of-text token, as at the beginning of a document.
    fn sample(&self) -> Result<Option<String>> {
        let config = GenerateConfig {
            max_new_tokens: SAMPLE_TOKENS,
            sampling: Sampling::Random(RandomSampling {
                temperature: 0.8,
                top_k: Some(40),
                seed: self.seed.into(),
                ..Default::default()
            }),
            stop_tokens: vec![i64::from(END_OF_TEXT)],
            ..Default::default()
        };
        let new = generate(self.model, &[i64::from(END_OF_TEXT)], &config, |_| ())?;
        let ids: Vec<u32> = new.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
        Ok(Some(Tokenizer::gpt2().decode(&ids)))
    }
}

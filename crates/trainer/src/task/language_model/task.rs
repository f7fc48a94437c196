//! Language-modeling task of the training loop.

use std::rc::Rc;

use dataset::{Tokenizer, TorchRng};
use distributed::Group;
use gpt2_model::{GenerateConfig, Gpt2, RandomSampling, Sampling, generate};
use tch::{Device, Tensor};

use crate::{
    config::settings::Settings,
    error::Result,
    task::{
        language_model::{
            batch::LanguageModelBatch,
            evaluation::evaluate,
            objective::LanguageModelObjective,
            sampled_softmax::Sampler,
            source::{Set, Source},
        },
        objective::{LanguageMeasures, Losses, Measures, Objective, Sample, Task},
    },
};

/// Tokens of a generated sample.
const SAMPLE_TOKENS: usize = 60;

/// Prompts of validation examples that are continued.
const SAMPLES: usize = 3;

/// Next-token prediction on windows of text or on examples.
#[derive(Debug)]
pub(crate) struct LanguageModelTask<'a> {
    model: &'a Gpt2,
    source: Source<'a>,
    sampler: Option<Sampler>,
    /// Prompts of generated texts.
    prompts: Vec<Vec<u32>>,
    /// End of an answer in the text of a conversation.
    turn_end: Option<String>,
    objective: LanguageModelObjective<'a>,
    eval_batches: usize,
    seed: u32,
    tokenizer: Tokenizer,
    group: Group,
}

impl<'a> LanguageModelTask<'a> {
    /// Task of a model on its training and validation set.
    pub fn new(
        model: &'a Gpt2,
        source: Source<'a>,
        settings: &Settings,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let training = &settings.training;
        let (seed, device) = (training.seed, model.device());
        let counts = || source.target_counts(model.config().vocab_size as usize);
        let sampler = training.softmax_candidates;
        let sampler = sampler.map(|size| Sampler::new(&counts(), size, seed, device));
        let objective = LanguageModelObjective::new(model, settings.machine.dtype)?
            .micro_batches_of(training.batch_size);
        Ok(Self {
            model,
            objective,
            sampler,
            prompts: usual_prompts(&source, tokenizer),
            turn_end: None,
            source,
            eval_batches: training.eval_batches,
            seed,
            tokenizer: tokenizer.clone(),
            group: Group::alone(),
        })
    }

    /// Shares the batches of each evaluation with the other processes of a group.
    #[must_use]
    pub fn with_group(self, group: Group) -> Self {
        Self { group, ..self }
    }

    /// Sets the tokens of the prompts of generated texts, unless there are none, and what ends an answer
    /// in them.
    #[must_use]
    pub fn with_samples(mut self, prompts: &[Vec<u32>], turn_end: Option<&str>) -> Self {
        if !prompts.is_empty() {
            self.prompts = prompts.to_vec();
        }
        Self { turn_end: turn_end.map(str::to_owned), ..self }
    }

    /// Measures on the first `batches` batches of a set.
    pub fn evaluate(&self, set: Set, batches: usize) -> Result<LanguageMeasures> {
        let has_prompt = self.source.has_prompt();
        evaluate(self.model, self.source.evaluation(set).take(batches), has_prompt, &self.group)
    }

    /// Measures of the tokens in the loss.
    pub fn of_loss(&self, measures: &LanguageMeasures) -> Measures {
        let of_loss = if self.source.learns_completions() { measures.main() } else { measures.all };
        Measures { loss: of_loss.loss, accuracy: of_loss.accuracy }
    }
}

/// Tokens of the prompts of generated texts: of the first validation examples, or the beginning of a
/// text.
fn usual_prompts(source: &Source<'_>, tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    match source {
        Source::Examples(examples) if examples.has_prompt => {
            let sequences = examples.sets[Set::Validation as usize].sequences.iter();
            sequences.take(SAMPLES).map(|sequence| sequence.prompt().to_vec()).collect()
        }
        _ => vec![vec![tokenizer.end_of_text()]],
    }
}

impl Objective for LanguageModelTask<'_> {
    type Batch = LanguageModelBatch;

    fn micro_batches(&self, batch: &LanguageModelBatch) -> Option<Vec<LanguageModelBatch>> {
        self.objective.micro_batches(batch)
    }

    fn weight(&self, batch: &LanguageModelBatch) -> f64 {
        self.objective.weight(batch)
    }

    fn backward(&self, batch: &LanguageModelBatch, factor: f64) -> Result<Tensor> {
        self.objective.backward(batch, factor)
    }
}

impl Task for LanguageModelTask<'_> {
    fn device(&self) -> Device {
        self.model.device()
    }

    fn steps_per_epoch(&self) -> usize {
        self.source.steps_per_epoch()
    }

    fn epoch<'s>(
        &'s self,
        epoch: usize,
        skip: usize,
        rng: &mut TorchRng,
    ) -> Box<dyn Iterator<Item = Result<LanguageModelBatch>> + 's> {
        let first = epoch.saturating_sub(1) * self.steps_per_epoch() + skip;
        let batches = self.source.epoch(epoch, skip, rng).enumerate();
        Box::new(batches.map(move |(index, mut batch)| {
            if let Some(sampler) = &self.sampler {
                let candidates = sampler.candidates(first + index, &batch.learned_targets())?;
                batch.candidates = Some(Rc::new(candidates));
            }
            Ok(batch)
        }))
    }

    fn examples(&self, batch: &LanguageModelBatch) -> Vec<usize> {
        batch.examples.clone()
    }

    fn describe(&self, examples: &[usize]) -> String {
        let Source::Examples(all) = &self.source else {
            return format!("windows that begin at tokens {examples:?} of the training set");
        };
        let sequences = &all.sets[Set::Train as usize].sequences;
        let places = examples.iter().filter_map(|&index| sequences.get(index));
        let places: Vec<String> = places.map(|sequence| sequence.place.to_string()).collect();
        format!("examples in {}", places.join("; "))
    }

    fn losses(&self, _rng: &mut TorchRng) -> Result<Losses> {
        let train = self.of_loss(&self.evaluate(Set::Train, self.eval_batches)?).loss;
        let measures = self.evaluate(Set::Validation, self.eval_batches)?;
        let validation = self.of_loss(&measures).loss;
        Ok(Losses { train, validation, language_model: Some(measures) })
    }

    fn accuracies(&self, _rng: &mut TorchRng) -> Result<[f64; 2]> {
        let train = self.of_loss(&self.evaluate(Set::Train, self.eval_batches)?);
        let validation = self.of_loss(&self.evaluate(Set::Validation, self.eval_batches)?);
        Ok([train.accuracy, validation.accuracy])
    }

    fn validate(&self) -> Result<Measures> {
        Ok(self.of_loss(&self.evaluate(Set::Validation, usize::MAX)?))
    }

    /// Texts generated after the prompts; without one, after the end-of-text token, as at the
    /// beginning of a document.
    fn samples(&self) -> Result<Vec<Sample>> {
        let (tokenizer, end_of_text) = (&self.tokenizer, self.tokenizer.end_of_text());
        let config = GenerateConfig {
            max_new_tokens: SAMPLE_TOKENS,
            sampling: Sampling::Random(RandomSampling {
                temperature: 0.8,
                top_k: Some(40),
                seed: self.seed.into(),
                ..Default::default()
            }),
            stop_tokens: self.model.config().ends_of_text().0,
            ..Default::default()
        };
        let sample = |prompt: &Vec<u32>| {
            let ids: Vec<i64> = prompt.iter().copied().map(i64::from).collect();
            let new = generate(self.model, &ids, &config, |_| ())?;
            let new: Vec<u32> = new.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
            let has_text = *prompt != [end_of_text];
            let prompt = has_text.then(|| tokenizer.decode(prompt));
            let mut text = tokenizer.decode(&new);
            if let Some(end) = self.turn_end.as_deref().and_then(|end| text.find(end)) {
                text.truncate(end);
            }
            Ok(Sample { prompt, text })
        };
        self.prompts.iter().map(sample).collect()
    }
}

//! Text generation with a saved adapter.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use dataset::{
    Chunk, CompletionColumns, CompletionFiles, PromptEncoder, PromptFormat, PromptTokens,
    TableOptions, TablePrompts, Tokenizer,
};
use gpt2_model::{DType, FinishReason, GenerateConfig, Gpt2, Prompt, check_prompt, generate_batch};
use serde::Serialize;
use tch::Device;

use crate::{
    config::paths,
    error::Result,
    inference::{
        base_model::BaseOptions, language_model::LanguageModel, saved_adapter::SavedAdapter,
        text_stream::TextStream,
    },
    vocabulary::{check_vocabulary, with_special_tokens},
};

/// Reason for which a completion ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    /// The model ended the text.
    Stop,
    /// The text has the maximum number of new tokens or fills the model's context.
    Length,
    /// A stop string, which is not part of the completion.
    StopString,
}

impl Finish {
    /// Returns `stop`, `length` or `stop-string`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::StopString => "stop-string",
        }
    }
}

/// Text that follows a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Completion {
    /// Text.
    #[serde(rename = "completion")]
    pub text: String,
    /// Reason for which it ends.
    #[serde(rename = "finish_reason")]
    pub finish: Finish,
    /// Number of generated tokens.
    pub new_tokens: usize,
}

/// Function that is called with the index of a prompt and a piece of its completion.
pub type OnText<'a> = &'a mut dyn FnMut(usize, &str);

/// Settings of a generation.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// Settings of the model. Texts end at its end-of-text tokens too.
    pub config: GenerateConfig,
    /// Strings that end a text, none of them empty.
    pub stop: Vec<String>,
    /// Prompts that are continued together. It does not change the texts.
    pub batch_size: usize,
}

impl Default for GenerationRequest {
    fn default() -> Self {
        Self { config: GenerateConfig::default(), stop: Vec::new(), batch_size: 8 }
    }
}

/// Options for loading a [`Generator`].
#[derive(Clone, Debug, Default)]
pub struct GeneratorOptions {
    base: BaseOptions,
    dtype: DType,
}

impl GeneratorOptions {
    /// Base model: a folder, or the name of one below `weights/`. By default, the base model
    /// of the training.
    pub fn base(mut self, base: impl Into<String>) -> Self {
        self.base.model = Some(base.into());
        self
    }

    /// Device. By default, the first CUDA device if there is one, else the CPU.
    pub fn device(mut self, device: Device) -> Self {
        self.base.device = Some(device);
        self
    }

    /// Data type of the merged weights and of matrix products. By default float32.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Loads the adapter of a language model in a folder, of this project or of Hugging Face PEFT,
    /// and its base model; or a complete language model.
    ///
    /// # Errors
    /// [`Error::Lora`](crate::Error::Lora) or [`Error::Model`](crate::Error::Model) name the file at
    /// fault; so does [`Error::Adapter`](crate::Error::Adapter) if the adapter belongs to a
    /// classifier.
    pub fn load(&self, adapter: impl AsRef<Path>) -> Result<Generator> {
        self.of(SavedAdapter::load(adapter.as_ref())?.load_language_model(&self.base)?)
    }

    /// Loads a model alone, in the format of its training if it was trained here, or with `seed` a
    /// randomly initialized one of its shape.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Model`](crate::Error::Model), or
    /// [`Error::Adapter`](crate::Error::Adapter) for a classifier.
    pub fn load_base(&self, base: &str, seed: Option<u64>) -> Result<Generator> {
        let folder = paths::model(base, seed.is_some())?;
        if seed.is_none() {
            let options = BaseOptions { model: None, ..self.base.clone() };
            return self.of(SavedAdapter::load_model(folder)?.load_language_model(&options)?);
        }
        let tokenizer = Tokenizer::of_model(&folder)?;
        let body = paths::load(&folder, seed, self.base.device()?)?;
        let mut notes = body.notes().to_vec();
        notes.extend(check_vocabulary(body.config(), &tokenizer, &folder)?);
        let model = with_special_tokens(body, &tokenizer).with_dtype(self.dtype)?;
        Generator::new(model, tokenizer, None, folder, notes)
    }

    fn of(&self, model: LanguageModel) -> Result<Generator> {
        let LanguageModel { body, metadata, tokenizer, base, notes } = model;
        Generator::new(body.with_dtype(self.dtype)?, tokenizer, metadata.prompts, base, notes)
    }
}

/// Language model: a base model with a trained adapter, or a complete model.
#[derive(Debug)]
pub struct Generator {
    model: Gpt2,
    tokenizer: Tokenizer,
    /// Format of the training; `None` for plain text.
    format: Option<PromptFormat>,
    prompts: PromptEncoder,
    base: PathBuf,
    notes: Vec<String>,
}

impl Generator {
    fn new(
        model: Gpt2,
        tokenizer: Tokenizer,
        format: Option<PromptFormat>,
        base: PathBuf,
        notes: Vec<String>,
    ) -> Result<Self> {
        let arithmetic = model.preferred_arithmetic();
        let model = model.with_arithmetic(arithmetic);
        let prompts = PromptEncoder::new(format.as_ref(), &tokenizer)?;
        Ok(Self { model, tokenizer, format, prompts, base, notes })
    }

    /// Loads the adapter in a folder with the default options, see [`GeneratorOptions::load`].
    ///
    /// # Errors
    /// See [`GeneratorOptions::load`].
    pub fn load(adapter: impl AsRef<Path>) -> Result<Self> {
        Self::options().load(adapter)
    }

    /// Returns the default options: the base model of the training, and the first CUDA device
    /// if there is one.
    pub fn options() -> GeneratorOptions {
        GeneratorOptions::default()
    }

    /// Returns the base model's folder.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Notes about the files: what of them was ignored, or that the base model may be a
    /// rounded copy of the one that the adapter was trained on.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns whether a completion continues the text of a prompt, as no template puts text between
    /// them.
    pub fn continues_prompts(&self) -> bool {
        self.prompts.is_continued()
    }

    pub(super) fn model(&self) -> &Gpt2 {
        &self.model
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns files of examples for an evaluation, in the format of the training.
    pub fn completion_files(
        &self,
        paths: Vec<PathBuf>,
        options: TableOptions,
        columns: CompletionColumns,
    ) -> CompletionFiles {
        let (adapter, tokenizer) = (self.format.clone(), self.tokenizer.clone());
        CompletionFiles { paths, options, columns, adapter, tokenizer, ..Default::default() }
    }

    /// Returns the format of the training; `None` for plain text.
    pub(super) fn format(&self) -> Option<&PromptFormat> {
        self.format.as_ref()
    }

    /// Returns the prompts of a table in the format of the training; `column` names their column.
    pub(super) fn of_table<'a>(&'a self, column: Option<&'a str>) -> TablePrompts<'a> {
        self.prompts.of_table(column)
    }

    /// Returns a note if a chat template was used that is not the adapter's.
    pub(super) fn template_note(&self) -> Option<String> {
        self.prompts.note()
    }

    /// Continues prompts of the user, in the format of the training, and returns what follows each, or
    /// the reason for which a prompt cannot be continued: it is empty or fills the model's context.
    /// `on_text` is called with the index of a prompt and a piece of its completion as soon as it is
    /// certain; `first` is the number of the first prompt, whose generator is seeded with it.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) for a setting outside its range or damaged weights.
    pub fn generate<S: AsRef<str>>(
        &self,
        prompts: &[S],
        first: u64,
        request: &GenerationRequest,
        on_text: Option<OnText<'_>>,
    ) -> Result<Vec<Result<Completion, gpt2_model::Error>>> {
        let ids = prompts.iter().map(|prompt| self.prompts.encode(prompt.as_ref()));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        self.continue_tokens(&ids, first, request, on_text)
    }

    /// As [`Generator::generate`], of the prompts of the rows of a chunk, some of which have none.
    pub(super) fn continue_rows(
        &self,
        chunk: &Chunk,
        prompts: Vec<Result<PromptTokens, dataset::Error>>,
        first: u64,
        request: &GenerationRequest,
    ) -> Result<Vec<Result<Completion, String>>> {
        let mut reasons = Vec::with_capacity(prompts.len());
        let ids = prompts.into_iter().map(|prompt| {
            reasons.push(prompt.as_ref().err().map(ToString::to_string));
            // A row keeps its number, and an empty prompt is not continued.
            prompt.unwrap_or_default()
        });
        let ids: Vec<PromptTokens> = ids.collect();
        let outcomes = self.continue_tokens(&ids, first, request, None)?;
        let outcomes = outcomes.into_iter().zip(reasons).enumerate();
        let outcomes = outcomes.map(|(row, (outcome, reason))| match reason {
            Some(reason) => Err(reason),
            None => outcome.map_err(|error| chunk.error(row, error.to_string()).to_string()),
        });
        Ok(outcomes.collect())
    }

    /// As [`Generator::generate`], of tokens.
    pub(super) fn continue_tokens(
        &self,
        prompts: &[PromptTokens],
        first: u64,
        request: &GenerationRequest,
        mut on_text: Option<OnText<'_>>,
    ) -> Result<Vec<Result<Completion, gpt2_model::Error>>> {
        self.tokenizer.check()?;
        let mut config = request.config.clone();
        config.stop_tokens.extend(self.model.config().ends_of_text().0);
        config.check()?;
        let mut outcomes = Vec::with_capacity(prompts.len());
        let (mut usable, mut indices) = (Vec::new(), Vec::new());
        for (index, (number, prompt)) in (first..).zip(prompts).enumerate() {
            let ids: Vec<i64> = prompt.ids.iter().copied().map(i64::from).collect();
            outcomes.push(check_prompt(self.model.config(), &ids).map(|()| None));
            if outcomes[index].is_ok() {
                usable.push(Prompt { ids, number });
                indices.push(index);
            }
        }
        let stream = |&index: &usize| {
            let PromptTokens { ids, end, is_continued } = &prompts[index];
            let before = if *is_continued { &ids[..] } else { &[] };
            TextStream::new(&self.tokenizer, request.stop.iter().chain(end), before)
        };
        let mut streams: Vec<_> = indices.iter().map(stream).collect();
        let mut on_token = |row: usize, token: i64| {
            let new = streams[row].push(u32::try_from(token).unwrap_or(u32::MAX));
            if let Some(on_text) = on_text.as_mut().filter(|_| !new.is_empty()) {
                on_text(indices[row], &new);
            }
            if streams[row].stopped_by().is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let generated =
            generate_batch(&self.model, &usable, &config, request.batch_size, &mut on_token)?;
        for ((generated, stream), &index) in generated.into_iter().zip(streams).zip(&indices) {
            let by_turn_end = stream.stopped_by().is_some_and(|stop| stop >= request.stop.len());
            let (text, rest) = stream.finish();
            if let Some(on_text) = on_text.as_mut().filter(|_| !rest.is_empty()) {
                on_text(index, &rest);
            }
            let finish = match generated.finish {
                FinishReason::StopToken => Finish::Stop,
                FinishReason::Length => Finish::Length,
                FinishReason::Interrupted if by_turn_end => Finish::Stop,
                FinishReason::Interrupted => Finish::StopString,
            };
            let new_tokens = generated.tokens.len();
            outcomes[index] = Ok(Some(Completion { text, finish, new_tokens }));
        }
        // Every usable prompt has a completion.
        Ok(outcomes.into_iter().filter_map(Result::transpose).collect())
    }
}

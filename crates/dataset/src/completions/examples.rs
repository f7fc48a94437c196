//! Examples for language models, read from tables.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{
    conversation::{Message, messages, segments},
    error::CompletionError,
    prompt_format::PromptFormat,
    record::{check_nul, records, text},
    schema::{CompletionColumns, Detected, Schema, detect},
    template::{ALPACA, ChatTemplate, END, PROMPT, Template},
};
use crate::{
    error::{Error, Position, Result},
    random::randperm,
    table::{Chunk, Source, TableOptions, TableReader, Wanted, expand},
};

/// Rows read at a time.
const CHUNK: usize = 4096;

/// Files of examples for a language model and how to read them.
#[derive(Clone, Debug, Default)]
pub struct CompletionFiles {
    /// Files of all examples, one after the other; the training set if `validation` is given.
    pub paths: Vec<PathBuf>,
    /// File of the validation set; `None`: split off the training set.
    pub validation: Option<PathBuf>,
    /// Format of each file. The columns of text and label have no effect.
    pub options: TableOptions,
    /// Names of columns.
    pub columns: CompletionColumns,
    /// Template of prompts, which sees all columns; `None`: the template of the schema.
    pub prompt_template: Option<PathBuf>,
    /// Template of conversations; `None`: the model's, else [`ChatTemplate::standard`].
    pub chat_template: Option<PathBuf>,
    /// Directory of the model, which may have a chat template.
    pub model: PathBuf,
    /// Text of the end-of-text token: `<|endoftext|>`.
    pub end_of_text: String,
}

/// Place of an example in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: Arc<Path>,
    position: Position,
}

impl Place {
    /// Returns the error of an example.
    pub fn error(&self, reason: String) -> Error {
        Error::at(&self.path, self.position, reason)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.path.display(), self.position)
    }
}

/// Part of an example's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Text, in which [`END`] stands for the end-of-text token.
    pub text: String,
    pub is_learned: bool,
}

/// Text of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextExample {
    pub segments: Vec<Segment>,
    pub place: Place,
}

/// Examples of a training and a validation set, as text.
#[derive(Clone, Debug)]
pub struct CompletionExamples {
    pub(crate) train: Vec<TextExample>,
    pub(crate) validation: Vec<TextExample>,
    format: PromptFormat,
    notes: Vec<String>,
    sha256: String,
}

impl CompletionFiles {
    /// Reads the files. Examples with an empty text or completion are skipped and counted. Without
    /// a validation file, `validation_fraction` of the examples, at least one, are the validation
    /// set: the first ones of a permutation by `seed`.
    ///
    /// # Errors
    /// Errors of a file that cannot be read, as of [`TableReader`]; [`Error::Completions`] for
    /// unknown columns, a template that fails, or too few examples; [`Error::Line`] or
    /// [`Error::Row`] for a value of a wrong type.
    ///
    /// [`Error::Completions`]: crate::Error::Completions
    /// [`Error::Line`]: crate::Error::Line
    /// [`Error::Row`]: crate::Error::Row
    pub fn read(&self, validation_fraction: f64, seed: u32) -> Result<CompletionExamples> {
        let sources = |paths: &[PathBuf]| -> Result<Vec<Source>> {
            expand(paths)?.into_iter().map(|path| Source::new(path).spooled()).collect()
        };
        let train = sources(&self.paths)?;
        let validation = self.validation.as_ref().map(|path| sources(std::slice::from_ref(path)));
        let validation = validation.transpose()?;
        let mut reader = Reader::new(self)?;
        let mut sums = String::new();
        for source in train.iter().chain(validation.iter().flatten()) {
            sums.push_str(&source.sha256()?);
        }
        let is_one = train.len() == 1 && validation.is_none();
        let first = train.first().map(|source| source.name().to_owned()).unwrap_or_default();
        let mut train = reader.read(&train)?;
        let validation = match &validation {
            Some(sources) => reader.read(sources)?,
            None => held_out(&mut train, validation_fraction, seed, &first)?,
        };
        let Reader { format, mut notes, chat, .. } = reader;
        let format = format.ok_or(CompletionError::TooFew { path: first, examples: 0 })?;
        // The templates of this program do not change.
        let is_given = self.prompt_template.is_some() || chat.is_some_and(|it| it.is_given());
        sums.extend(format.template.iter().filter(|_| is_given).map(String::as_str));
        let sha256 = if is_one && !is_given { sums } else { storage::sha256(sums.as_bytes()) };
        notes.insert(0, format!("schema: {}", format.schema));
        Ok(CompletionExamples { train, validation, format, notes, sha256 })
    }
}

/// Moves examples from the training to the validation set.
fn held_out(
    train: &mut Vec<TextExample>,
    fraction: f64,
    seed: u32,
    path: &Path,
) -> Result<Vec<TextExample>> {
    let count = train.len();
    if count < 2 {
        let (path, examples) = (path.to_owned(), count);
        return Err(CompletionError::TooFew { path, examples }.into());
    }
    let held = ((count as f64 * fraction).round() as usize).clamp(1, count - 1);
    let order = randperm(count, seed.into());
    let mut is_held = vec![false; count];
    order[..held].iter().for_each(|&index| is_held[index] = true);
    let mut all = is_held.into_iter().zip(std::mem::take(train));
    let mut validation = Vec::with_capacity(held);
    for (is_held, example) in &mut all {
        if is_held { validation.push(example) } else { train.push(example) }
    }
    Ok(validation)
}

impl CompletionExamples {
    /// Returns the schema and its template.
    pub fn format(&self) -> &PromptFormat {
        &self.format
    }

    /// Returns what was detected of the files and what may surprise, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the SHA-256 of the file in hexadecimal; for several files or with a template, the
    /// SHA-256 of a list of their checksums and of the template.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns the number of examples of the training and the validation set.
    pub fn sizes(&self) -> [usize; 2] {
        [self.train.len(), self.validation.len()]
    }
}

/// Reader of the files of both sets, with one schema.
struct Reader<'a> {
    files: &'a CompletionFiles,
    prompt: Option<Template>,
    format: Option<PromptFormat>,
    chat: Option<ChatTemplate>,
    notes: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(files: &'a CompletionFiles) -> Result<Self> {
        let prompt = files.prompt_template.as_deref();
        let prompt = prompt.map(|path| Template::from_file(path, true)).transpose()?;
        Ok(Self { files, prompt, format: None, chat: None, notes: Vec::new() })
    }

    /// Reads the examples of a set.
    fn read(&mut self, sources: &[Source]) -> Result<Vec<TextExample>> {
        let options = TableOptions { columns: Default::default(), ..self.files.options.clone() };
        let mut reader =
            TableReader::of_sources(sources.iter().cloned(), &options, Wanted::Records)?;
        let first = reader.source().to_owned();
        let (mut examples, mut rows, mut empty) = (Vec::new(), 0, Vec::new());
        let mut detected: Option<(Arc<Path>, Detected)> = None;
        while let Some(chunk) = reader.next_chunk(CHUNK)? {
            let columns = match detected.take().filter(|(path, _)| **path == *chunk.source) {
                Some((_, columns)) => columns,
                None => self.detect(&chunk)?,
            };
            for (index, record) in records(&chunk)?.into_iter().enumerate() {
                rows += 1;
                let place =
                    Place { path: Arc::clone(&chunk.source), position: chunk.position(index) };
                record.values().try_for_each(check_nul).map_err(|reason| place.error(reason))?;
                match self.example(&record, &columns, &place)? {
                    Some(segments) => examples.push(TextExample { segments, place }),
                    None => empty.push(place),
                }
            }
            detected = Some((Arc::clone(&chunk.source), columns));
        }
        self.notes.extend(reader.take_notes());
        if let Some(place) = empty.first() {
            if examples.is_empty() {
                let empty = empty.len();
                return Err(CompletionError::NoExamples { path: first, rows, empty }.into());
            }
            self.notes.push(format!(
                "skipped {} of {rows} examples, whose text or completion is empty; the first is in \
                 {place}",
                empty.len()
            ));
        }
        if examples.is_empty() {
            return Err(CompletionError::NoExamples { path: first, rows, empty: 0 }.into());
        }
        Ok(examples)
    }

    /// Detects the columns of a file, whose schema must be the schema of the files before it, and
    /// prepares the templates.
    fn detect(&mut self, chunk: &Chunk) -> Result<Detected> {
        let names = chunk.columns();
        let (path, columns) = (chunk.source(), &self.files.columns);
        let detected = detect(path, &names, columns, self.prompt.is_some())?;
        let schema = detected.schema;
        if let Some(format) = &self.format {
            if format.schema != schema {
                let reason = format!(
                    "expected the schema of the files before it, {}, got {schema}",
                    format.schema
                );
                let path = path.to_owned();
                return Err(Error::Table { path, reason });
            }
            return Ok(detected);
        }
        if self.prompt.is_some() && detected.completion.is_none() {
            let (path, schema) = (path.to_owned(), schema.name());
            return Err(CompletionError::NoCompletion { path, schema }.into());
        }
        let template = match (schema, &self.prompt) {
            (Schema::Text, _) => None,
            (Schema::Messages, _) => Some(self.chat()?.source().to_owned()),
            (_, Some(template)) => Some(template.source().to_owned()),
            (Schema::PromptCompletion, None) => Some(self.built_in("prompt", PROMPT)?),
            (Schema::Instruction, None) => Some(self.built_in("instructions", ALPACA)?),
        };
        self.format = Some(PromptFormat { schema, template });
        Ok(detected)
    }

    fn built_in(&mut self, name: &str, source: &str) -> Result<String> {
        self.prompt = Some(Template::new(format!("of {name}"), source, true)?);
        Ok(source.to_owned())
    }

    /// Returns the chat template, and notes where it comes from.
    fn chat(&mut self) -> Result<&ChatTemplate> {
        let chat = match self.chat.take() {
            Some(chat) => chat,
            None => self.find_chat()?,
        };
        Ok(self.chat.insert(chat))
    }

    fn find_chat(&mut self) -> Result<ChatTemplate> {
        let CompletionFiles { chat_template, model, end_of_text, .. } = self.files;
        let found = match chat_template {
            Some(path) => Some(ChatTemplate::from_file(path, end_of_text)?),
            None => ChatTemplate::of_model(model, end_of_text)?,
        };
        self.notes.push(match &found {
            Some(chat) => format!("chat template: {}", chat.name()),
            None => "chat template: the model has none, so the default of this program is used \
                         (### User, ### Assistant)"
                .to_owned(),
        });
        found.map_or_else(ChatTemplate::standard, Ok)
    }

    /// Returns the segments of an example; `None` if its text or completion is empty.
    fn example(
        &mut self,
        record: &Map<String, Value>,
        columns: &Detected,
        place: &Place,
    ) -> Result<Option<Vec<Segment>>> {
        let Detected { schema, input, completion } = columns;
        let input = input.as_deref();
        let fail = |reason| place.error(reason);
        let learned = |text: &str| Segment { text: format!("{text}{END}"), is_learned: true };
        if let (Schema::Messages, Some(name)) = (schema, input) {
            let messages = messages(record, name).map_err(fail)?;
            return self.conversation(&messages, 0, place);
        }
        let Some(name) = completion else {
            let text = text(record, input.unwrap_or("text")).map_err(fail)?;
            return Ok((!is_empty(text)).then(|| vec![learned(text)]));
        };
        let is_list = |name: &str| record.get(name).is_some_and(Value::is_array);
        if let Some(prompt) = input.filter(|prompt| is_list(prompt) && is_list(name)) {
            let mut all = messages(record, prompt).map_err(fail)?;
            let first = all.len();
            all.append(&mut messages(record, name).map_err(fail)?);
            return self.conversation(&all, first, place);
        }
        let answer = text(record, name).map_err(fail)?;
        if is_empty(answer) {
            return Ok(None);
        }
        let prompt = self.prompt_of(record, columns, place)?;
        Ok(Some(vec![Segment { text: prompt, is_learned: false }, learned(answer)]))
    }

    /// Renders the prompt of an example. A template of the user sees the columns as they are, a
    /// template of this program sees strings under their usual names.
    fn prompt_of(
        &self,
        record: &Map<String, Value>,
        columns: &Detected,
        place: &Place,
    ) -> Result<String> {
        let mut context = record.clone();
        for value in context.values_mut().filter(|value| value.is_null()) {
            *value = Value::String(String::new());
        }
        if self.files.prompt_template.is_none() {
            let is_instruction = columns.schema == Schema::Instruction;
            let usual = if is_instruction { "instruction" } else { "prompt" };
            let name = columns.input.as_deref().unwrap_or(usual);
            if !record.contains_key(name) {
                return Err(place.error(format!("there is no column {name:?}")));
            }
            for (usual, name) in [(usual, name), ("input", "input")] {
                let text = text(record, name).map_err(|reason| place.error(reason))?;
                context.insert(usual.to_owned(), Value::String(text.to_owned()));
            }
        }
        match &self.prompt {
            Some(template) => template.render(minijinja::value::Serde(&context).into(), place),
            None => Ok(String::new()),
        }
    }

    /// Returns the segments of a conversation, in which answers from message `first` on are
    /// learned; `None` if no answer in it has a content.
    fn conversation(
        &mut self,
        messages: &[Message],
        first: usize,
        place: &Place,
    ) -> Result<Option<Vec<Segment>>> {
        let mut answers = messages.iter().skip(first).filter(|message| message.is_answer());
        if answers.all(|message| is_empty(&message.content)) {
            return Ok(None);
        }
        segments(self.chat()?, messages, first, place).map(Some)
    }
}

fn is_empty(text: &str) -> bool {
    text.trim().is_empty()
}

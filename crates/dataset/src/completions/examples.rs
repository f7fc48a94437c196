//! Examples for language models, read from tables.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    conversation::segments,
    error::CompletionError,
    file_columns::FileColumns,
    message::{Conversation, Message},
    message_notes::MessageNotes,
    place::Place,
    prompt_encoder::PromptTokens,
    prompt_format::PromptFormat,
    record::{check_nul, records, text},
    schema::{CompletionColumns, Detected, Schema, detect},
    segment::{Segment, SegmentTokens},
    template::{ChatTemplate, END, ESCAPE},
    templates::Templates,
};
use crate::{
    error::{Error, Result},
    random::randperm,
    table::{Chunk, Source, TableOptions, TableReader, Wanted, expand},
    tokens::Tokenizer,
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
    /// Template of prompts, which sees all columns; `None`: the template of the adapter or the schema.
    pub prompt_template: Option<PathBuf>,
    /// Template of conversations; `None`: the adapter's or the model's, else the default
    /// ([`ChatTemplate::of_model`](crate::ChatTemplate::of_model)).
    pub chat_template: Option<PathBuf>,
    /// Format that an adapter was trained with. Its templates take the place of the schema's and the
    /// model's.
    pub adapter: Option<PromptFormat>,
    /// Tokenizer of the model, which may have a chat template.
    pub tokenizer: Tokenizer,
}

/// Last answer of an example, for a comparison with what a model answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Tokens before the answer. It is generated alone.
    pub prompt: PromptTokens,
    /// Text of the answer, in a conversation without what the chat template puts after it.
    pub text: String,
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
    turn_end: Option<String>,
    skipped: usize,
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
        self.read_sets(Some((validation_fraction, seed)))
    }

    /// Reads the files as one set, the training set, without a validation set.
    ///
    /// # Errors
    /// As [`CompletionFiles::read`]; one example is enough.
    pub fn read_all(&self) -> Result<CompletionExamples> {
        self.read_sets(None)
    }

    fn read_sets(&self, split: Option<(f64, u32)>) -> Result<CompletionExamples> {
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
        let validation = match (&validation, split) {
            (Some(sources), _) => reader.read(sources)?,
            (None, Some((fraction, seed))) => held_out(&mut train, fraction, seed, &first)?,
            (None, None) => Vec::new(),
        };
        let Reader { schema, skipped, mut notes, templates, message_notes, .. } = reader;
        let schema = schema.ok_or(CompletionError::TooFew { path: first, examples: 0 })?;
        let (format, is_given) = (templates.format(schema), templates.is_given());
        // The templates of this program do not change.
        let used = [&format.template, &format.chat_template].into_iter().flatten();
        sums.extend(used.filter(|_| is_given).map(String::as_str));
        let sha256 = if is_one && !is_given { sums } else { storage::sha256(sums.as_bytes()) };
        notes.insert(0, format!("schema: {schema}"));
        notes.extend(templates.note());
        notes.extend(templates.used_chat().iter().flat_map(|chat| message_notes.notes(chat)));
        let turn_end = templates.used_chat().and_then(ChatTemplate::turn_end).map(str::to_owned);
        Ok(CompletionExamples { train, validation, format, turn_end, skipped, notes, sha256 })
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

    /// Returns the last answer of an example of the training set whose prompt is shorter than
    /// `context`; `None` for a text, or if there is none.
    pub fn answer(&self, index: usize, tokenizer: &Tokenizer, context: usize) -> Option<Answer> {
        let mut tokens = SegmentTokens::new(tokenizer, tokenizer.end_of_text());
        let mut answer = None;
        for segment in &self.train.get(index)?.segments {
            if segment.is_learned && (1..context).contains(&tokens.ids.len()) {
                answer = Some((tokens.ids.len(), segment));
            }
            tokens.push(segment);
        }
        let ((length, segment), mut ids) = (answer?, tokens.ids);
        ids.truncate(length);
        let text = segment.text.split(END).next().unwrap_or_default();
        let end = self.turn_end.clone().filter(|_| segment.is_chat);
        let text = end.as_deref().and_then(|end| text.split(end).next()).unwrap_or(text);
        let prompt = PromptTokens { ids, end, is_continued: false };
        Some(Answer { prompt, text: text.replace(ESCAPE, "") })
    }

    /// Returns what ends an answer in the text of a conversation, if there are conversations.
    pub fn turn_end(&self) -> Option<&str> {
        self.turn_end.as_deref()
    }

    /// Returns the number of examples that were skipped, because their text, completion or answer is
    /// empty or missing.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Returns the number of examples of the training and the validation set.
    pub fn sizes(&self) -> [usize; 2] {
        [self.train.len(), self.validation.len()]
    }
}

/// Reader of the files of both sets, with one schema.
struct Reader<'a> {
    files: &'a CompletionFiles,
    templates: Templates,
    schema: Option<Schema>,
    /// Examples with an empty or missing text, completion or answer.
    skipped: usize,
    notes: Vec<String>,
    message_notes: MessageNotes,
}

impl<'a> Reader<'a> {
    fn new(files: &'a CompletionFiles) -> Result<Self> {
        let CompletionFiles { prompt_template, chat_template, tokenizer, .. } = files;
        let (prompt, chat) = (prompt_template.as_ref(), chat_template.as_ref());
        let templates = match &files.adapter {
            Some(format) => Templates::of_adapter(format, prompt, chat, tokenizer)?,
            None => Templates::of_files(prompt, chat, tokenizer)?,
        };
        let (notes, message_notes) = (Vec::new(), MessageNotes::default());
        Ok(Self { files, templates, schema: None, skipped: 0, notes, message_notes })
    }

    /// Reads the examples of a set.
    fn read(&mut self, sources: &[Source]) -> Result<Vec<TextExample>> {
        let options = TableOptions { columns: Default::default(), ..self.files.options.clone() };
        let mut reader =
            TableReader::of_sources(sources.iter().cloned(), &options, Wanted::Records)?;
        let first = reader.source().to_owned();
        let (mut examples, mut rows, mut empty) = (Vec::new(), 0, Vec::new());
        let mut file: Option<FileColumns> = None;
        while let Some(chunk) = reader.next_chunk(CHUNK)? {
            let mut columns = match file.take().filter(|columns| columns.are_of(&chunk)) {
                Some(columns) => columns,
                None => self.detect(&chunk)?,
            };
            columns.add(&chunk);
            for (index, mut record) in records(&chunk)?.into_iter().enumerate() {
                rows += 1;
                let place = Place::of(&chunk, index);
                record.values().try_for_each(check_nul).map_err(|reason| place.error(reason))?;
                columns.complete(&mut record, &place)?;
                match self.example(&record, &columns.detected, &place)? {
                    Some(segments) => examples.push(TextExample { segments, place }),
                    None => empty.push(place),
                }
            }
            file = Some(columns);
        }
        self.notes.extend(reader.take_notes());
        self.skipped += empty.len();
        if let Some(place) = empty.first() {
            if examples.is_empty() {
                let empty = empty.len();
                return Err(CompletionError::NoExamples { path: first, rows, empty }.into());
            }
            self.notes.push(format!(
                "skipped {} of {rows} examples, whose text, completion or answer is empty or missing; \
                 the first is in {place}",
                empty.len()
            ));
        }
        if examples.is_empty() {
            return Err(CompletionError::NoExamples { path: first, rows, empty: 0 }.into());
        }
        Ok(examples)
    }

    /// Detects the columns of a file, whose schema must be the schema of the files before it.
    fn detect(&mut self, chunk: &Chunk) -> Result<FileColumns> {
        let (path, columns) = (chunk.source(), &self.files.columns);
        let is_custom = self.templates.is_custom();
        let file = FileColumns::detect(chunk, |names| detect(path, names, columns, is_custom))?;
        let schema = file.detected.schema;
        if let Some(before) = self.schema.filter(|before| *before != schema) {
            let reason =
                format!("expected the schema of the files before it, {before}, got {schema}");
            return Err(Error::Table { path: path.to_owned(), reason });
        }
        if self.files.prompt_template.is_some() && file.detected.completion.is_none() {
            let (path, schema) = (path.to_owned(), schema.name());
            return Err(CompletionError::NoCompletion { path, schema }.into());
        }
        self.schema = Some(schema);
        Ok(file)
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
        let learned = |text: &str| Segment::plain(format!("{text}{END}"), true);
        if let (Schema::Messages, Some(name)) = (schema, input) {
            let reads_tools = self.templates.chat()?.reads_tools();
            let conversation = Conversation::read(record, name, reads_tools).map_err(fail)?;
            return self.conversation(&conversation, place);
        }
        let Some(name) = completion else {
            let text = text(record, input.unwrap_or("text")).map_err(fail)?;
            return Ok((!is_empty(text)).then(|| vec![learned(text)]));
        };
        let is_list = |name: &str| record.get(name).is_some_and(Value::is_array);
        if let Some(prompt) = input.filter(|prompt| is_list(prompt) && is_list(name)) {
            let reads_tools = self.templates.chat()?.reads_tools();
            let mut conversation = Conversation::read(record, prompt, reads_tools).map_err(fail)?;
            conversation.first = conversation.messages.len();
            let answers = Conversation::read(record, name, false).map_err(fail)?.messages;
            conversation.messages.extend(answers);
            return self.conversation(&conversation, place);
        }
        let answer = text(record, name).map_err(fail)?;
        if is_empty(answer) {
            return Ok(None);
        }
        if self.templates.is_chat() {
            let question = self.templates.question(record, columns, place)?;
            let reads_tools = self.templates.chat()?.reads_tools();
            let messages = vec![question, Message::answer(answer.to_owned())];
            let conversation = Conversation::of(record, messages, reads_tools).map_err(fail)?;
            return self.conversation(&Conversation { first: 1, ..conversation }, place);
        }
        let prompt = self.templates.prompt(record, columns, place)?;
        Ok(Some(vec![Segment::plain(prompt, false), learned(answer)]))
    }

    /// Returns the segments of a conversation; `None` if no answer that is to be learned has a content.
    fn conversation(
        &mut self,
        conversation: &Conversation,
        place: &Place,
    ) -> Result<Option<Vec<Segment>>> {
        let Conversation { messages, first, .. } = conversation;
        let mut answers = messages.iter().skip(*first).filter(|message| message.is_answer());
        self.message_notes.add(conversation, place);
        if answers.all(Message::is_empty) {
            return Ok(None);
        }
        segments(self.templates.chat()?, conversation, place).map(Some)
    }
}

fn is_empty(text: &str) -> bool {
    text.trim().is_empty()
}

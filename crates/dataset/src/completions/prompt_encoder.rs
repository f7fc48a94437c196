//! Prompts of a user as tokens, in the format of the training.

use serde_json::{Map, Value};

use super::{
    conversation::prompt_segments,
    file_columns::FileColumns,
    message::{Conversation, Message},
    message_notes::MessageNotes,
    place::Place,
    prompt_format::PromptFormat,
    record::{check_nul, records, text},
    schema::{Detected, Schema, detect_prompt},
    segment::{Segment, SegmentTokens},
    templates::Templates,
};
use crate::{error::Result, table::Chunk, tokens::Tokenizer};

/// Tokens that a model continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptTokens {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Text that ends the completion, as the end of a turn does in a conversation.
    pub end: Option<String>,
    /// The completion continues the text of the prompt, so that it may begin with a space. Otherwise a
    /// template puts text between them, and the completion is an answer.
    pub is_continued: bool,
}

/// Prompts of a user as tokens, in the format of the training.
#[derive(Debug)]
pub struct PromptEncoder {
    templates: Templates,
    /// Schema of the training.
    schema: Option<Schema>,
}

impl PromptEncoder {
    /// Parses the templates of a format; `None` for a model that was trained on plain text.
    ///
    /// # Errors
    /// [`Error::Completions`](crate::Error::Completions) if a template is malformed.
    pub fn new(format: Option<&PromptFormat>, tokenizer: &Tokenizer) -> Result<Self> {
        let templates = match format {
            Some(format) => Templates::of_adapter(format, None, None, tokenizer)?,
            None => Templates::of_files(None, None, tokenizer)?,
        };
        Ok(Self { templates, schema: format.map(|format| format.schema) })
    }

    /// Returns the tokens of a prompt of the user, as they were in training: the text itself, or the
    /// template with it as the `prompt`, as the `instruction` without an `input`, or as the only
    /// message of the user. An empty prompt has none.
    ///
    /// # Errors
    /// [`Error::Completions`](crate::Error::Completions) if the template fails, for example because it
    /// needs other columns.
    pub fn encode(&self, prompt: &str) -> Result<PromptTokens> {
        let place = "the prompt";
        if prompt.is_empty() {
            return Ok(PromptTokens::default());
        }
        if self.templates.is_chat() {
            let chat = self.templates.chat()?;
            let messages = vec![Message::of_user(prompt.to_owned())];
            let values = chat.values(&Conversation { messages, ..Conversation::default() });
            let text = chat.render(&values, 1, true, &place)?;
            return self.tokens(&[Segment::of_chat(&text, false)]);
        }
        let context = minijinja::context! { prompt, instruction => prompt, input => "" };
        let template = self.templates.prompt_template(Schema::PromptCompletion);
        self.tokens(&[Segment::plain(template.render(context, &place)?, false)])
    }

    /// Returns whether completions continue the texts of prompts, see [`PromptTokens`].
    pub fn is_continued(&self) -> bool {
        self.templates.is_continued()
    }

    /// Returns a note on the chat template if conversations are rendered for a model that was not
    /// trained on any.
    pub fn note(&self) -> Option<String> {
        self.templates.note()
    }

    /// Returns the prompts of a table; `column` names their column.
    pub fn of_table<'a>(&'a self, column: Option<&'a str>) -> TablePrompts<'a> {
        TablePrompts { encoder: self, column, file: None, message_notes: MessageNotes::default() }
    }

    fn tokens(&self, segments: &[Segment]) -> Result<PromptTokens> {
        let tokenizer = self.templates.tokenizer();
        let mut tokens = SegmentTokens::new(tokenizer, tokenizer.end_of_text());
        segments.iter().for_each(|segment| tokens.push(segment));
        let is_chat = segments.iter().any(|segment| segment.is_chat);
        let end = if is_chat { self.templates.chat()?.turn_end() } else { None };
        Ok(PromptTokens {
            ids: tokens.ids,
            end: end.map(str::to_owned),
            is_continued: !is_chat && self.is_continued(),
        })
    }
}

/// Prompts of the rows of a table as tokens.
#[derive(Debug)]
pub struct TablePrompts<'a> {
    encoder: &'a PromptEncoder,
    column: Option<&'a str>,
    /// Columns of the file that is read.
    file: Option<FileColumns>,
    message_notes: MessageNotes,
}

impl TablePrompts<'_> {
    /// Returns the tokens of the prompt of each row, or the reason for which it has no prompt: an empty
    /// text, a value of a wrong type, a template that fails, or a conversation that leaves nothing to
    /// answer. The prompt is in the named column, else it is made of all columns by the template of the
    /// model if that reads some of them, else of the columns `messages`, `prompt`, or `instruction` and
    /// `input`. Strings are rendered as by [`PromptEncoder::encode`], lists of messages by the chat
    /// template.
    ///
    /// # Errors
    /// [`Error::Completions`](crate::Error::Completions) for unknown columns.
    pub fn encode(&mut self, chunk: &Chunk) -> Result<Vec<Result<PromptTokens>>> {
        let mut columns = match self.file.take().filter(|columns| columns.are_of(chunk)) {
            Some(columns) => columns,
            None => FileColumns::detect(chunk, |names| {
                let templates = &self.encoder.templates;
                let by_template = [templates.is_custom(), templates.reads_any(names)];
                detect_prompt(chunk.source(), names, self.column, by_template)
            })?,
        };
        columns.add(chunk);
        let rows = records(chunk)?;
        let ids = rows.into_iter().enumerate().map(|(index, mut record)| {
            let place = Place::of(chunk, index);
            record.values().try_for_each(check_nul).map_err(|reason| place.error(reason))?;
            columns.complete(&mut record, &place)?;
            self.row(&record, &columns.detected, &place)
        });
        let ids = ids.collect::<Vec<_>>();
        self.file = Some(columns);
        Ok(ids)
    }

    /// Returns notes on unusual messages of the conversations so far, one sentence each.
    pub fn notes(&self) -> Vec<String> {
        let chat = self.encoder.templates.used_chat();
        chat.map(|chat| self.message_notes.notes(chat)).unwrap_or_default()
    }

    fn row(
        &mut self,
        record: &Map<String, Value>,
        columns: &Detected,
        place: &Place,
    ) -> Result<PromptTokens> {
        let templates = &self.encoder.templates;
        let fail = |reason| place.error(reason);
        let input = columns.input.as_deref();
        let is_list = |name: &str| record.get(name).is_some_and(Value::is_array);
        let conversation = match input {
            Some(name) if columns.schema == Schema::Messages || is_list(name) => {
                let reads_tools = templates.chat()?.reads_tools();
                let conversation = Conversation::read(record, name, reads_tools).map_err(fail)?;
                if conversation.messages.last().is_none_or(Message::is_answer) {
                    let reason = "the conversation leaves nothing to answer: it is empty or ends with \
                                  a message of the assistant; leave that message out";
                    return Err(fail(reason.to_owned()));
                }
                conversation
            }
            Some(name) if text(record, name).map_err(fail)?.is_empty() => {
                return Err(fail("the prompt is empty".to_owned()));
            }
            Some(_) if templates.is_chat() => {
                let question = templates.question(record, columns, place)?;
                let reads_tools = templates.chat()?.reads_tools();
                Conversation::of(record, vec![question], reads_tools).map_err(fail)?
            }
            _ => {
                let prompt = match input {
                    Some(_) => templates.named_prompt(record, columns, place)?,
                    None => templates.prompt(record, columns, place)?,
                };
                return self.encoder.tokens(&[Segment::plain(prompt, false)]);
            }
        };
        self.message_notes.add(&conversation, place);
        // Training has learned each answer of conversations, but only the completion of prompts.
        let schema = self.encoder.schema.unwrap_or(columns.schema);
        let first = if schema == Schema::Messages { 0 } else { conversation.messages.len() };
        let conversation = Conversation { first, ..conversation };
        self.encoder.tokens(&prompt_segments(templates.chat()?, &conversation, place)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completions::template::ALPACA;
    use crate::tokens::END_OF_TEXT;

    fn format(schema: Schema, template: Option<&str>, chat: Option<&str>) -> PromptFormat {
        let [template, chat_template] = [template, chat].map(|it| it.map(str::to_owned));
        PromptFormat { schema, template, chat_template }
    }

    fn ids(format: &PromptFormat) -> Vec<u32> {
        PromptEncoder::new(Some(format), &Tokenizer::gpt2()).unwrap().encode("Say hi.").unwrap().ids
    }

    #[test]
    fn prompts_are_rendered_as_in_training() {
        let encode = |text: &str| Tokenizer::gpt2().encode(text);
        assert_eq!(ids(&format(Schema::Text, None, None)), encode("Say hi."));
        let prompt = format(Schema::PromptCompletion, Some("Q: {{ prompt }}"), None);
        assert_eq!(ids(&prompt), encode("Q: Say hi."));
        let alpaca = ids(&format(Schema::Instruction, Some(ALPACA), None));
        let text = Tokenizer::gpt2().decode(&alpaca);
        assert!(text.ends_with("### Instruction:\nSay hi.\n\n### Response:\n"), "{text}");
        let chat = "{% for message in messages %}{{ message.content + eos_token }}{% endfor %}";
        let expected = [encode("Say hi."), vec![END_OF_TEXT]].concat();
        for schema in [Schema::Messages, Schema::PromptCompletion] {
            assert_eq!(ids(&format(schema, None, Some(chat))), expected, "{schema}");
        }
        // The model has learned prompts that are not conversations too.
        let both = format(Schema::PromptCompletion, Some("{{ prompt }}"), Some(chat));
        assert_eq!(ids(&both), encode("Say hi."));
    }

    #[test]
    fn template_that_needs_other_columns_is_an_error() {
        let tested = "{% if context %}({{ context }}) {% endif %}{{ prompt }}:";
        let tested = ids(&format(Schema::PromptCompletion, Some(tested), None));
        assert_eq!(tested, Tokenizer::gpt2().encode("Say hi.:"));
        let format = format(Schema::PromptCompletion, Some("{{ context }}: {{ prompt }}"), None);
        let encoder = PromptEncoder::new(Some(&format), &Tokenizer::gpt2()).unwrap();
        let error = encoder.encode("a").unwrap_err().to_string();
        assert!(error.contains("of the adapter") && error.contains("undefined"), "{error}");
    }

    #[test]
    fn end_of_an_answer_is_what_follows_it() {
        let turn_end = |chat: &str| {
            let format = format(Schema::Messages, None, Some(chat));
            let encoder = PromptEncoder::new(Some(&format), &Tokenizer::gpt2()).unwrap();
            encoder.encode("a").ok().and_then(|prompt| prompt.end)
        };
        let chat_ml = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + \
                       '<|im_end|>\\n' }}{% endfor %}\
                       {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
        assert_eq!(turn_end(chat_ml).as_deref(), Some("<|im_end|>"));
        assert_eq!(turn_end(&chat_ml.replace("<|im_end|>", "<|endoftext|>")), None);
        assert_eq!(turn_end("{{ raise_exception('no') }}"), None);
    }
}

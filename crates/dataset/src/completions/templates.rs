//! Templates that make text of the rows of a table, chosen by their schema.

use std::{
    cell::{Cell, OnceCell},
    path::PathBuf,
};

use minijinja::value::Serde;
use serde_json::{Map, Value};

use super::{
    message::Message,
    place::Place,
    prompt_format::PromptFormat,
    record::text,
    schema::{Detected, Schema, find},
    template::{ALPACA, ChatTemplate, PROMPT, Template},
};
use crate::{error::Result, tokens::Tokenizer};

/// Templates of prompts and of conversations.
#[derive(Debug)]
pub(crate) struct Templates {
    /// Template of a user or an adapter; `None`: the template of the schema.
    prompt: Option<Template>,
    plain: Template,
    alpaca: Template,
    chat_file: Option<PathBuf>,
    /// Template of conversations, once it was looked for.
    chat: OnceCell<ChatTemplate>,
    /// Some conversation was rendered.
    is_chat_used: Cell<bool>,
    /// Prompts are messages of the user, because the model has learned nothing but conversations.
    is_chat: bool,
    /// The chat template is an adapter's.
    is_adapters: bool,
    /// Some prompt was rendered.
    is_prompt_used: Cell<bool>,
    tokenizer: Tokenizer,
}

impl Templates {
    /// Templates of files, or where they are not given of the schema and the model.
    pub fn of_files(
        prompt: Option<&PathBuf>,
        chat: Option<&PathBuf>,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        Ok(Self {
            prompt: prompt.map(|path| Template::from_file(path, true)).transpose()?,
            plain: Template::new("of prompt", PROMPT, true)?,
            alpaca: Template::new("of instructions", ALPACA, true)?,
            chat_file: chat.cloned(),
            chat: OnceCell::new(),
            is_chat_used: Cell::new(false),
            is_chat: false,
            is_adapters: false,
            is_prompt_used: Cell::new(false),
            tokenizer: tokenizer.clone(),
        })
    }

    /// Templates that an adapter was trained with, where no file of `prompt` or `chat` replaces them.
    pub fn of_adapter(
        format: &PromptFormat,
        prompt: Option<&PathBuf>,
        chat: Option<&PathBuf>,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        const NAME: &str = "of the adapter";
        let mut templates = Self::of_files(prompt, chat, tokenizer)?;
        // A prompt as it is needs no template, so that other schemas have their own.
        let source = format.template.as_ref().filter(|source| *source != PROMPT);
        if let (None, Some(source)) = (prompt, source) {
            templates.prompt = Some(Template::of_adapter(NAME, source)?);
        }
        if let (None, Some(source)) = (chat, &format.chat_template) {
            templates.chat = ChatTemplate::new(NAME, source, tokenizer)?.into();
            templates.is_adapters = true;
        }
        let has_prompt_template = format.template.is_some() || prompt.is_some();
        templates.is_chat = format.chat_template.is_some() && !has_prompt_template;
        Ok(templates)
    }

    /// Returns whether a template is not of this program.
    pub fn is_given(&self) -> bool {
        self.prompt.is_some() || self.used_chat().is_some_and(ChatTemplate::is_given)
    }

    /// Returns whether prompts have a template that is not of this program, which may read any column.
    pub fn is_custom(&self) -> bool {
        self.custom().is_some()
    }

    fn custom(&self) -> Option<&Template> {
        self.prompt.as_ref().filter(|template| template.source() != ALPACA)
    }

    /// Returns whether prompts have a template that is not of this program and reads one of the columns.
    pub fn reads_any(&self, columns: &[String]) -> bool {
        self.custom().map(Template::variables).is_some_and(|variables| {
            columns.iter().any(|column| variables.contains(column.as_str()))
        })
    }

    /// Returns whether a completion continues the text of a prompt. Otherwise, a template puts text
    /// between them.
    pub fn is_continued(&self) -> bool {
        self.prompt.is_none() && !self.is_chat
    }

    /// Returns whether prompts are messages of the user.
    pub fn is_chat(&self) -> bool {
        self.is_chat
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns the chat template, to render a conversation.
    pub fn chat(&self) -> Result<&ChatTemplate> {
        self.is_chat_used.set(true);
        if let Some(chat) = self.chat.get() {
            return Ok(chat);
        }
        let chat = match &self.chat_file {
            Some(path) => ChatTemplate::from_file(path, &self.tokenizer)?,
            None => ChatTemplate::of_model(&self.tokenizer)?,
        };
        Ok(self.chat.get_or_init(|| chat))
    }

    /// Returns the chat template if a conversation was rendered.
    pub fn used_chat(&self) -> Option<&ChatTemplate> {
        self.chat.get().filter(|_| self.is_chat_used.get())
    }

    /// Returns a note on the chat template if it is not an adapter's and was used.
    pub fn note(&self) -> Option<String> {
        let chat = self.used_chat().filter(|_| !self.is_adapters)?;
        Some(match chat.is_given() {
            true => format!("chat template: {}", chat.name()),
            false => "chat template: the model has none, so the default of this program is used \
                      (### User, ### Assistant)"
                .to_owned(),
        })
    }

    /// Returns the template of prompts that are not conversations.
    pub fn prompt_template(&self, schema: Schema) -> &Template {
        let usual = if schema == Schema::Instruction { &self.alpaca } else { &self.plain };
        self.prompt.as_ref().unwrap_or(usual)
    }

    /// Returns the templates that were used.
    pub fn format(&self, schema: Schema) -> PromptFormat {
        let template = self.is_prompt_used.get().then(|| self.prompt_template(schema).source());
        PromptFormat {
            schema,
            template: template.map(str::to_owned),
            chat_template: self.used_chat().map(|chat| chat.source().to_owned()),
        }
    }

    /// Renders the prompt of a row. A template of a user sees the columns as they are, a template of
    /// this program sees strings under their usual names.
    pub fn prompt(
        &self,
        record: &Map<String, Value>,
        columns: &Detected,
        place: &Place,
    ) -> Result<String> {
        if !self.is_custom() {
            return self.named_prompt(record, columns, place);
        }
        self.render(record.clone(), columns, place)
    }

    /// Renders the prompt of a row, which every template sees as `prompt` and `instruction`, and its
    /// input.
    pub fn named_prompt(
        &self,
        record: &Map<String, Value>,
        columns: &Detected,
        place: &Place,
    ) -> Result<String> {
        let [prompt, input] = strings(record, columns, place)?;
        let mut context = record.clone();
        for name in ["prompt", "instruction"] {
            context.insert(name.to_owned(), prompt.into());
        }
        // Of other schemas, a template may read a column of this name.
        if columns.schema == Schema::Instruction || !record.contains_key("input") {
            context.insert("input".to_owned(), input.into());
        }
        self.render(context, columns, place)
    }

    fn render(
        &self,
        mut context: Map<String, Value>,
        columns: &Detected,
        place: &Place,
    ) -> Result<String> {
        self.is_prompt_used.set(true);
        for value in context.values_mut().filter(|value| value.is_null()) {
            *value = Value::String(String::new());
        }
        self.prompt_template(columns.schema).render(Serde(&context).into(), place)
    }

    /// Returns the prompt of a row as a message of the user. An input is a paragraph of its own.
    pub fn question(
        &self,
        record: &Map<String, Value>,
        columns: &Detected,
        place: &Place,
    ) -> Result<Message> {
        let parts = strings(record, columns, place)?;
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Ok(Message::of_user(parts.join("\n\n")))
    }
}

/// Returns prompt and input of a row; an input is part of the schema of instructions alone.
fn strings<'a>(
    record: &'a Map<String, Value>,
    columns: &Detected,
    place: &Place,
) -> Result<[&'a str; 2]> {
    let is_instruction = columns.schema == Schema::Instruction;
    let usual = if is_instruction { "instruction" } else { "prompt" };
    let name = columns.input.as_deref().unwrap_or(usual);
    if !record.contains_key(name) {
        return Err(place.error(format!("there is no column {name:?}")));
    }
    let read = |name: &str| text(record, name).map_err(|reason| place.error(reason));
    let input = find(record.keys(), "input").filter(|_| is_instruction);
    Ok([read(name)?, input.map_or(Ok(""), |input| read(input))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaces_one_template_of_an_adapter() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.jinja");
        std::fs::write(&file, "Own: {{ prompt }}{{ messages }}").unwrap();
        let [prompt, chat] = ["{{ prompt }}:", "{{ messages }}."].map(|it| Some(it.to_owned()));
        let format = PromptFormat {
            schema: Schema::PromptCompletion,
            template: prompt,
            chat_template: chat,
        };
        let sources = |prompt, chat| {
            let templates =
                Templates::of_adapter(&format, prompt, chat, &Tokenizer::gpt2()).unwrap();
            let prompt = templates.prompt_template(Schema::PromptCompletion).source().to_owned();
            [prompt, templates.chat().unwrap().source().to_owned()].map(|it| it[..3].to_owned())
        };
        assert_eq!(sources(None, None), ["{{ ", "{{ "]);
        assert_eq!(sources(Some(&file), None), ["Own", "{{ "]);
        assert_eq!(sources(None, Some(&file)), ["{{ ", "Own"]);
    }
}

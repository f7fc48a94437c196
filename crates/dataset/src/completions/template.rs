//! Templates of prompts and conversations (Jinja, as in `transformers`).

use std::{fmt::Display, path::Path};

use minijinja::{
    AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, syntax::SyntaxConfig,
    value::Serde,
};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Deserialize;

use super::{conversation::Message, error::CompletionError};
use crate::error::{Error, Result};

/// Prompt of an instruction, as in the Alpaca data set and in chapter 7 of the book. Blocks trim the
/// line break behind them, expressions do not.
pub(crate) const ALPACA: &str = "Below is an instruction that describes a task. Write a response that \
     appropriately completes the request.\n\n### Instruction:\n{{ instruction }}\
     {% if input %}{{ '\\n\\n### Input:\\n' + input }}{% endif %}{{ '\\n\\n### Response:\\n' }}";

/// Prompt of the schema prompt/completion.
pub(crate) const PROMPT: &str = "{{ prompt }}";

/// Conversation for a model without a chat template.
const CHAT: &str = "{% for message in messages %}{% if not loop.first %}{{ '\\n\\n' }}{% endif %}\
     {{ '### ' + message.role | capitalize + ':\\n' + message.content }}\
     {% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}\
     {% if add_generation_prompt %}{{ '\\n\\n### Assistant:\\n' }}{% endif %}";

/// Steps after which rendering is given up; a long conversation takes some thousands.
const FUEL: u64 = 2_000_000;

/// Stands for the end-of-text token in rendered text. Texts of a table have no NUL bytes.
pub(crate) const END: &str = "\0end of text\0";

/// Template in Jinja's language with the settings and functions of `transformers`: trimmed
/// blocks, `raise_exception`, loop controls and the methods of Python's strings. There is no
/// `strftime_now`, because a run would depend on its date.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    name: String,
    source: String,
}

impl Template {
    /// Parses a template; `name` stands for it in errors. In a strict template, printing an
    /// undefined variable is an error.
    ///
    /// # Errors
    /// [`Error::Completions`](crate::Error::Completions) with the line of the template.
    pub fn new(name: impl Into<String>, source: &str, is_strict: bool) -> Result<Self> {
        let name = name.into();
        let malformed =
            |error| CompletionError::Template { name: name.clone(), reason: reason(&error) };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(malformed)?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(if is_strict {
            UndefinedBehavior::SemiStrict
        } else {
            UndefinedBehavior::Lenient
        });
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", |message: String| -> Result<(), _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(TEMPLATE, source.to_owned()).map_err(malformed)?;
        Ok(Self { environment, name, source: source.to_owned() })
    }

    /// Reads a template from a file.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage); as [`Template::new`].
    pub fn from_file(path: &Path, is_strict: bool) -> Result<Self> {
        let source = storage::read_limited_text(path)?;
        Self::new(path.display().to_string(), &source, is_strict)
    }

    /// Returns the text of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the file of the template, or its description.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Renders the template for the example at `place`.
    pub(crate) fn render(&self, context: Value, place: &dyn Display) -> Result<String> {
        let template = self.environment.get_template(TEMPLATE);
        template.and_then(|template| template.render(context)).map_err(|error| {
            let (name, place) = (self.name.clone(), place.to_string());
            CompletionError::Render { name, place, reason: reason(&error) }.into()
        })
    }
}

/// Name of the template in its environment.
const TEMPLATE: &str = "template";

/// Returns the problem and the line of the template.
fn reason(error: &minijinja::Error) -> String {
    let problem = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("{problem} (line {line} of the template)"),
        None => problem,
    }
}

/// Template of conversations.
#[derive(Debug)]
pub struct ChatTemplate {
    template: Template,
    is_given: bool,
}

impl ChatTemplate {
    /// Parses a template in which `end_of_text`, the text of the end-of-text token, stands for
    /// that token, as `eos_token` does.
    ///
    /// # Errors
    /// As [`Template::new`].
    pub fn new(name: impl Into<String>, source: &str, end_of_text: &str) -> Result<Self> {
        let marked = if end_of_text.is_empty() {
            source.to_owned()
        } else {
            source.replace(end_of_text, END)
        };
        let template = Template::new(name, &marked, false)?;
        let template = Template { source: source.to_owned(), ..template };
        Ok(Self { template, is_given: true })
    }

    /// Returns the default: `### Role:`, the content on the next lines, and the end-of-text token
    /// after each message of the assistant.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn standard() -> Result<Self> {
        Ok(Self { is_given: false, ..Self::new("of conversations", CHAT, "")? })
    }

    /// Returns whether it is another one than [`ChatTemplate::standard`].
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }

    /// Finds the chat template in the directory of a model: `chat_template.jinja`, or
    /// `chat_template` in `tokenizer_config.json`, of several the one called `default`.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage); as [`Template::new`].
    pub fn of_model(directory: &Path, end_of_text: &str) -> Result<Option<Self>> {
        let file = directory.join("chat_template.jinja");
        if file.is_file() {
            return Self::from_file(&file, end_of_text).map(Some);
        }
        let file = directory.join("tokenizer_config.json");
        if !file.is_file() {
            return Ok(None);
        }
        let config: TokenizerConfig = serde_json::from_slice(&storage::read_limited(&file)?)
            .map_err(|error| Error::Table { path: file.clone(), reason: error.to_string() })?;
        let source = match config.chat_template {
            None => return Ok(None),
            Some(Templates::One(source)) => Some(source),
            Some(Templates::Named(all)) => {
                all.into_iter().find(|it| it.name == "default").map(|it| it.template)
            }
        };
        source.map(|source| Self::new(file.display().to_string(), &source, end_of_text)).transpose()
    }

    /// Returns the text of the template.
    pub fn source(&self) -> &str {
        self.template.source()
    }

    /// Returns the file of the template, or its description.
    pub fn name(&self) -> &str {
        self.template.name()
    }

    /// Renders messages, with the beginning of an answer if `asks`. The end-of-text token is
    /// [`END`].
    pub(crate) fn render(
        &self,
        messages: &[Message],
        asks: bool,
        place: &dyn Display,
    ) -> Result<String> {
        let context = minijinja::context! {
            messages => Value::from(Serde(messages)), add_generation_prompt => asks, eos_token => END, bos_token => END,
        };
        self.template.render(context, place)
    }

    /// Reads a template from a file, as [`ChatTemplate::new`].
    ///
    /// # Errors
    /// As [`Template::from_file`].
    pub fn from_file(path: &Path, end_of_text: &str) -> Result<Self> {
        let source = storage::read_limited_text(path)?;
        Self::new(path.display().to_string(), &source, end_of_text)
    }
}

/// The part of `tokenizer_config.json` that has the chat template.
#[derive(Deserialize)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

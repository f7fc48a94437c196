//! Templates of prompts and conversations (Jinja, as in `transformers`).

use std::{
    borrow::Cow, cell::OnceCell, collections::HashSet, fmt::Display, io, path::Path, sync::LazyLock,
};

use super::{
    error::CompletionError,
    json_filter::to_json,
    message::{Conversation, Message},
};
use crate::{
    error::Result,
    guard::caught,
    tokens::{END_OF_TEXT, Tokenizer},
};
use minijinja::{
    AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, syntax::SyntaxConfig,
    value::Serde,
};
use minijinja_contrib::pycompat::unknown_method_callback;
use regex::{Captures, Regex};

/// Prompt of an instruction, as in the Alpaca data set and in chapter 7 of the book. Blocks trim the
/// line break behind them, expressions do not.
pub(crate) const ALPACA: &str = "Below is an instruction that describes a task. Write a response that \
     appropriately completes the request.\n\n### Instruction:\n{{ instruction }}\
     {% if input %}{{ '\\n\\n### Input:\\n' + input }}{% endif %}{{ '\\n\\n### Response:\\n' }}";

/// Prompt of the schema prompt/completion.
pub(crate) const PROMPT: &str = "{{ prompt }}";

/// Conversation for a model without a chat template.
const CHAT: &str = "{% for message in messages %}{% if not loop.first %}{{ '\\n\\n' }}{% endif %}\
     {{ '### ' + message.role | capitalize + ':\\n' + (message.content or '') }}\
     {% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}\
     {% if add_generation_prompt %}{% if messages %}{{ '\\n\\n' }}{% endif %}\
     {{ '### Assistant:\\n' }}{% endif %}";

/// Stack of minijinja in bytes. Its parser recurses over operators without a limit, and values that a
/// template nests are printed and freed recursively. Memory that is not used is only reserved.
const STACK: usize = 512 << 20;

/// Longest template in bytes: the parser takes up to 3.3 kB of stack for one character (in debug
/// builds), the templates of published models have less than 64 KiB.
const LONGEST: usize = STACK / 4096;

/// Steps after which rendering is given up; a conversation of 1,000 messages takes some ten thousand.
/// Printing a value takes 0.8 kB of stack for each level, of which a step makes one.
const FUEL: u64 = STACK as u64 / 1024;

/// Stands for the end-of-text token in rendered text. Texts of a table have no NUL bytes.
pub(crate) const END: &str = "\0end of text\0";

/// Divides the spelling of a special token in a message, which is text there. The token is spelled
/// without it where the template has it.
pub(crate) const ESCAPE: char = '\0';

/// Tags around an answer, by which `transformers` finds what is learned. Here it is found without them.
static GENERATION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").ok());

/// Answer that shows what follows one.
const ANSWER: &str = "answer";

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
    /// Parses a template; `name` stands for it in errors. In a strict template, printing or testing
    /// an undefined variable is an error, unless the template asks whether it `is defined`.
    ///
    /// # Errors
    /// [`Error::Completions`](crate::Error::Completions) with the line of the template, and for a
    /// template that has a NUL byte or more than 128 KiB.
    pub fn new(name: impl Into<String>, source: &str, is_strict: bool) -> Result<Self> {
        let name = name.into();
        check(&name, source)?;
        let undefined =
            if is_strict { UndefinedBehavior::Strict } else { UndefinedBehavior::Lenient };
        Self::parse(name, source, undefined)
    }

    /// Parses the template of an adapter. A test of an undefined variable is false, because a prompt
    /// may lack columns of the training; printing one is an error.
    pub(crate) fn of_adapter(name: &str, source: &str) -> Result<Self> {
        check(name, source)?;
        Self::parse(name.to_owned(), source, UndefinedBehavior::SemiStrict)
    }

    fn parse(name: String, source: &str, undefined: UndefinedBehavior) -> Result<Self> {
        let malformed = |reason| CompletionError::Template { name: name.clone(), reason };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| malformed(reason(&error)))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(undefined);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        // Errors name the undefined variable.
        environment.set_debug(true);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<(), _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        on_large_stack(|| environment.add_template_owned(TEMPLATE, source.to_owned()))
            .map_err(malformed)?;
        Ok(Self { environment, name, source: source.to_owned() })
    }

    /// Reads a template from a file.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage), also for what is not a regular file; as
    /// [`Template::new`].
    pub fn from_file(path: &Path, is_strict: bool) -> Result<Self> {
        let source = read(path)?;
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

    /// Returns the variables that the template reads and does not set itself.
    pub(crate) fn variables(&self) -> HashSet<String> {
        let variables = || Ok(self.environment.get_template(TEMPLATE)?.undeclared_variables(false));
        // What could be parsed is found.
        on_large_stack(variables).unwrap_or_default()
    }

    /// Renders the template for the example at `place`.
    pub(crate) fn render(&self, context: Value, place: &dyn Display) -> Result<String> {
        let render = || self.environment.get_template(TEMPLATE)?.render(context);
        on_large_stack(render).map_err(|reason| {
            let (name, place) = (self.name.clone(), place.to_string());
            CompletionError::Render { name, place, reason }.into()
        })
    }
}

/// Name of the template in its environment.
const TEMPLATE: &str = "template";

/// Reads the text of a template without its byte order mark. Opening a pipe would wait for a writer.
fn read(path: &Path) -> Result<String> {
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(storage::Error::read(path)(reason).into());
    }
    let source = storage::read_limited_text(path)?;
    Ok(source.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(source))
}

/// Refuses a template that cannot be parsed safely, or whose text could contain [`END`].
fn check(name: &str, source: &str) -> Result<(), CompletionError> {
    let refused = |reason| Err(CompletionError::Template { name: name.to_owned(), reason });
    if source.len() > LONGEST {
        return refused(format!(
            "it has {} bytes, expected at most {LONGEST}; shorten it",
            source.len()
        ));
    }
    match source.lines().position(|line| line.contains('\0')) {
        Some(line) => refused(format!("line {} has a NUL byte; remove it", line + 1)),
        None => Ok(()),
    }
}

/// Calls minijinja with enough stack for each template that [`check`] accepts, and returns the
/// [`reason`] of an error. The error itself has values of the template, which are nested as deeply.
fn on_large_stack<T>(call: impl FnOnce() -> Result<T, minijinja::Error>) -> Result<T, String> {
    let refused = "it fails, or the system has no memory for its stack of 512 MiB";
    let call = || call().map_err(|error| reason(&error));
    // `stacker` panics if the system refuses the memory.
    caught(|| stacker::maybe_grow(STACK, STACK, call)).unwrap_or_else(|| Err(refused.to_owned()))
}

/// Returns the problem and the line of the template, on one line.
fn reason(error: &minijinja::Error) -> String {
    let problem = match error.detail() {
        Some(detail) => format!("{}: {}", error.kind(), storage::terminal_safe(detail)),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("{problem} (line {line} of the template)"),
        None => problem,
    }
}

/// Replaces the tags around answers by blocks without effect, which trim the same white space.
fn without_generation(source: &str) -> Cow<'_, str> {
    let Some(tags) = GENERATION.as_ref() else { return source.into() };
    tags.replace_all(source, |tag: &Captures<'_>| {
        let block = if tag.get(2).is_some() { "endif" } else { "if true" };
        format!("{{%{} {block} {}%}}", &tag[1], &tag[3])
    })
}

/// Conversation as a template sees it.
pub(super) struct ChatValues {
    messages: Vec<Value>,
    tools: Value,
}

/// Template of conversations.
#[derive(Debug)]
pub struct ChatTemplate {
    template: Template,
    /// Spellings of special tokens.
    special_tokens: Vec<String>,
    /// `bos_token` of the template.
    beginning: String,
    /// It describes tools.
    reads_tools: bool,
    /// End of an answer, once it was asked for.
    turn_end: OnceCell<Option<String>>,
}

impl ChatTemplate {
    /// Parses a template for a model with this tokenizer. The spelling of the end-of-text token
    /// stands for that token, as `eos_token` does, if it is a special token, and so do the spellings of
    /// the special tokens that the tokenizer adds to its vocabulary. In messages they are text.
    ///
    /// # Errors
    /// As [`Template::new`]; errors of the tokenizer's settings.
    pub fn new(name: impl Into<String>, source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let name = name.into();
        check(&name, source)?;
        let end_of_text = tokenizer.decode(&[tokenizer.end_of_text()]);
        // Where a model ends texts with an ordinary token, such as a line break, its spelling is text.
        let is_special = tokenizer.special_tokens().contains(&end_of_text)
            || tokenizer.is_gpt2() && tokenizer.end_of_text() == END_OF_TEXT;
        let marked = if is_special { source.replace(&end_of_text, END) } else { source.to_owned() };
        let template =
            Template::parse(name, &without_generation(&marked), UndefinedBehavior::Lenient)?;
        Ok(Self {
            reads_tools: template.variables().contains("tools"),
            template: Template { source: source.to_owned(), ..template },
            special_tokens: tokenizer.special_tokens().to_vec(),
            beginning: tokenizer.beginning_of_text()?.unwrap_or_else(|| END.to_owned()),
            turn_end: OnceCell::new(),
        })
    }

    /// Returns the chat template of the model, else the default: `### Role:`, the content on the next
    /// lines, and the end-of-text token after each message of the assistant.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn of_model(tokenizer: &Tokenizer) -> Result<Self> {
        match tokenizer.chat_template() {
            Some((file, source)) => Self::new(file.display().to_string(), source, tokenizer),
            None => Self::new("of conversations", CHAT, tokenizer),
        }
    }

    /// Reads a template from a file.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage), also for what is not a regular file; as
    /// [`ChatTemplate::new`].
    pub fn from_file(path: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let source = read(path)?;
        Self::new(path.display().to_string(), &source, tokenizer)
    }

    /// Returns whether it is another one than the default.
    pub(crate) fn is_given(&self) -> bool {
        self.source() != CHAT
    }

    /// Returns the text of the template.
    pub fn source(&self) -> &str {
        self.template.source()
    }

    /// Returns the file of the template, or its description.
    pub fn name(&self) -> &str {
        self.template.name()
    }

    /// Returns whether the template describes tools.
    pub(super) fn reads_tools(&self) -> bool {
        self.reads_tools
    }

    /// Returns a conversation as a template sees it: what spells a special token in it has an
    /// [`ESCAPE`].
    pub(super) fn values(&self, conversation: &Conversation) -> ChatValues {
        let messages = conversation.messages.iter();
        let mut tools = conversation.tools.clone();
        tools.iter_mut().for_each(|tools| self.escape_value(tools));
        ChatValues {
            messages: messages.map(|message| Serde(&self.escaped(message)).into()).collect(),
            tools: Serde(&tools).into(),
        }
    }

    /// Renders the first `count` messages of a conversation, with the beginning of an answer if `asks`.
    /// The end-of-text token is [`END`].
    pub(super) fn render(
        &self,
        values: &ChatValues,
        count: usize,
        asks: bool,
        place: &dyn Display,
    ) -> Result<String> {
        let context = minijinja::context! {
            messages => values.messages[..count].to_vec(), add_generation_prompt => asks,
            eos_token => END, bos_token => self.beginning.clone(), tools => values.tools.clone(),
            // As `transformers` passes them to a conversation without any.
            documents => (),
        };
        self.template.render(context, place)
    }

    fn escaped(&self, message: &Message) -> Message {
        let mut more = message.more.clone();
        more.values_mut().for_each(|value| self.escape_value(value));
        let content = message.content.as_ref().map(|content| self.escape(content));
        Message { role: self.escape(&message.role), content, more }
    }

    fn escape(&self, text: &str) -> String {
        self.special_tokens.iter().fold(text.to_owned(), |text, token| {
            let first = token.chars().next().map_or(0, char::len_utf8);
            let (first, rest) = token.split_at(first);
            text.replace(token, &format!("{first}{ESCAPE}{rest}"))
        })
    }

    fn escape_value(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.escape(text),
            serde_json::Value::Array(values) => {
                values.iter_mut().for_each(|value| self.escape_value(value));
            }
            serde_json::Value::Object(pairs) => {
                let escaped = std::mem::take(pairs).into_iter().map(|(key, mut value)| {
                    self.escape_value(&mut value);
                    (self.escape(&key), value)
                });
                *pairs = escaped.collect();
            }
            _ => {}
        }
    }

    /// Returns what the template puts after an answer, without white space around it: `<|im_end|>`.
    /// `None` if that is nothing but the end-of-text token, or if the template renders no conversation
    /// of one question and its answer.
    pub(crate) fn turn_end(&self) -> Option<&str> {
        self.turn_end.get_or_init(|| self.find_turn_end()).as_deref()
    }

    fn find_turn_end(&self) -> Option<String> {
        let question = Message::of_user("question".to_owned());
        let messages = vec![question, Message::answer(ANSWER.to_owned())];
        let values = self.values(&Conversation { messages, ..Conversation::default() });
        let prompt = self.render(&values, 1, true, &"the end of an answer").ok()?;
        let answered = self.render(&values, 2, false, &"the end of an answer").ok()?;
        let rest = answered.strip_prefix(&prompt)?.trim_start().strip_prefix(ANSWER)?;
        let end = rest.split(END).next().unwrap_or_default().trim();
        (!end.is_empty()).then(|| end.to_owned())
    }
}

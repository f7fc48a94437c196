//! Format of the prompts that a model was trained on.

use serde::{Deserialize, Serialize};

use super::{
    conversation::Message,
    schema::Schema,
    sequences::encode,
    template::{ChatTemplate, Template},
};
use crate::{error::Result, tokens::Tokenizer};

/// Schema of the training data and the template that makes prompts of it, as they are saved with
/// an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptFormat {
    /// Schema of the training data.
    pub schema: Schema,
    /// Template of prompts or conversations; `None` for texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// Prompts of a user as tokens, in the format of the training.
#[derive(Debug)]
pub struct PromptEncoder {
    renderer: Renderer,
    tokenizer: Tokenizer,
}

/// Template of prompts, parsed.
#[derive(Debug)]
enum Renderer {
    /// The text of the user is the prompt.
    Text,
    Prompt(Template),
    Conversation(ChatTemplate),
}

impl PromptFormat {
    /// Parses the template for a model with this tokenizer.
    ///
    /// # Errors
    /// [`Error::Completions`](crate::Error::Completions) if the template is malformed.
    pub fn encoder(&self, tokenizer: &Tokenizer) -> Result<PromptEncoder> {
        const NAME: &str = "of the adapter";
        let renderer = match (&self.template, self.schema) {
            (None, _) | (_, Schema::Text) => Renderer::Text,
            (Some(source), Schema::Messages) => {
                let end = tokenizer.decode(&[tokenizer.end_of_text()]);
                Renderer::Conversation(ChatTemplate::new(NAME, source, &end)?)
            }
            (Some(source), Schema::PromptCompletion | Schema::Instruction) => {
                Renderer::Prompt(Template::new(NAME, source, true)?)
            }
        };
        Ok(PromptEncoder { renderer, tokenizer: tokenizer.clone() })
    }
}

impl PromptEncoder {
    /// Returns the tokens of a prompt of the user, as they were in training: the text itself, or the
    /// template with it as the `prompt`, as the `instruction` without an `input`, or as the only
    /// message of the user.
    ///
    /// # Errors
    /// [`Error::Completions`](crate::Error::Completions) if the template fails, for example because it
    /// needs other columns.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>> {
        let place = "the prompt";
        let text = match &self.renderer {
            Renderer::Text => prompt.to_owned(),
            Renderer::Prompt(template) => {
                let context = minijinja::context! { prompt, instruction => prompt, input => "" };
                template.render(context, &place)?
            }
            Renderer::Conversation(template) => {
                let message = Message { role: "user".to_owned(), content: prompt.to_owned() };
                template.render(&[message], true, &place)?
            }
        };
        let mut ids = Vec::new();
        encode(&text, &self.tokenizer, self.tokenizer.end_of_text(), &mut ids);
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completions::template::ALPACA;
    use crate::tokens::END_OF_TEXT;

    fn ids(schema: Schema, template: Option<&str>) -> Vec<u32> {
        let format = PromptFormat { schema, template: template.map(str::to_owned) };
        format.encoder(&Tokenizer::gpt2()).unwrap().encode("Say hi.").unwrap()
    }

    #[test]
    fn prompts_are_rendered_as_in_training() {
        let encode = |text: &str| Tokenizer::gpt2().encode(text);
        assert_eq!(ids(Schema::Text, None), encode("Say hi."));
        assert_eq!(ids(Schema::PromptCompletion, Some("Q: {{ prompt }}")), encode("Q: Say hi."));
        let alpaca = ids(Schema::Instruction, Some(ALPACA));
        let text = Tokenizer::gpt2().decode(&alpaca);
        assert!(text.ends_with("### Instruction:\nSay hi.\n\n### Response:\n"), "{text}");
        let chat = "{% for message in messages %}{{ message.content + eos_token }}{% endfor %}";
        let expected = [encode("Say hi."), vec![END_OF_TEXT]].concat();
        assert_eq!(ids(Schema::Messages, Some(chat)), expected);
    }

    #[test]
    fn template_that_needs_other_columns_is_an_error() {
        let template = Some("{{ context }}: {{ prompt }}".to_owned());
        let format = PromptFormat { schema: Schema::PromptCompletion, template };
        let encoder = format.encoder(&Tokenizer::gpt2()).unwrap();
        let error = encoder.encode("a").unwrap_err().to_string();
        assert!(error.contains("of the adapter") && error.contains("undefined"), "{error}");
    }
}

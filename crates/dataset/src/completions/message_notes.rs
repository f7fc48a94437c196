//! Notes on messages that may surprise.

use std::collections::BTreeSet;

use super::{message::Conversation, place::Place, template::ChatTemplate};
use crate::table::columns::list;

/// Roles that chat templates know.
const USUAL_ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// Counts of messages that may surprise.
#[derive(Debug, Default)]
pub(super) struct MessageNotes {
    /// Answers without a content.
    without_content: Count,
    /// Messages whose role is not a usual one.
    unusual_roles: Count,
    roles: BTreeSet<String>,
    /// Messages with other keys than role and content.
    with_more: Count,
    keys: BTreeSet<String>,
    /// Conversations with tools.
    with_tools: Count,
}

/// Number of messages or conversations, and the place of the first.
#[derive(Debug, Default)]
struct Count {
    number: usize,
    first: Option<Place>,
}

impl Count {
    fn add(&mut self, place: &Place) {
        self.number += 1;
        self.first.get_or_insert_with(|| place.clone());
    }

    /// Returns a note with the number and the place of the first, if there is one.
    fn note(&self, note: impl FnOnce(usize) -> String) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(format!("{}; the first is in {first}", note(self.number)))
    }
}

impl MessageNotes {
    /// Counts the messages of a conversation.
    pub fn add(&mut self, conversation: &Conversation, place: &Place) {
        if conversation.tools.is_some() {
            self.with_tools.add(place);
        }
        for message in &conversation.messages {
            if message.content.is_none() {
                self.without_content.add(place);
            }
            if !USUAL_ROLES.contains(&message.role.as_str()) {
                self.unusual_roles.add(place);
                self.roles.insert(message.role.clone());
            }
            let mut keys = message.more.iter().filter(|(_, value)| !value.is_null()).peekable();
            if keys.peek().is_some() {
                self.with_more.add(place);
                self.keys.extend(keys.map(|(key, _)| key.clone()));
            }
        }
    }

    /// Returns the notes on conversations that this template has rendered, one sentence each.
    pub fn notes(&self, template: &ChatTemplate) -> Vec<String> {
        let names = |names: &BTreeSet<String>| list(&names.iter().collect::<Vec<_>>());
        let without_content = self.without_content.note(|count| {
            format!(
                "{count} answers of the assistant have no content, which the template sees as none"
            )
        });
        let unusual_roles = self.unusual_roles.note(|count| {
            format!(
                "{count} messages have unusual roles, {}, expected {}",
                names(&self.roles),
                list(&USUAL_ROLES)
            )
        });
        let with_more = self.with_more.note(|count| {
            format!(
                "the default chat template leaves out what {count} messages have beside role and \
                 content: {}",
                names(&self.keys)
            )
        });
        let with_more = with_more.filter(|_| !template.is_given());
        let with_tools = self.with_tools.note(|count| {
            format!("the chat template leaves out the tools of {count} conversations")
        });
        let with_tools = with_tools.filter(|_| !template.reads_tools());
        [without_content, unusual_roles, with_more, with_tools].into_iter().flatten().collect()
    }
}

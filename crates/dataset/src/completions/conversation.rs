//! Conversations as segments of text, of which the assistant's are learned.

use super::{
    message::Conversation,
    place::Place,
    segment::Segment,
    template::{ChatTemplate, ChatValues, END},
};
use crate::error::{Error, Result};

/// Divides a rendered conversation into segments. Learned are the answers of the assistant from
/// its `first` message on, each from where `add_generation_prompt` ends to the end of the message.
/// None is learned in a conversation without such an answer.
///
/// # Errors
/// [`Error::Line`](crate::Error::Line) or [`Error::Row`](crate::Error::Row) if a conversation does
/// not begin as the template renders its first messages: then the place of an answer in it is
/// unknown.
pub(crate) fn segments(
    template: &ChatTemplate,
    conversation: &Conversation,
    place: &Place,
) -> Result<Vec<Segment>> {
    let values = template.values(conversation);
    let Turns { mut segments, text, messages: done } =
        turns(template, conversation, &values, place)?;
    let count = conversation.messages.len();
    let whole;
    let rest = if done == count {
        ""
    } else {
        whole = template.render(&values, count, false, place)?;
        let last = count.saturating_sub(1);
        whole.strip_prefix(&text).ok_or_else(|| inconsistent(last, place))?
    };
    if rest.is_empty() {
        // The answer ends the conversation: a model must learn to stop there.
        let last = segments.last_mut().filter(|last| !last.text.contains(END));
        last.into_iter().for_each(|last| last.text.push_str(END));
    } else {
        segments.push(Segment::of_chat(rest, false));
    }
    Ok(segments)
}

/// Divides the prompt of a conversation that is to be answered as [`segments`] does, so that it has
/// the tokens that it has in training. A conversation that training would refuse is one segment.
pub(super) fn prompt_segments(
    template: &ChatTemplate,
    conversation: &Conversation,
    place: &Place,
) -> Result<Vec<Segment>> {
    let values = template.values(conversation);
    let whole = template.render(&values, conversation.messages.len(), true, place)?;
    let turns = turns(template, conversation, &values, place).ok();
    let divided = turns.and_then(|Turns { mut segments, text, .. }| {
        segments.push(Segment::of_chat(whole.strip_prefix(&text)?, false));
        Some(segments)
    });
    Ok(divided.unwrap_or_else(|| vec![Segment::of_chat(&whole, false)]))
}

/// Beginning of a conversation, up to the end of its last answer.
struct Turns {
    segments: Vec<Segment>,
    /// Text of the segments.
    text: String,
    /// Number of messages.
    messages: usize,
}

/// Divides the beginning of a conversation, whose messages have these `values` for the template.
fn turns(
    template: &ChatTemplate,
    conversation: &Conversation,
    values: &ChatValues,
    place: &Place,
) -> Result<Turns> {
    let mut turns = Turns { segments: Vec::new(), text: String::new(), messages: 0 };
    for (index, message) in conversation.messages.iter().enumerate().skip(conversation.first) {
        if !message.is_answer() {
            continue;
        }
        let answered = template.render(values, index + 1, false, place)?;
        let prompt = template.render(values, index, true, place);
        // Many templates read the first message without asking whether there is one.
        let prompt =
            prompt.map_err(|error| if index == 0 { inconsistent(0, place) } else { error })?;
        let divided = prompt.strip_prefix(&turns.text).zip(answered.strip_prefix(&prompt));
        let (context, answer) = divided.ok_or_else(|| inconsistent(index, place))?;
        if answer.replace(END, "").trim().is_empty() && !message.is_empty() {
            return Err(place.error(format!(
                "the chat template leaves out message {}, an answer of the assistant; use another \
                 template",
                index + 1
            )));
        }
        turns.segments.push(Segment::of_chat(context, false));
        turns.segments.push(Segment::of_chat(answer, true));
        turns.text = answered;
        turns.messages = index + 1;
    }
    Ok(turns)
}

fn inconsistent(index: usize, place: &Place) -> Error {
    if index == 0 {
        let reason = "the conversation begins with an answer of the assistant, which the chat template \
                      does not render without a prompt; begin with a message of the user, or use \
                      another template";
        return place.error(reason.to_owned());
    }
    place.error(format!(
        "the chat template renders the messages before message {} otherwise than at the beginning \
         of the conversation, so that the tokens of the answer are unknown; use another template",
        index + 1
    ))
}

//! Conversations as segments of text, of which the assistant's are learned.

use super::{
    message::Message,
    place::Place,
    segment::Segment,
    template::{ChatTemplate, END},
};
use crate::error::{Error, Result};

/// Divides a rendered conversation into segments. Learned are the answers of the assistant from
/// message `first` on, each from where `add_generation_prompt` ends to the end of the message.
/// None is learned in a conversation without such an answer.
///
/// # Errors
/// [`Error::Line`](crate::Error::Line) or [`Error::Row`](crate::Error::Row) if a conversation does
/// not begin as the template renders its first messages: then the place of an answer in it is
/// unknown.
pub(crate) fn segments(
    template: &ChatTemplate,
    messages: &[Message],
    first: usize,
    place: &Place,
) -> Result<Vec<Segment>> {
    let (mut segments, done) = turns(template, messages, first, place)?;
    let whole = template.render(messages, false, place)?;
    match whole.strip_prefix(&done) {
        None => return Err(inconsistent(messages.len().saturating_sub(1), place)),
        Some("") => {
            // The answer ends the conversation: a model must learn to stop there.
            let last = segments.last_mut().filter(|last| !last.text.contains(END));
            last.into_iter().for_each(|last| last.text.push_str(END));
        }
        Some(rest) => segments.push(Segment::of_chat(rest, false)),
    }
    Ok(segments)
}

/// Divides the prompt of a conversation that is to be answered as [`segments`] does, so that it has
/// the tokens that it has in training. A conversation that training would refuse is one segment.
pub(super) fn prompt_segments(
    template: &ChatTemplate,
    messages: &[Message],
    first: usize,
    place: &Place,
) -> Result<Vec<Segment>> {
    let whole = template.render(messages, true, place)?;
    let turns = turns(template, messages, first, place).ok();
    let divided = turns.and_then(|(mut segments, done)| {
        segments.push(Segment::of_chat(whole.strip_prefix(&done)?, false));
        Some(segments)
    });
    Ok(divided.unwrap_or_else(|| vec![Segment::of_chat(&whole, false)]))
}

/// Returns the segments up to the end of the last answer, and their text.
fn turns(
    template: &ChatTemplate,
    messages: &[Message],
    first: usize,
    place: &Place,
) -> Result<(Vec<Segment>, String)> {
    let (mut segments, mut done) = (Vec::new(), String::new());
    for (index, message) in messages.iter().enumerate() {
        if index < first || !message.is_answer() {
            continue;
        }
        let prompt = template.render(&messages[..index], true, place)?;
        let answered = template.render(&messages[..=index], false, place)?;
        let (Some(context), Some(answer)) =
            (prompt.strip_prefix(&done), answered.strip_prefix(&prompt))
        else {
            return Err(inconsistent(index, place));
        };
        if answer.is_empty() && !message.content.trim().is_empty() {
            return Err(place.error(format!(
                "the chat template leaves out message {}, an answer of the assistant; use another \
                 template",
                index + 1
            )));
        }
        segments.push(Segment::of_chat(context, false));
        segments.push(Segment::of_chat(answer, true));
        done = answered;
    }
    Ok((segments, done))
}

fn inconsistent(index: usize, place: &Place) -> Error {
    place.error(format!(
        "the chat template renders the messages before message {} otherwise than at the beginning \
         of the conversation, so that the tokens of the answer are unknown; use another template",
        index + 1
    ))
}

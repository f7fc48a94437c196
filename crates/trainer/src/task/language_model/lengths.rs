//! Examples that are longer than the maximum length.

use dataset::CompletionSet;

use crate::{
    config::OnLongText,
    error::{Result, too_long},
};

/// Returns notes on the examples of a set that were truncated or dropped, which are errors with
/// [`OnLongText::Error`] if they are longer than the context.
pub(crate) fn length_notes(
    name: &str,
    set: &CompletionSet,
    [max_length, context]: [usize; 2],
    on_long_text: OnLongText,
) -> Result<Vec<String>> {
    let (truncated, dropped) = (&set.truncated, &set.dropped);
    let too_many = truncated.iter().chain(dropped).find(|(_, tokens)| *tokens > context);
    if let (Some((place, tokens)), OnLongText::Error) = (too_many, on_long_text) {
        return Err(place.error(too_long(*tokens, context)).into());
    }
    let of_truncated = truncated.first().map(|(place, tokens)| {
        let (count, all) = (truncated.len(), set.sequences.len());
        format!(
            "{count} of {all} {name} examples were truncated to {max_length} tokens, the first is in \
             {place} and has {tokens}"
        )
    });
    let of_dropped = dropped.first().map(|(place, _)| {
        format!(
            "{} {name} examples were dropped, because their prompt fills the maximum length of \
             {max_length} tokens; the first is in {place}",
            dropped.len()
        )
    });
    Ok(of_truncated.into_iter().chain(of_dropped).collect())
}

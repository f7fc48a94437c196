//! Parts that are given as files of their own.

use std::path::Path;

use crate::{
    cut::cut,
    error::{Error, Result},
    messages::Message,
    split::{Example, Split, SplitConfig, balanced, label_names},
};

/// The messages of a part, and the file that they are of.
pub(crate) type Part<'a> = (&'a Path, &'a [Message]);

/// The split that files make: each part in the order of its file. Without a
/// validation part it is cut off the training part, `validation / (train +
/// validation)` of its rows. With `balance` the training part that is left is cut
/// down to as many rows of each class as the smallest has.
///
/// # Errors
/// [`Error::Row`] for a label of another part that the training part has not;
/// [`Error::Config`] if it has fewer than two, or if a part is empty.
pub(crate) fn given(
    train: Part<'_>,
    validation: Option<Part<'_>>,
    test: Part<'_>,
    config: &SplitConfig,
) -> Result<Split> {
    let labels = label_names(train.1)?;
    let all = |part: Part<'_>| -> Result<Vec<Example>> {
        let example = |message: &Message| {
            Example::of(message, &labels, config.quotes).ok_or_else(|| Error::Row {
                path: part.0.to_owned(),
                row: message.row + 1,
                reason: format!(
                    "its label {:?} is none of the {} that the training file {} has",
                    message.label,
                    labels.len(),
                    train.0.display()
                ),
            })
        };
        part.1.iter().map(example).collect()
    };
    let test = all(test)?;
    let mut rows = all(train)?;
    let validation = match validation {
        Some(part) => all(part)?,
        None => {
            let (rest, held) = cut_off(rows, config)?;
            rows = rest;
            held
        }
    };
    let train = if config.balance { balanced(rows, config.seed) } else { rows };
    let sizes = [train.len(), validation.len(), test.len()];
    if sizes.contains(&0) {
        return Err(Error::Config(format!(
            "training, validation and test part have {sizes:?} rows, and each needs one"
        )));
    }
    Ok(Split { labels, train, validation, test })
}

/// Cuts the validation part off.
fn cut_off(rows: Vec<Example>, config: &SplitConfig) -> Result<(Vec<Example>, Vec<Example>)> {
    let SplitConfig { train, validation, .. } = *config;
    // NaN fails every comparison.
    if !(train > 0.0 && validation > 0.0) {
        return Err(Error::Config(format!(
            "the training part is {train} and the validation part {validation} of the messages; \
             both have to be above 0"
        )));
    }
    let classes: Vec<usize> = rows.iter().map(|example| example.label).collect();
    let share = train / (train + validation);
    let parts = cut(&classes, &[share], config.seed, config.stratify);
    let mut parts = parts.into_iter().map(|part| -> Vec<Example> {
        part.into_iter().map(|place| rows[place].clone()).collect()
    });
    Ok((parts.next().unwrap_or_default(), parts.next().unwrap_or_default()))
}

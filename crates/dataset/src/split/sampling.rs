//! Undersampling, shuffling and partitioning of examples, as data frames.

use polars::prelude::{DataFrame, IdxCa, IdxSize, NamedFrom, PolarsResult, Series};

use crate::{labeled::Example, random::numpy_permutation};

const LABEL: &str = "label";

/// Returns examples as a data frame.
pub(crate) fn to_frame(examples: &[Example]) -> PolarsResult<DataFrame> {
    let labels: Vec<u64> = examples.iter().map(|example| example.label as u64).collect();
    let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
    let rows: Vec<u64> = examples.iter().map(|example| example.row as u64).collect();
    let columns = vec![
        Series::new(LABEL.into(), labels).into(),
        Series::new("text".into(), texts).into(),
        Series::new("row".into(), rows).into(),
    ];
    DataFrame::new(examples.len(), columns)
}

/// Returns the examples of a data frame of [`to_frame`].
pub(crate) fn to_examples(frame: &DataFrame) -> PolarsResult<Vec<Example>> {
    let numbers = |name: &str| frame.column(name)?.u64();
    let (labels, rows) = (numbers(LABEL)?.iter(), numbers("row")?.iter());
    let texts = frame.column("text")?.str()?.iter();
    let examples = labels.zip(texts).zip(rows).map(|((label, text), row)| Example {
        label: label.unwrap_or_default() as usize,
        text: text.unwrap_or_default().to_owned(),
        row: row.unwrap_or_default() as usize,
    });
    Ok(examples.collect())
}

/// Shuffles examples and partitions them into sets, one more than there are fractions.
pub(crate) fn partition(
    examples: &DataFrame,
    fractions: &[f64],
    seed: u32,
    stratify: bool,
) -> PolarsResult<Vec<DataFrame>> {
    if stratify {
        return stratified(examples, fractions, seed);
    }
    // Python's int() of the same product of doubles.
    let size = |fraction: &f64| (fraction * examples.height() as f64) as usize;
    let ends = fractions.iter().scan(0, |end, fraction| {
        *end += size(fraction);
        Some(*end)
    });
    Ok(cut(&shuffle(examples, seed)?, &ends.collect::<Vec<_>>()))
}

/// Partitions each class by itself, at the example nearest to the end of each fraction and
/// with at least one example in the first set; then shuffles each set.
fn stratified(examples: &DataFrame, fractions: &[f64], seed: u32) -> PolarsResult<Vec<DataFrame>> {
    let mut sets = vec![examples.clear(); fractions.len() + 1];
    for class in classes(examples)? {
        let (mut sum, mut least) = (0.0, 1);
        let ends = fractions.iter().map(|fraction| {
            sum += fraction;
            let nearest = (sum * class.height() as f64).round() as usize;
            least = nearest.clamp(least, class.height());
            least
        });
        let ends: Vec<usize> = ends.collect();
        for (set, part) in sets.iter_mut().zip(cut(&shuffle(&class, seed)?, &ends)) {
            set.vstack_mut(&part)?;
        }
    }
    sets.iter().map(|set| shuffle(set, seed)).collect()
}

/// Cuts examples at these positions.
fn cut(examples: &DataFrame, ends: &[usize]) -> Vec<DataFrame> {
    let height = examples.height();
    let ends = ends.iter().map(|end| (*end).min(height)).chain([height]);
    let cut = ends.scan(0, |begin, end| {
        let set = examples.slice(*begin as i64, end - *begin);
        *begin = end;
        Some(set)
    });
    cut.collect()
}

/// Returns the examples of each class, in the order of the classes.
fn classes(examples: &DataFrame) -> PolarsResult<Vec<DataFrame>> {
    let mut classes = examples.partition_by_stable([LABEL], true)?;
    let class = |examples: &DataFrame| {
        let labels = examples.column(LABEL).and_then(|labels| labels.u64().cloned());
        labels.ok().and_then(|labels| labels.get(0))
    };
    classes.sort_by_key(class);
    Ok(classes)
}

/// Undersamples every class to the size of the smallest (of equals the last), which is
/// kept as it is. Returns class after class.
pub(crate) fn undersample(examples: &DataFrame, seed: u32) -> PolarsResult<DataFrame> {
    let classes = classes(examples)?;
    let size = classes.iter().map(DataFrame::height).min().unwrap_or(0);
    let smallest = classes.iter().rposition(|class| class.height() == size);
    let mut all = examples.clear();
    for (number, class) in classes.iter().enumerate() {
        if Some(number) == smallest {
            all.vstack_mut(class)?;
        } else {
            all.vstack_mut(&shuffle(class, seed)?.head(Some(size)))?;
        }
    }
    Ok(all)
}

/// Shuffles examples as pandas' `sample` does.
pub(crate) fn shuffle(examples: &DataFrame, seed: u32) -> PolarsResult<DataFrame> {
    let order = numpy_permutation(examples.height(), seed);
    let order: Vec<IdxSize> = order.into_iter().map(|index| index as IdxSize).collect();
    examples.take(&IdxCa::from_vec("".into(), order))
}

//! Undersampling, shuffling and partitioning of examples.

use std::collections::BTreeMap;

use crate::{labeled::Example, random::numpy_permutation};

/// Shuffles examples and partitions them into sets, one more than there are fractions.
pub(crate) fn partition(
    examples: &[Example],
    fractions: &[f64],
    seed: u32,
    stratify: bool,
) -> Vec<Vec<Example>> {
    let sets = if stratify {
        let classes: Vec<usize> = examples.iter().map(|example| example.label).collect();
        stratified(&classes, fractions, seed)
    } else {
        let count = examples.len();
        let mut rest = numpy_permutation(count, seed);
        let mut sets = Vec::with_capacity(fractions.len() + 1);
        for fraction in fractions {
            // Python's int() of the same product of doubles.
            let size = (fraction * count as f64) as usize;
            let after = rest.split_off(size.min(rest.len()));
            sets.push(std::mem::replace(&mut rest, after));
        }
        sets.push(rest);
        sets
    };
    let select = |set: Vec<usize>| set.into_iter().map(|index| examples[index].clone()).collect();
    sets.into_iter().map(select).collect()
}

/// Partitions each class by itself, at the example nearest to the end of each fraction and
/// with at least one example in the first set; then shuffles each set. Returns indices.
fn stratified(classes: &[usize], fractions: &[f64], seed: u32) -> Vec<Vec<usize>> {
    let mut class_members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, &class) in classes.iter().enumerate() {
        class_members.entry(class).or_default().push(index);
    }
    let mut sets = vec![Vec::new(); fractions.len() + 1];
    for members in class_members.values() {
        let order = numpy_permutation(members.len(), seed);
        let (mut begin, mut sum) = (0, 0.0);
        for (number, set) in sets.iter_mut().enumerate() {
            sum += fractions.get(number).copied().unwrap_or(1.0);
            let nearest = (sum * members.len() as f64).round() as usize;
            let end = nearest.clamp(begin.max(1), members.len());
            set.extend(order[begin..end].iter().map(|&index| members[index]));
            begin = end;
        }
    }
    let shuffle = |set: Vec<usize>| {
        numpy_permutation(set.len(), seed).into_iter().map(|index| set[index]).collect()
    };
    sets.into_iter().map(shuffle).collect()
}

/// Undersamples every class to the size of the smallest (of equals the last), which is
/// kept as it is. Returns class after class.
pub(crate) fn undersample(examples: Vec<Example>, seed: u32) -> Vec<Example> {
    let mut classes: BTreeMap<usize, Vec<Example>> = BTreeMap::new();
    for example in examples {
        classes.entry(example.label).or_default().push(example);
    }
    let mut classes: Vec<Vec<Example>> = classes.into_values().collect();
    let size = classes.iter().map(Vec::len).min().unwrap_or(0);
    let smallest = classes.iter().rposition(|class| class.len() == size);
    for (number, class) in classes.iter_mut().enumerate() {
        if Some(number) != smallest {
            let order = numpy_permutation(class.len(), seed);
            *class = order[..size].iter().map(|&index| class[index].clone()).collect();
        }
    }
    classes.into_iter().flatten().collect()
}

/// Shuffles examples.
pub(crate) fn shuffle(examples: &[Example], seed: u32) -> Vec<Example> {
    let order = numpy_permutation(examples.len(), seed);
    order.into_iter().map(|index| examples[index].clone()).collect()
}

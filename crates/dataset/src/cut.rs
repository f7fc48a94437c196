//! Rows cut into parts.

use crate::permutation::numpy_permutation;

/// Shuffles rows, of which the class of each is given, and cuts them into parts:
/// places of the rows in each part, one part more than there are shares.
pub(crate) fn cut(classes: &[usize], shares: &[f64], seed: u32, stratify: bool) -> Vec<Vec<usize>> {
    if stratify {
        return stratified(classes, shares, seed);
    }
    let mut rest = numpy_permutation(classes.len(), seed);
    let mut parts = Vec::with_capacity(shares.len() + 1);
    for share in shares {
        // Python's int() of the same product of doubles.
        let size = (share * classes.len() as f64) as usize;
        let after = rest.split_off(size.min(rest.len()));
        parts.push(std::mem::replace(&mut rest, after));
    }
    parts.push(rest);
    parts
}

/// Each class is cut by itself, at the row nearest to where its shares end, and
/// has at least one row in the first part; then each part is shuffled.
fn stratified(classes: &[usize], shares: &[f64], seed: u32) -> Vec<Vec<usize>> {
    let count = classes.iter().max().map_or(0, |&last| last + 1);
    let mut of_class = vec![Vec::new(); count];
    for (place, &class) in classes.iter().enumerate() {
        of_class[class].push(place);
    }
    let mut parts = vec![Vec::new(); shares.len() + 1];
    for places in of_class.iter().filter(|places| !places.is_empty()) {
        let order = numpy_permutation(places.len(), seed);
        let (mut begin, mut sum) = (0, 0.0);
        for (number, part) in parts.iter_mut().enumerate() {
            sum += shares.get(number).copied().unwrap_or(1.0);
            let near = (sum * places.len() as f64).round() as usize;
            let end = near.clamp(begin.max(1), places.len());
            part.extend(order[begin..end].iter().map(|&place| places[place]));
            begin = end;
        }
    }
    let shuffle = |part: Vec<usize>| {
        numpy_permutation(part.len(), seed).into_iter().map(|place| part[place]).collect()
    };
    parts.into_iter().map(shuffle).collect()
}

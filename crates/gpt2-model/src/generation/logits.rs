//! Logits to the tokens that may be drawn. Filters follow in the order of `transformers`:
//! repetition penalty, temperature, top-k, top-p, min-p.

use crate::generation::settings::RandomSampling;

/// Token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub token: usize,
    /// Probability, up to a factor that is the same for all candidates; 1 for the most probable
    /// token.
    pub weight: f64,
}

/// Logits in a run whose largest bounds the k-th largest of all.
const RUN: usize = 64;

/// Divides positive logits of tokens in `text` by a penalty and multiplies negative ones.
pub(crate) fn penalize_repetition(logits: &mut [f32], text: &[i64], penalty: f64) {
    if penalty == 1.0 {
        return;
    }
    let mut tokens = text.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    let penalty = penalty as f32;
    for token in tokens {
        let Some(logit) = usize::try_from(token).ok().and_then(|token| logits.get_mut(token))
        else {
            continue;
        };
        *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
    }
}

/// Returns the token with the highest logit, and of equals the first.
pub(crate) fn most_probable(logits: &[f32]) -> usize {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best
}

/// Returns the candidates of random sampling, at least one, in the order of their tokens.
pub(crate) fn candidates(logits: &[f32], settings: &RandomSampling) -> Vec<Candidate> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let candidate = |token: usize| Candidate {
        token,
        weight: (f64::from(logits[token] - highest) / settings.temperature).exp(),
    };
    let mut kept: Vec<Candidate> = match settings.top_k {
        Some(k) => largest(logits, k).into_iter().map(candidate).collect(),
        None => (0..logits.len()).map(candidate).collect(),
    };
    if let Some(top_p) = settings.top_p.filter(|&top_p| top_p < 1.0) {
        keep_top_p(&mut kept, top_p);
    }
    if let Some(min_p) = settings.min_p {
        kept.retain(|candidate| candidate.weight >= min_p);
    }
    kept
}

/// Tokens of the `k` largest logits and of those that equal the smallest of them, in the order of
/// their numbers.
fn largest(logits: &[f32], k: usize) -> Vec<usize> {
    if k >= logits.len() {
        return (0..logits.len()).collect();
    }
    let descending = |one: &f32, other: &f32| other.total_cmp(one);
    // The k largest of the largest of each run are k logits, so no other one of the k largest is
    // below them: few logits are left to select from.
    let maximum = |run: &[f32]| run.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut runs: Vec<f32> = logits.chunks(RUN).map(maximum).collect();
    let bound = if k <= runs.len() {
        *runs.select_nth_unstable_by(k - 1, descending).1
    } else {
        f32::NEG_INFINITY
    };
    let mut tokens: Vec<usize> =
        (0..logits.len()).filter(|&token| logits[token] >= bound).collect();
    let mut left: Vec<f32> = tokens.iter().map(|&token| logits[token]).collect();
    let threshold = *left.select_nth_unstable_by(k - 1, descending).1;
    tokens.retain(|&token| logits[token] >= threshold);
    tokens
}

/// Keeps the fewest most probable candidates whose probabilities add up to `top_p`, in their order.
///
/// The last of them is found as in quickselect: sorting all candidates would take longer than the
/// model.
fn keep_top_p(candidates: &mut Vec<Candidate>, top_p: f64) {
    let descending = |one: &Candidate, other: &Candidate| {
        other.weight.total_cmp(&one.weight).then(one.token.cmp(&other.token))
    };
    let sum = |candidates: &[Candidate]| candidates.iter().map(|it| it.weight).sum::<f64>();
    let mut left = top_p * sum(candidates);
    let mut all = candidates.clone();
    let mut undecided = all.as_mut_slice();
    while undecided.len() > 1 {
        let middle = undecided.len() / 2;
        undecided.select_nth_unstable_by(middle, descending);
        let (upper, lower) = undecided.split_at_mut(middle);
        let weight = sum(upper);
        // Candidates of the lower half are kept if the upper half does not reach top-p.
        undecided = if weight >= left {
            upper
        } else {
            left -= weight;
            lower
        };
    }
    if let Some(last) = undecided.first() {
        candidates.retain(|candidate| descending(candidate, last).is_le());
    }
}

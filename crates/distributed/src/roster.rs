//! Roll call through the store: which ranks are there, and whether they agree.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    Place,
    engine::{Failure, Store},
    error::{Error, Result},
};

const POLL: Duration = Duration::from_millis(10);

/// Waits for the keys of all ranks until `is_done` accepts the number of missing ones and the time
/// that has passed. Returns the ranks without a key.
pub(crate) fn ranks_without_key(
    store: &Store,
    world: usize,
    key: impl Fn(usize) -> String,
    is_done: impl Fn(usize, Duration) -> bool,
) -> Result<Vec<usize>, Failure> {
    let start = Instant::now();
    let mut missing: Vec<usize> = (0..world).collect();
    loop {
        let mut rest = Vec::new();
        for rank in missing {
            if !store.has(&key(rank))? {
                rest.push(rank);
            }
        }
        missing = rest;
        if is_done(missing.len(), start.elapsed()) {
            return Ok(missing);
        }
        thread::sleep(POLL);
    }
}

/// Returns the indices of the values that differ from the most frequent one; of equally frequent
/// values, the first counts.
pub(crate) fn outliers<T: PartialEq>(values: &[T]) -> Vec<usize> {
    let count = |value: &T| values.iter().filter(|other| *other == value).count();
    // `max_by_key` returns the last of several maxima.
    let Some(usual) = values.iter().rev().max_by_key(|value| count(value)) else {
        return Vec::new();
    };
    (0..values.len()).filter(|&index| values[index] != *usual).collect()
}

/// Result of the roll call. Rank 0 makes it for all, so that every rank reports the same problem.
pub(crate) struct Roster {
    /// Problem of the group; empty if there is none.
    problem: String,
    /// The ranks that cause the problem.
    ranks: Vec<usize>,
}

const ABSENT: &str = "absent";

impl Roster {
    /// Answers the roll call and returns its result.
    pub fn call(
        store: &Store,
        place: &Place,
        is_loopback: bool,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        const RESULT: &str = "roster";
        let key = |rank: usize| format!("joined/{rank}");
        store.set(&key(place.rank), format!("{} {is_loopback}", place.world).as_bytes())?;
        if place.rank > 0 {
            return Ok(Self::parse(&store.get(RESULT)?));
        }
        let is_done = |missing, elapsed| missing == 0 || elapsed >= timeout;
        let absent = ranks_without_key(store, place.world, key, is_done)?;
        let roster = if absent.is_empty() {
            let records: Result<Vec<_>, _> =
                (0..place.world).map(|rank| store.get(&key(rank))).collect();
            Self::compare(&records?)
        } else {
            Self { problem: ABSENT.to_owned(), ranks: absent }
        };
        store.set(RESULT, roster.text().as_bytes())?;
        Ok(roster)
    }

    fn compare(records: &[Vec<u8>]) -> Self {
        let field = |index: usize| {
            let fields = records.iter().map(|record| record.split(|byte| *byte == b' ').nth(index));
            outliers(&fields.collect::<Vec<_>>())
        };
        let kinds = ["world size", "kind of network address, loopback or not"];
        let problems = kinds.iter().enumerate().map(|(index, what)| (*what, field(index)));
        let first = problems.into_iter().find(|(_, ranks)| !ranks.is_empty());
        let (problem, ranks) = first.unwrap_or_default();
        Self { problem: problem.to_owned(), ranks }
    }

    fn text(&self) -> String {
        let ranks: Vec<String> = self.ranks.iter().map(ToString::to_string).collect();
        format!("{}\n{}", self.problem, ranks.join(" "))
    }

    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let (problem, ranks) = text.split_once('\n').unwrap_or_default();
        let ranks = ranks.split(' ').filter_map(|rank| rank.parse().ok()).collect();
        Self { problem: problem.to_owned(), ranks }
    }

    /// Returns the problem as an error of `rank`.
    pub fn into_result(self, rank: usize, action: &'static str, limit: Duration) -> Result<()> {
        let Self { problem: what, ranks } = self;
        match what.as_str() {
            "" => Ok(()),
            ABSENT => Err(Error::TimedOut { rank, action, ranks, limit }),
            _ => Err(Error::Differs { what, ranks }),
        }
    }
}

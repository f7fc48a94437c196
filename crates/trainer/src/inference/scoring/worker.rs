//! Work of one process: which parts it scores, and in which order.

use dataset::{Chunk, Shard, TableReader, TableWriter};
use distributed::Group;

use super::{Scored, Scoring, directory::OutputDirectory, error::ScoringError, workers::Workers};
use crate::{
    error::Result,
    inference::table::{begin, classify_while},
};

/// Queue of parts in the store of the group.
const QUEUE: &str = "parts";

/// Notes that are kept.
const MOST_NOTES: usize = 20;

/// Scoring of parts by one process.
pub(super) struct Worker<'a> {
    scoring: &'a Scoring<'a>,
    shards: &'a [Shard],
    output: &'a OutputDirectory,
    /// Columns of the first file, which all parts have; no rows.
    columns: Chunk,
    /// Description of the last file.
    detected: String,
    progress: &'a mut dyn FnMut(usize),
    /// Rows classified, also of parts that another process completed first.
    classified: usize,
    scored: Scored,
}

impl<'a> Worker<'a> {
    pub fn new(
        scoring: &'a Scoring<'a>,
        shards: &'a [Shard],
        output: &'a OutputDirectory,
        columns: Chunk,
        progress: &'a mut dyn FnMut(usize),
    ) -> Self {
        let (detected, scored) = (String::new(), Scored::default());
        Self { scoring, shards, output, columns, detected, progress, classified: 0, scored }
    }

    pub fn run(mut self, workers: &Workers) -> Result<Scored> {
        let missing = self.output.missing()?;
        if !missing.is_empty() {
            self.output.remove_mark()?;
        }
        let parts = 0..self.shards.len();
        self.scored.present = parts.len() - missing.len();
        match workers {
            Workers::Group(group) => self.take_tickets(group)?,
            Workers::Restarted { rank, world, .. } => {
                self.note(format!(
                    "rank {rank} has joined before: this process scores missing parts on its own"
                ));
                self.score_missing(*rank, *world)?;
            }
            Workers::Task(task) => {
                let (all, own): (usize, Vec<usize>) =
                    (parts.len(), parts.filter(|&part| task.has(part)).collect());
                if own.is_empty() {
                    let (task, parts, variable) = (task.index + 1, all, task.variable);
                    return Err(ScoringError::NoPart { task, parts, variable }.into());
                }
                self.scored.present = own.iter().filter(|part| !missing.contains(part)).count();
                self.note(format!("{task}: {} of {all} parts", own.len()));
                own.into_iter().try_for_each(|part| self.score(part))?;
            }
        }
        self.scored.missing = self.output.missing()?.len();
        if self.scored.missing == 0 {
            self.output.mark_success()?;
        }
        Ok(self.scored)
    }

    /// Scores the next part that no other process has taken until there are none, then the parts
    /// that are still missing because a process has died.
    fn take_tickets(&mut self, group: &Group) -> Result<()> {
        let problem = loop {
            match group.ticket(QUEUE) {
                Ok(ticket) if ticket < self.shards.len() as u64 => self.score(ticket as usize)?,
                Ok(_) => break None,
                Err(error) => break Some(error),
            }
        };
        // The process that serves the store has died, or has left because no part is missing.
        if let Some(problem) = problem
            && !self.output.missing()?.is_empty()
        {
            self.note(format!("missing parts are scored without the store: {problem}"));
        }
        self.score_missing(group.rank(), group.world())
    }

    /// Scores missing parts. Each rank begins elsewhere, so that they meet late. A part that a
    /// living process is scoring is missing too; whoever completes it first ends the work of the
    /// others on it.
    fn score_missing(&mut self, rank: usize, world: usize) -> Result<()> {
        let mut missing: Vec<usize> = self.output.missing()?.into_iter().collect();
        let begin = missing.len() * rank / world.max(1);
        missing.rotate_left(begin);
        missing.into_iter().try_for_each(|part| self.score(part))
    }

    /// Scores a part, unless it is there or another process completes it.
    fn score(&mut self, part: usize) -> Result<()> {
        let (scoring, output, before) = (self.scoring, self.output, self.classified);
        if output.has(part) {
            return Ok(());
        }
        let shard = &self.shards[part];
        let mut from = TableReader::open_shard(shard, scoring.table, false)?;
        let mut to = TableWriter::create(output.part(part), Some(output.format))?;
        // Objects of JSON have their own keys.
        if !self.columns.columns().is_empty() {
            begin(scoring.predictor, &mut to, &self.columns, scoring.probabilities)?;
        }
        let (mut rows, mut unchanged) = (0, Ok(()));
        let mut continues = |done: usize| {
            rows = done;
            (self.progress)(before + done);
            unchanged = shard.check_unchanged();
            unchanged.is_ok() && !output.has(part)
        };
        let notes = classify_while(
            scoring.predictor,
            &mut from,
            to,
            scoring.probabilities,
            &mut continues,
        )?;
        unchanged?;
        self.classified += rows;
        if let Some(notes) = notes {
            self.scored.parts += 1;
            self.scored.rows += rows;
            self.note_all(shard, notes);
        }
        Ok(())
    }

    /// Keeps the notes on a part, without what was detected of its file if it is as in the file
    /// before.
    fn note_all(&mut self, shard: &Shard, notes: Vec<String>) {
        let mut notes = notes.into_iter();
        if let Some(first) = notes.next() {
            let detected = first.trim_start_matches(&*shard.path.to_string_lossy()).to_owned();
            if detected != self.detected {
                self.note(first);
                self.detected = detected;
            }
        }
        notes.for_each(|note| self.note(note));
    }

    /// Keeps a note, unless it is known. The parts of a file have the same notes.
    pub fn note(&mut self, note: String) {
        let notes = &mut self.scored.notes;
        if notes.contains(&note) {
            return;
        }
        match notes.len() {
            0..MOST_NOTES => notes.push(note),
            MOST_NOTES => notes.push("there are more notes on the files".to_owned()),
            _ => {}
        }
    }
}

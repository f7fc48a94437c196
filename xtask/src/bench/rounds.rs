//! Measured rounds. Contenders take turns, so that other load on the machine affects all of
//! them.

use anyhow::{Result, bail};

use super::{
    contender::Contender,
    protocol::{Evaluated, Roof, Trained},
};

/// Rounds in which inference and the speed of matrix products are measured too:
/// a unit of these is long enough for a few to do.
const EVALUATED_ROUNDS: u32 = 3;
/// Steps before anything is measured, in which memory is taken and caches fill.
const WARM_UP_STEPS: u32 = 2;

/// Amount of work.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rounds: u32,
    /// Steps in a round.
    pub steps: u32,
}

/// Contenders that train on the same examples.
#[derive(Default)]
pub struct Course {
    pub steps_per_epoch: usize,
    pub trainees: Vec<Trainee>,
}

impl Course {
    /// True if every contender trains on every example equally often.
    fn has_whole_epochs(&self, plan: Plan) -> bool {
        (plan.rounds as usize * plan.steps as usize).is_multiple_of(self.steps_per_epoch)
    }
}

/// A contender and what it has done so far.
pub struct Trainee {
    pub contender: Contender,
    pub chunks: Vec<Trained>,
    /// True if it can measure how fast matrices are multiplied.
    pub knows_roof: bool,
    pub roofs: Vec<Roof>,
}

/// Contender in classification or text generation, and what it has done so far.
pub struct Inference {
    pub contender: Contender,
    /// Unit of work.
    request: &'static str,
    pub passes: Vec<Evaluated>,
}

impl Trainee {
    pub fn new(contender: Contender, knows_roof: bool) -> Self {
        Self { contender, chunks: Vec::new(), knows_roof, roofs: Vec::new() }
    }
}

impl Inference {
    pub fn classifying(contender: Contender) -> Self {
        Self { contender, request: "evaluate", passes: Vec::new() }
    }

    pub fn generating(contender: Contender) -> Self {
        Self { contender, request: "generate", passes: Vec::new() }
    }

    fn pass(&mut self) -> Result<Evaluated> {
        self.contender.ask(self.request)
    }
}

/// Asks every contender in turn, round after round. `inferences` are groups that do the same work.
/// `report` gets a line for every round.
pub fn run(
    plan: Plan,
    courses: &mut [Course],
    inferences: &mut [Vec<Inference>],
    report: &mut dyn FnMut(&str),
) -> Result<()> {
    for trainee in courses.iter_mut().flat_map(|course| &mut course.trainees) {
        trainee.contender.ask::<Trained>(&format!("train {WARM_UP_STEPS}"))?;
    }
    for inference in inferences.iter_mut().flatten() {
        inference.pass()?;
    }
    for round in 0..plan.rounds {
        let mut done = Vec::new();
        for trainee in courses.iter_mut().flat_map(|course| &mut course.trainees) {
            let contender = &mut trainee.contender;
            let chunk: Trained = contender.ask(&format!("train {}", plan.steps))?;
            done.push(format!("{} {:.1} s", contender.name, chunk.seconds));
            trainee.chunks.push(chunk);
        }
        if round < EVALUATED_ROUNDS {
            for group in &mut *inferences {
                for inference in &mut *group {
                    let pass = inference.pass()?;
                    done.push(format!("{} {:.1} s", inference.contender.name, pass.seconds));
                    inference.passes.push(pass);
                }
                same(group.iter().filter_map(|inference| {
                    let pass = inference.passes.last()?;
                    Some((inference.contender.name.as_str(), pass.rows, pass.tokens))
                }))?;
            }
            let trainees = courses.iter_mut().flat_map(|course| &mut course.trainees);
            for trainee in trainees.filter(|trainee| trainee.knows_roof) {
                trainee.roofs.push(trainee.contender.ask("roof")?);
            }
        }
        report(&format!("round {} of {}: {}", round + 1, plan.rounds, done.join(", ")));
    }
    // In parts of an epoch, contenders with batches of their own train on other examples.
    for course in courses.iter().filter(|course| course.has_whole_epochs(plan)) {
        same(course.trainees.iter().map(|trainee| {
            let sum = |number: fn(&Trained) -> u64| trainee.chunks.iter().map(number).sum();
            (trainee.contender.name.as_str(), sum(|one| one.steps), sum(|one| one.tokens))
        }))?;
    }
    Ok(())
}

/// Refuses to compare contenders that did not do the same work.
fn same<'a>(done: impl Iterator<Item = (&'a str, u64, u64)>) -> Result<()> {
    let mut first = None;
    for (name, units, tokens) in done {
        let (other, other_units, other_tokens) = *first.get_or_insert((name, units, tokens));
        if (units, tokens) != (other_units, other_tokens) {
            bail!(
                "{name} cannot be compared with {other}: it did {units} units of work with \
                 {tokens} tokens, the other {other_units} with {other_tokens}"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::contender::tests::{FAKE, start};

    #[test]
    fn every_contender_runs_in_every_round() {
        let folder = tempfile::tempdir().unwrap();
        let fake = |name: &str, seconds: &str| start(folder.path(), name, FAKE, seconds).unwrap();
        let course = |trainees| Course { steps_per_epoch: 10, trainees };
        let mut courses = [
            course(vec![
                Trainee::new(fake("fast", "1.0"), true),
                Trainee::new(fake("slow", "2.5"), false),
            ]),
            course(vec![Trainee::new(fake("other", "1.5"), false)]),
        ];
        let mut inferences = [
            vec![Inference::classifying(fake("reader", "0.5"))],
            vec![Inference::generating(fake("writer", "0.7"))],
        ];
        let mut lines = Vec::new();
        let plan = Plan { rounds: 5, steps: 4 };
        run(plan, &mut courses, &mut inferences, &mut |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines.len(), 5);
        assert_eq!(
            lines[0],
            "round 1 of 5: fast 1.0 s, slow 2.5 s, other 1.5 s, reader 0.5 s, writer 0.7 s"
        );
        assert_eq!(lines[4], "round 5 of 5: fast 1.0 s, slow 2.5 s, other 1.5 s");
        for trainee in courses.iter().flat_map(|course| &course.trainees) {
            assert_eq!(trainee.chunks.len(), 5);
            assert!(trainee.chunks.iter().all(|chunk| (chunk.steps, chunk.tokens) == (4, 400)));
        }
        assert_eq!(
            (courses[0].trainees[0].roofs.len(), courses[0].trainees[1].roofs.len()),
            (3, 0)
        );
        assert!(inferences.iter().flatten().all(|inference| inference.passes.len() == 3));
    }

    #[test]
    fn different_work_is_not_compared() {
        let folder = tempfile::tempdir().unwrap();
        let more = FAKE.replace("count * 100", "count * 120");
        let trainees = vec![
            Trainee::new(start(folder.path(), "one", FAKE, "1").unwrap(), false),
            Trainee::new(start(folder.path(), "other", &more, "1").unwrap(), false),
        ];
        let mut course = Course { steps_per_epoch: 4, trainees };
        // Batches of the same size can have other tokens until the epoch ends.
        let plan = Plan { rounds: 1, steps: 3 };
        run(plan, std::slice::from_mut(&mut course), &mut [], &mut |_| {}).unwrap();
        course.trainees.iter_mut().for_each(|trainee| trainee.chunks.clear());
        course.steps_per_epoch = 3;
        let error = run(plan, &mut [course], &mut [], &mut |_| {}).unwrap_err();
        assert_eq!(
            error.to_string(),
            "other cannot be compared with one: it did 3 units of work with 360 tokens, the other \
             3 with 300"
        );
    }

    #[test]
    fn dead_contender_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let script = FAKE.replace("evaluate)", "evaluate) exit 7;; never)");
        let ill = start(folder.path(), "ill", &script, "1").unwrap();
        let mut inferences = [vec![Inference::classifying(ill)]];
        let plan = Plan { rounds: 1, steps: 1 };
        let error = run(plan, &mut [], &mut inferences, &mut |_| {}).unwrap_err();
        assert!(format!("{error:#}").contains("(exit status: 7)"), "{error:#}");
    }
}

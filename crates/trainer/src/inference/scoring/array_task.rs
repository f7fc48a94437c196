//! Tasks of array jobs, which do not know each other.

use std::{env, fmt};

use super::error::ArrayTaskError;

/// Task of a Slurm array or of a Kubernetes Indexed Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayTask {
    /// Number of the task, from 0.
    pub index: usize,
    /// Number of tasks, at least 1.
    pub count: usize,
    /// Variable that numbers the tasks.
    pub variable: &'static str,
}

impl ArrayTask {
    /// Reads the task from the environment; `None` outside an array job.
    ///
    /// Slurm sets `SLURM_ARRAY_TASK_ID` and the variables with its range. Kubernetes sets
    /// `JOB_COMPLETION_INDEX`, and the number of completions is expected in `JOB_COMPLETIONS`.
    ///
    /// # Errors
    /// [`ArrayTaskError`] if a variable is missing or invalid.
    pub fn of_environment() -> Result<Option<Self>, ArrayTaskError> {
        Self::of_variables(|name| env::var_os(name).map(|value| value.to_string_lossy().into()))
    }

    /// As [`of_environment`](Self::of_environment), with a function that returns the value of a
    /// variable.
    ///
    /// # Errors
    /// As [`of_environment`](Self::of_environment).
    pub fn of_variables(
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ArrayTaskError> {
        let number = |variable: &'static str| {
            let value = value(variable).filter(|value| !value.is_empty());
            let parse = |value: String| {
                value.parse::<usize>().map_err(|_| ArrayTaskError::Invalid { variable, value })
            };
            value.map(parse).transpose()
        };
        let slurm = ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"];
        let kubernetes = ["JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"];
        for [variable, missing] in [slurm, kubernetes] {
            let Some(id) = number(variable)? else { continue };
            let no_count = ArrayTaskError::NoCount { present: variable, missing };
            let count = number(missing)?.ok_or(no_count)?;
            let (mut first, mut step) = (0, 1);
            if variable == slurm[0] {
                first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
                step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            }
            let distance = id.checked_sub(first).filter(|distance| distance % step == 0);
            return match distance.map(|distance| distance / step) {
                Some(index) if index < count => Ok(Some(Self { index, count, variable })),
                _ => Err(ArrayTaskError::NotConsecutive { variable, count, first, step, id }),
            };
        }
        Ok(None)
    }

    /// Returns whether this task scores a part.
    pub(super) fn has(&self, part: usize) -> bool {
        part % self.count == self.index
    }
}

impl fmt::Display for ArrayTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} of {} of an array job ({})", self.index + 1, self.count, self.variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(variables: &[(&str, &str)]) -> Result<Option<(usize, usize)>, String> {
        let value = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let found = ArrayTask::of_variables(value).map_err(|error| error.to_string())?;
        Ok(found.map(|task| (task.index, task.count)))
    }

    #[test]
    fn variables_of_slurm_and_kubernetes_give_the_task() {
        let [id, count, min, step] = ["ID", "COUNT", "MIN", "STEP"];
        let slurm = |variables: &[(&str, &str)]| {
            let names: Vec<_> = variables
                .iter()
                .map(|(name, value)| (format!("SLURM_ARRAY_TASK_{name}"), *value))
                .collect();
            task(&names.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>())
        };
        assert_eq!(task(&[]), Ok(None));
        assert_eq!(task(&[("SLURM_ARRAY_TASK_ID", "")]), Ok(None));
        assert_eq!(slurm(&[(id, "2"), (count, "4")]), Ok(Some((2, 4))));
        assert_eq!(slurm(&[(id, "4"), (count, "4"), (min, "1")]), Ok(Some((3, 4))));
        let stepped = [(id, "15"), (count, "4"), (min, "5"), (step, "5")];
        assert_eq!(slurm(&stepped), Ok(Some((2, 4))));
        let index = ("JOB_COMPLETION_INDEX", "0");
        assert_eq!(task(&[index, ("JOB_COMPLETIONS", "3")]), Ok(Some((0, 3))));
        let contains = |result: Result<_, String>, expected: &str| {
            let error = result.unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        contains(task(&[index]), "JOB_COMPLETIONS is not; set JOB_COMPLETIONS to the number");
        contains(task(&[index, ("JOB_COMPLETIONS", "many")]), "whole number, got \"many\"");
        contains(task(&[index, ("JOB_COMPLETIONS", "0")]), "one of 0 tasks");
        contains(slurm(&[(id, "7"), (count, "2"), (min, "3")]), "from 3 in steps of 1, got 7");
        contains(slurm(&[(id, "1"), (count, "2"), (min, "3")]), "submit the whole array");
        contains(slurm(&[(id, "6"), (count, "4"), (min, "5"), (step, "5")]), "got 6");
    }

    #[test]
    fn tasks_have_all_parts_and_no_part_twice() {
        let task = |index| ArrayTask { index, count: 3, variable: "" };
        for part in 0..10 {
            assert_eq!((0..3).filter(|&index| task(index).has(part)).count(), 1);
        }
    }
}

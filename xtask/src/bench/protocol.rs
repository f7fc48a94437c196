//! Protocol of the contenders: one line of JSON for every request.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Said by itself, when everything is loaded.
#[derive(Debug, Deserialize)]
pub struct Ready {
    pub load_seconds: f64,
    /// Libraries that count, and their versions.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
}

/// To `train K`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trained {
    pub seconds: f64,
    pub steps: u64,
    /// Without padding.
    pub tokens: u64,
    pub losses: Vec<f64>,
}

/// To `join` (of processes into a group), `sum ORDER K` and `copy K`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Timed {
    pub seconds: f64,
}

/// To `evaluate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluated {
    pub seconds: f64,
    pub rows: u64,
    /// Without padding.
    pub tokens: u64,
}

/// To `roof`: how fast matrices can be multiplied on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Roof {
    /// By the library that multiplies.
    pub gflops: BTreeMap<String, f64>,
    /// Rows of the left matrix: the tokens of a mean training step.
    pub rows: f64,
    /// Operations of a training step per token that is not padding.
    pub flops_per_token: f64,
}

/// To `breakdown K`: where the time of training steps goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Breakdown {
    pub seconds: f64,
    pub steps: u64,
    /// Measured limit of the CPU.
    pub limit_gflops: f64,
    pub work: Vec<WorkShare>,
}

/// Kind of work in a breakdown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkShare {
    pub name: String,
    pub seconds: f64,
    /// Floating-point operations; 0 where they are not counted.
    pub operations: f64,
}

/// To `quit`.
#[derive(Debug, Deserialize)]
pub struct Ended {
    /// Nothing where the system does not say.
    pub peak_memory_bytes: Option<u64>,
}

/// An answer of which more is known than its shape.
pub trait Answer: DeserializeOwned {
    /// Refuses numbers that cannot be, which would make nonsense of a ratio.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl Answer for Ready {}

impl Answer for Ended {}

impl Answer for Trained {
    fn check(&self) -> Result<()> {
        positive("seconds", self.seconds)?;
        if self.tokens == 0 || self.losses.len() as u64 != self.steps {
            bail!("there must be tokens, and as many losses as steps");
        }
        Ok(())
    }
}

impl Answer for Timed {
    fn check(&self) -> Result<()> {
        positive("seconds", self.seconds)
    }
}

impl Answer for Evaluated {
    fn check(&self) -> Result<()> {
        positive("seconds", self.seconds)?;
        if self.rows == 0 {
            bail!("rows must not be 0");
        }
        Ok(())
    }
}

impl Answer for Roof {
    fn check(&self) -> Result<()> {
        positive("flops_per_token", self.flops_per_token)?;
        self.gflops.iter().try_for_each(|(library, &speed)| positive(library, speed))
    }
}

impl Answer for Breakdown {
    fn check(&self) -> Result<()> {
        positive("seconds", self.seconds)?;
        positive("steps", self.steps as f64)?;
        positive("limit_gflops", self.limit_gflops)
    }
}

fn positive(name: &str, number: f64) -> Result<()> {
    if number.is_finite() && number > 0.0 {
        return Ok(());
    }
    bail!("{name} must be above 0 and is {number}")
}

/// Reads an answer.
pub fn parse<A: Answer>(line: &str) -> Result<A> {
    let answer: A = serde_json::from_str(line).context("this is not the JSON that is expected")?;
    answer.check()?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_parsed() {
        let ready: Ready = parse(r#"{"load_seconds": 1.5}"#).unwrap();
        assert!(ready.versions.is_empty());
        let ready: Ready =
            parse(r#"{"load_seconds": 2, "versions": {"torch": "2.13.0"}}"#).unwrap();
        assert_eq!((ready.load_seconds, ready.versions["torch"].as_str()), (2.0, "2.13.0"));
        let line = r#"{"seconds": 0.5, "steps": 2, "tokens": 90, "losses": [0.7, 0.6]}"#;
        let trained: Trained = parse(line).unwrap();
        assert_eq!((trained.steps, trained.tokens, trained.losses.len()), (2, 90, 2));
        let line =
            r#"{"gflops": {"mkl": 90.5, "onednn": 80}, "rows": 211.5, "flops_per_token": 1e9}"#;
        let roof: Roof = parse(line).unwrap();
        assert_eq!(roof.gflops["onednn"], 80.0);
        let ended: Ended = parse(r#"{"peak_memory_bytes": 1024}"#).unwrap();
        assert_eq!(ended.peak_memory_bytes, Some(1024));
        assert_eq!(
            parse::<Ended>(r#"{"peak_memory_bytes": null}"#).unwrap().peak_memory_bytes,
            None
        );
    }

    #[test]
    fn impossible_responses_are_refused() {
        let line = r#"{"seconds": 0.5, "steps": 3, "tokens": 90, "losses": [0.7, 0.6]}"#;
        let error = parse::<Trained>(line).unwrap_err();
        assert_eq!(error.to_string(), "there must be tokens, and as many losses as steps");
        let error = parse::<Evaluated>(r#"{"seconds": 0, "rows": 3, "tokens": 9}"#).unwrap_err();
        assert_eq!(error.to_string(), "seconds must be above 0 and is 0");
        // What Python writes for a loss that is not a number.
        let line = r#"{"seconds": 1, "steps": 1, "tokens": 9, "losses": [NaN]}"#;
        assert!(parse::<Trained>(line).is_err());
        assert!(parse::<Ready>("loading").is_err());
    }
}

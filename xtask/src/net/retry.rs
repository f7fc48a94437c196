//! Retries.

use std::{thread, time::Duration};

use anyhow::{Error, Result};

/// Attempts before a server is given up, without one byte of progress between them.
const ATTEMPTS: u32 = 5;
/// The pause after the first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, also for a server that asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why an attempt failed.
#[derive(Debug)]
pub enum Failure {
    /// Trying again is of no use.
    Final(Error),
    /// The next attempt may succeed.
    Passing {
        /// Cause.
        error: Error,
        /// The pause that the server asked for.
        wait: Option<Duration>,
        /// True if this attempt got further than earlier ones.
        progress: bool,
    },
}

impl Failure {
    /// A failure that may pass.
    pub fn passing(error: impl Into<Error>) -> Self {
        Self::Passing { error: error.into(), wait: None, progress: false }
    }

    /// The same, with what was being done.
    pub fn context(self, what: String) -> Self {
        match self {
            Self::Final(error) => Self::Final(error.context(what)),
            Self::Passing { error, wait, progress } => {
                Self::Passing { error: error.context(what), wait, progress }
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Calls `attempt` until it succeeds or fails finally.
pub fn retry<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T> {
    let mut failures = 0;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing { error, wait, progress }) => {
                failures = if progress { 1 } else { failures + 1 };
                if failures == ATTEMPTS {
                    return Err(error.context(format!("given up after {ATTEMPTS} attempts")));
                }
                let pause = pause(wait, failures);
                say!("{error:#}; trying again in {:.1} s", pause.as_secs_f64());
                thread::sleep(pause);
            }
        }
    }
}

/// Pause after a number of failures: the one that the server asks for, up to a limit.
fn pause(wait: Option<Duration>, failures: u32) -> Duration {
    wait.unwrap_or(FIRST_PAUSE * 2u32.pow(failures - 1)).min(LONGEST_PAUSE)
}

/// An error of the network: it may pass, unless it is about what was asked.
pub fn of_network(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::TooManyRedirects
        | ureq::Error::RedirectFailed
        | ureq::Error::Tls(_) => Failure::Final(error.into()),
        // A name that is not known now will not be in a second.
        ureq::Error::HostNotFound => Failure::Final(error.into()),
        ureq::Error::Io(cause) if cause.to_string().starts_with("failed to lookup address") => {
            Failure::Final(cause.into())
        }
        ureq::Error::Io(error) => Failure::passing(error),
        error => Failure::passing(error),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn passing(progress: bool) -> Failure {
        Failure::Passing { error: anyhow!("cut"), wait: Some(Duration::ZERO), progress }
    }

    #[test]
    fn attempts_are_counted_from_the_last_progress() {
        let mut calls = 0;
        let result: Result<()> = retry(|| {
            calls += 1;
            Err(passing(calls == 4))
        });
        assert!(format!("{:#}", result.unwrap_err()).contains("after 5 attempts: cut"));
        assert_eq!(calls, 8);
    }

    #[test]
    fn pauses_are_bounded() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(Some(seconds(u64::MAX)), 1), LONGEST_PAUSE);
        assert_eq!(pause(Some(seconds(3)), 4), seconds(3));
        let own: Vec<_> = (1..ATTEMPTS).map(|failures| pause(None, failures)).collect();
        assert_eq!(own, [500, 1000, 2000, 4000].map(Duration::from_millis));
    }

    #[test]
    fn permanent_errors_are_not_retried() {
        let mut calls = 0;
        let result: Result<()> = retry(|| {
            calls += 1;
            Err(Failure::Final(anyhow!("no")))
        });
        assert!(result.is_err());
        assert_eq!(calls, 1);
    }
}

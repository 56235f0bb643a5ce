//! A fault plan: what goes wrong with the simulated systems, and how often, as a file.
//!
//! Exists so that a bad day can be rehearsed without writing code. The same plan gives the same faults: they come by
//! the number of the request or of the webhook, and never by chance.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::Deserialize;

use super::{Fault, Faults, Mishap, Outbox};

/// Pieces of a slow answer.
const PIECES: usize = 10;
/// What a slow answer takes where the plan says nothing: longer than a page usually takes, shorter than any patience.
const SLOW: f64 = 5.0;

/// What goes wrong.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// With answers to requests.
    #[serde(default)]
    answers: Vec<OfAnswers>,
    /// With webhooks.
    #[serde(default)]
    webhooks: Vec<OfWebhooks>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct OfAnswers {
    system: String,
    /// Each so many requests, counted over all that the system gets.
    every: NonZeroU64,
    fault: AnswerFault,
    /// Of "status".
    status: Option<u16>,
    /// Of "status": the `Retry-After`, in seconds or as a date.
    retry_after: Option<String>,
    /// Of "slow".
    seconds: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum AnswerFault {
    /// Another status than the true one, and the request has no effect.
    Status,
    Slow,
    /// Half of the answer, then the connection ends.
    Truncated,
    /// A record leaves the listing, and the pages behind it move up.
    PageShift,
    /// 200 with a page that is no JSON, as a proxy gives it.
    Garbage,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct OfWebhooks {
    system: String,
    every: NonZeroU64,
    fault: Mishap,
}

/// Why a plan cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("{0}")]
    Toml(String),
    #[error("there is no system {name:?}: there is {known}")]
    System { name: String, known: String },
    #[error("{0} sends no webhooks")]
    NoWebhooks(String),
    #[error("status = {0} is no status of an answer: write 400 to 599")]
    Status(u16),
    #[error("seconds = {0} is no time")]
    Seconds(String),
    #[error("{key} belongs to fault = {to:?} alone")]
    Stray { key: &'static str, to: &'static str },
}

/// One simulated system, as a plan reaches it.
pub struct System<'s> {
    pub name: &'static str,
    pub faults: &'s Faults,
    pub webhooks: Option<&'s Outbox>,
}

impl Plan {
    /// # Errors
    /// It is no TOML, or holds what no plan has.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        toml::from_str(text).map_err(|error| PlanError::Toml(error.to_string()))
    }

    /// Puts the faults into the systems.
    ///
    /// # Errors
    /// It names a system that is not there, or says something that makes no sense. Nothing was put anywhere.
    pub fn apply(&self, systems: &[System<'_>]) -> Result<(), PlanError> {
        let find = |name: &str| {
            let known = || systems.iter().map(|system| system.name).collect::<Vec<_>>().join(", ");
            systems
                .iter()
                .find(|system| system.name == name)
                .ok_or_else(|| PlanError::System { name: name.to_owned(), known: known() })
        };
        let mut answers = Vec::new();
        for rule in &self.answers {
            answers.push((find(&rule.system)?.faults, rule.every, rule.fault()?));
        }
        let mut webhooks = Vec::new();
        for rule in &self.webhooks {
            let outbox = find(&rule.system)?.webhooks;
            let outbox = outbox.ok_or_else(|| PlanError::NoWebhooks(rule.system.clone()))?;
            webhooks.push((outbox, rule.every, rule.fault));
        }
        for (faults, every, fault) in answers {
            faults.every(every, fault);
        }
        for (outbox, every, mishap) in webhooks {
            outbox.every(every, mishap);
        }
        Ok(())
    }
}

impl OfAnswers {
    fn fault(&self) -> Result<Fault, PlanError> {
        let stray = |key, to| Err(PlanError::Stray { key, to });
        match self.fault {
            AnswerFault::Status => {}
            _ if self.status.is_some() => return stray("status", "status"),
            _ if self.retry_after.is_some() => return stray("retry_after", "status"),
            _ => {}
        }
        if self.fault != AnswerFault::Slow && self.seconds.is_some() {
            return stray("seconds", "slow");
        }
        Ok(match self.fault {
            AnswerFault::Status => self.status()?,
            AnswerFault::Slow => {
                let seconds = self.seconds.unwrap_or(SLOW);
                let pause = Duration::try_from_secs_f64(seconds / 10.0)
                    .map_err(|_| PlanError::Seconds(seconds.to_string()))?;
                Fault::Drip { pieces: PIECES, pause }
            }
            AnswerFault::Truncated => Fault::Cut,
            AnswerFault::PageShift => Fault::Shift,
            AnswerFault::Garbage => Fault::garbage(),
        })
    }

    fn status(&self) -> Result<Fault, PlanError> {
        let status = self.status.unwrap_or(500);
        if !(400..600).contains(&status) {
            return Err(PlanError::Status(status));
        }
        let retry_after = self.retry_after.iter().map(|text| ("retry-after".to_owned(), text.clone()));
        let body = r#"{"error":{"code":"planned","message":"by the fault plan"}}"#.to_owned();
        Ok(Fault::Instead { status, headers: retry_after.collect(), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `PLAN` names is what the README shows.
    const PLAN: &str = r#"
[[answers]]
system = "repliers"
every = 5
fault = "status"
status = 429
retry_after = "1"

[[answers]]
system = "repliers"
every = 3
fault = "page_shift"
"#;

    fn applied(text: &str) -> Result<Faults, PlanError> {
        let faults = Faults::default();
        let system = System { name: "repliers", faults: &faults, webhooks: None };
        Plan::parse(text)?.apply(&[system])?;
        Ok(faults)
    }

    #[test]
    fn faults_come_by_the_number_of_the_request_and_the_first_that_is_due_counts() {
        let faults = applied(PLAN).unwrap();
        let shown: Vec<char> = (1..=15)
            .map(|_| match faults.next() {
                Fault::Instead { status: 429, .. } => 'r',
                Fault::Shift => 's',
                Fault::Pass => '.',
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(shown.iter().collect::<String>(), "..s.rs..sr.s..r");
    }

    #[test]
    fn a_script_goes_before_a_plan() {
        let faults = applied(PLAN).unwrap();
        faults.script([Fault::Cut, Fault::Cut, Fault::Cut]);
        let first: Vec<Fault> = (0..5).map(|_| faults.next()).collect();
        assert_eq!(first[..4], [Fault::Cut, Fault::Cut, Fault::Cut, Fault::Pass]);
        assert!(matches!(first[4], Fault::Instead { .. }));
    }

    #[test]
    fn a_plan_that_means_nothing_says_why() {
        for (text, said) in [
            ("[[answers]]\nsystem = \"repliers\"\nevery = 0\nfault = \"slow\"", "nonzero"),
            ("[[answers]]\nsystem = \"repliers\"\nevery = 1\nfault = \"sloow\"", "unknown variant"),
            ("[[answers]]\nsystem = \"replers\"\nevery = 1\nfault = \"slow\"", "there is repliers"),
            ("[[answers]]\nsystem = \"repliers\"\nevery = 1\nfault = \"slow\"\nstatus = 500", "belongs to"),
            ("[[answers]]\nsystem = \"repliers\"\nevery = 1\nfault = \"status\"\nstatus = 200", "400 to 599"),
            ("[[answers]]\nsystem = \"repliers\"\nevery = 1\nfault = \"slow\"\nseconds = -1.0", "is no time"),
            ("[[webhooks]]\nsystem = \"repliers\"\nevery = 1\nfault = \"lost\"", "sends no webhooks"),
            ("[[anwsers]]", "unknown field"),
        ] {
            let error = applied(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

//! What the vendor still lets us do, as its last answer told it: a plan for the next request, never a promise.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::answer::find;
use super::http::Response;
use crate::config::api::Quota;
use crate::domain::Timestamp;
use crate::outbound::asked;

/// Longest wait that a vendor may ask for: a daily window, and an hour for clocks that differ.
const WAIT_MAX: Duration = Duration::from_hours(25);
/// How old a figure may be that a request is planned by: others delete too.
const FRESH: Duration = Duration::from_mins(10);
/// How old it may be for parking by it: a plan is raised by a person, who then looks.
const FRESH_TO_PARK: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Allowance {
    quota: Quota,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Requests that are left until then.
    requests: Option<(u64, Timestamp)>,
    /// Deletions that are left, as of then; `u64::MAX` is without limit.
    deletions: Option<(u64, Timestamp)>,
}

/// What may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// That many ids in one request.
    Send(usize),
    /// Nothing before that.
    Wait(Timestamp),
    /// Nobody knows: ask for the figures first.
    Ask,
    /// Nothing more, for good.
    Spent,
}

impl Allowance {
    pub fn new(quota: Quota) -> Self {
        Self { quota, known: Mutex::default() }
    }

    pub fn plan(&self, ids: usize, now: Timestamp) -> Plan {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((0, until)) = known.requests
            && until > now
        {
            return Plan::Wait(until);
        }
        if !self.quota.counts_deletions() {
            return Plan::Send(ids);
        }
        let asks = self.quota.stats.is_some();
        match known.deletions {
            Some((0, at)) if !asks || now.since(at) < FRESH_TO_PARK => Plan::Spent,
            Some((left, at)) if left > 0 && (!asks || now.since(at) < FRESH) => {
                Plan::Send(ids.min(usize::try_from(left).unwrap_or(usize::MAX)))
            }
            None if !asks => Plan::Send(ids),
            _ => Plan::Ask,
        }
    }

    /// Reads what an answer of any status says.
    pub fn learn(&self, response: &Response, now: Timestamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let header = |name: &Option<String>| asked::whole_number(response.header(name.as_deref()?)?);
        if let Some(left) = header(&self.quota.remaining_header) {
            let until = header(&self.quota.reset_header)
                .map_or(now, |reset| after(asked::until_reset(reset, now), now));
            known.requests = Some((left, until));
        }
        if self.quota.counts_deletions()
            && let Some(left) = self.deletions(&response.json())
        {
            known.deletions = Some((left, now));
        }
    }

    /// A request may have been carried out without an answer, or nothing is what it was said to be.
    pub fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).deletions = None;
    }

    /// What is left; `None` if nobody knows, or if there is no limit.
    pub fn left(&self) -> Option<u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let deletions = known.deletions.map(|(left, _)| left).filter(|left| *left != u64::MAX);
        deletions.or(known.requests.map(|(left, _)| left))
    }

    /// When requests are taken again after one was sent away: as its headers say.
    pub fn again(&self, response: &Response, now: Timestamp) -> Option<Timestamp> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = known.requests.filter(|(left, until)| *left == 0 && *until > now).map(|(_, until)| until);
        spent.or_else(|| {
            let wait = asked::retry_after(response.header("retry-after")?, now)?;
            Some(after(wait, now))
        })
    }

    fn deletions(&self, body: &Value) -> Option<u64> {
        let number = |pointers| find(body, body, pointers).and_then(Value::as_i64);
        let max = number(&self.quota.max);
        if max.is_some_and(|max| max < 0) {
            return Some(u64::MAX);
        }
        let counted = || Some(max?.saturating_sub(number(&self.quota.used)?));
        number(&self.quota.left).or_else(counted).map(|left| u64::try_from(left).unwrap_or(0))
    }
}

fn after(wait: Duration, now: Timestamp) -> Timestamp {
    now.plus(wait.min(WAIT_MAX))
}

//! A vendor's batch-deletion API as a target, described by configuration alone.
//!
//! Exists because the copies that we pushed to others must go as well, and each vendor has its own way of
//! saying what it did. An API commits nothing as one and judges no record's age: so nothing waits here (what
//! cannot be sent goes back to the queue, where a re-listing overtakes it), and nothing is told that an answer
//! does not prove. It may not log an id, a body or a credential (I10).

mod answer;
mod check;
mod http;
mod quota;
mod request;
mod sheet;
mod token;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use self::answer::Told;
use self::http::Http;
use self::quota::{Allowance, Plan};
use self::sheet::Sheet;
use self::token::Credential;
use super::{Batch, Effect, Finding, Foreseen, RecordFailure, Removal, Target, TargetError, Unproven};
use crate::backoff::{Dice, fair_dice};
use crate::clock::SharedClock;
use crate::config::api::Api;
use crate::domain::{Action, Entity, Timestamp};

/// Requests of one batch: a batch lasts seconds then, and ends before a drain does.
const BATCH_REQUESTS: usize = 10;
/// How old a count of the vendor's records may be: it is the basis of a share, and asking costs requests.
const TOTAL_AGE_MAX: Duration = Duration::from_hours(1);
/// How soon a vendor that could not count is asked again.
const UNCOUNTED_AGE_MAX: Duration = Duration::from_mins(10);
/// How long the brake waits for a count: it decides for every other target meanwhile.
const COUNT_PATIENCE: Duration = Duration::from_secs(2);

/// A vendor's API.
pub struct ApiTarget {
    name: String,
    api: Api,
    clock: SharedClock,
    dice: Dice,
    http: Arc<Http>,
    credential: Credential,
    allowance: Allowance,
    totals: Mutex<BTreeMap<Entity, Total>>,
}

/// Records that a vendor counted. A measurement, not a state.
#[derive(Clone, Copy, Debug)]
struct Total {
    /// The last count, if there was one.
    records: Option<u64>,
    /// When to ask again.
    good_until: Timestamp,
}

impl ApiTarget {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// `Misconfigured` if there is no usable trust store.
    pub fn new(name: &str, api: Api, clock: SharedClock) -> Result<Self, TargetError> {
        let http = Arc::new(Http::new(api.timeout, api.rate_per_second)?);
        Ok(Self {
            name: name.to_owned(),
            credential: Credential::new(api.auth.clone(), clock.clone(), http.clone()),
            allowance: Allowance::new(api.quota.clone()),
            totals: Mutex::default(),
            dice: fair_dice(),
            api,
            clock,
            http,
        })
    }

    /// The record is one that this target deletes.
    fn takes(&self, removal: &Removal) -> bool {
        let records = self.api.entities.get(&removal.entity);
        records.is_some_and(|records| removal.action == Action::Delete || records.delete_on_deactivate)
    }

    fn total(&self, entity: &Entity) -> Option<Total> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).get(entity).copied()
    }

    /// Notes a count, or that there was none.
    fn counted(&self, entity: &Entity, records: Option<u64>) {
        let age = if records.is_some() { TOTAL_AGE_MAX } else { UNCOUNTED_AGE_MAX };
        let records = records.or_else(|| self.total(entity)?.records);
        let total = Total { records, good_until: self.clock.now().plus(age) };
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).insert(entity.clone(), total);
    }

    /// What a rehearsal says of each removal; of one that it says nothing of, whether it could be named at all.
    async fn rehearse(&self, removals: &[Removal]) -> Result<Vec<Effect>, TargetError> {
        let batch = Batch { number: 0, removals: removals.to_vec() };
        let mut sheet = Sheet::new(&self.api, &self.name, &batch);
        for chunk in sheet.chunks() {
            if let Plan::Wait(_) = self.allowance.plan(0, self.clock.now()) {
                return Err(TargetError::Unavailable("no requests are left to rehearse with".into()));
            }
            let told = if self.api.dry_run.is_some() {
                let told = self.dry_run(&sheet, &chunk).await;
                told.map_err(|wait| TargetError::Unavailable(wait.reason))?
            } else {
                vec![Told::Unproven; chunk.places.len()]
            };
            for (place, told) in chunk.places.iter().zip(told) {
                sheet.tell(*place, foretold(told));
            }
        }
        Ok(sheet.finish())
    }
}

/// As [`Target::apply`] would tell it.
fn foretold(told: Told) -> Effect {
    match told {
        Told::Deleted => Effect::Removed { rows: 1 },
        Told::Absent => Effect::Absent,
        Told::Gone => Effect::Gone,
        Told::Failed { code, retry } => {
            let message = code.map_or("the vendor would not delete it".to_owned(), |code| {
                format!("the vendor says {code}")
            });
            Effect::Failed(RecordFailure { code: "record_failed", message, retry })
        }
        Told::Unproven => {
            let message = "the vendor does not say what a deletion would find".to_owned();
            Effect::Unproven(Unproven { code: "unforeseen", message, again: None })
        }
    }
}

#[async_trait]
impl Target for ApiTarget {
    fn name(&self) -> &str {
        &self.name
    }

    /// Whole requests, so that none but the last of a backlog is sent half full.
    fn batch_max(&self) -> u32 {
        u32::try_from(self.api.limit * BATCH_REQUESTS).unwrap_or(u32::MAX)
    }

    fn quota_left(&self) -> Option<u64> {
        self.allowance.left()
    }

    async fn check(&self) -> Result<Vec<Finding>, TargetError> {
        Ok(self.findings().await)
    }

    /// What the vendor counts; 0 where it can't, which leaves the brake to its other targets, or to the number
    /// of rows that may always go.
    async fn mirrored(&self, entity: &Entity) -> Result<u64, TargetError> {
        if !self.api.entities.contains_key(entity) || self.api.quota.total.is_empty() {
            return Ok(0);
        }
        let now = self.clock.now();
        let asks = self.total(entity).is_none_or(|total| total.good_until <= now);
        if asks && !matches!(self.allowance.plan(0, now), Plan::Wait(_)) {
            let asked = tokio::time::timeout(COUNT_PATIENCE, self.figures(entity)).await;
            if !matches!(asked, Ok(Ok(()))) {
                self.counted(entity, None);
            }
        }
        let records = self.total(entity).and_then(|total| total.records);
        records.ok_or_else(|| TargetError::Unavailable("the vendor has not counted its records".into()))
    }

    /// One row for each record, as most APIs say nothing more: never 0 for what might go, since the brake lets
    /// that pass.
    async fn weigh(&self, removals: &[Removal]) -> Result<Vec<u64>, TargetError> {
        if self.api.dry_run.as_ref().is_some_and(|dry| dry.weigh) {
            let effects = self.rehearse(removals).await?;
            let rows = |(removal, effect): (&Removal, Effect)| {
                let stays = matches!(effect, Effect::Absent | Effect::Gone);
                u64::from(self.takes(removal) && !stays)
            };
            return Ok(removals.iter().zip(effects).map(rows).collect());
        }
        Ok(removals.iter().map(|removal| u64::from(self.takes(removal))).collect())
    }

    /// By a rehearsal, where the vendor has one. Others cannot be asked without deleting.
    async fn foresee(&self, removals: &[Removal]) -> Result<Vec<Foreseen>, TargetError> {
        let foreseen = |effect| Foreseen { effect, tables: Vec::new() };
        Ok(self.rehearse(removals).await?.into_iter().map(foreseen).collect())
    }

    /// Request after request; what an answer proves is told, and what could not be sent waits.
    async fn apply(&self, batch: &Batch) -> Result<Vec<Effect>, TargetError> {
        Ok(self.carry_out(batch).await)
    }
}

#[cfg(test)]
mod tests;

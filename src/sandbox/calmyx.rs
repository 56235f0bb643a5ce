//! Calmyx as its documents describe it: listings that are deleted in batches, against a quota that never comes
//! back.
//!
//! Sources: docs.calmyx.com (`api-reference/listings/delete-listings-batch`, `delete-listing`,
//! `delete-listing-by-coordinates`, `get-listings-stats`). What they leave open is decided here so: errors are
//! `{"success":false,"error":{"code","message"}}`, a batch that the quota refuses is 403 `churn_limit_reached`
//! (both can be set), and requests are not limited.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Call, Faults, Simulator};
use crate::clock::SharedClock;
use crate::config::Secret;

/// Ids of one batch.
const BATCH_MAX: usize = 100;

/// What differs from one sandbox to another.
#[derive(Clone, Debug)]
pub struct CalmyxSettings {
    /// Wanted in `Authorization`, as it is.
    pub api_key: Secret,
    /// Listings of the plan: 100 (Trial), 10,000 (Insight), 100,000 (Intelligence).
    pub max_listings: u32,
    /// Deletions of the plan, for good: a fifth of its listings; `None` is without limit (Enterprise).
    pub deletions_max: Option<u32>,
    /// The answer to a batch that the quota refuses.
    pub quota_status: StatusCode,
    pub quota_code: String,
}

impl CalmyxSettings {
    /// A plan for so many listings, as documented.
    #[must_use]
    pub fn documented(api_key: Secret, max_listings: u32) -> Self {
        Self {
            api_key,
            max_listings,
            deletions_max: Some(max_listings / 5),
            quota_status: StatusCode::FORBIDDEN,
            quota_code: "churn_limit_reached".into(),
        }
    }

    /// The plan without limits.
    #[must_use]
    pub fn enterprise(api_key: Secret) -> Self {
        Self { deletions_max: None, ..Self::documented(api_key, u32::MAX) }
    }
}

/// The simulated vendor.
pub struct Calmyx {
    settings: CalmyxSettings,
    clock: SharedClock,
    faults: Faults,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listings: BTreeSet<String>,
    deletions: u32,
    /// Deletions that the plan was raised by.
    raised: u32,
    batches: Vec<Vec<String>>,
    requests: u64,
}

impl Calmyx {
    #[must_use]
    pub fn new(settings: CalmyxSettings, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { settings, clock, faults: Faults::default(), state: Mutex::default() })
    }

    /// A listing is pushed here.
    pub fn add(&self, id: &str) {
        self.state().listings.insert(id.to_owned());
    }

    /// Ids of the listings that are there.
    #[must_use]
    pub fn listings(&self) -> BTreeSet<String> {
        self.state().listings.clone()
    }

    /// Deletions that were made.
    #[must_use]
    pub fn deletions(&self) -> u32 {
        self.state().deletions
    }

    /// The team buys more deletions.
    pub fn raise(&self, deletions: u32) {
        self.state().raised += deletions;
    }

    /// The ids of every batch that came in with a good key, refused ones included.
    #[must_use]
    pub fn batches(&self) -> Vec<Vec<String>> {
        self.state().batches.clone()
    }

    /// Requests of any kind that came in with a good key.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allowed(&self, state: &State) -> Option<u32> {
        self.settings.deletions_max.map(|max| max + state.raised)
    }

    fn delete_batch(&self, call: &Call) -> Answer {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let Some(ids) = ids(&body) else {
            return refusal(StatusCode::BAD_REQUEST, "invalid_request", "listing_ids is an array of ids");
        };
        let mut state = self.state();
        state.batches.push(ids.clone());
        if ids.is_empty() || ids.len() > BATCH_MAX {
            return refusal(StatusCode::BAD_REQUEST, "invalid_request", "listing_ids has 1 to 100 ids");
        }
        let found: BTreeSet<String> = ids.into_iter().filter(|id| state.listings.contains(id)).collect();
        self.remove(&mut state, &found).unwrap_or_else(|refused| refused)
    }

    fn delete_one(&self, id: &str) -> Answer {
        let mut state = self.state();
        if !state.listings.contains(id) {
            return refusal(StatusCode::NOT_FOUND, "not_found", "there is no such listing");
        }
        let found = BTreeSet::from([id.to_owned()]);
        self.remove(&mut state, &found).unwrap_or_else(|refused| refused)
    }

    /// All of them or, against the quota, none.
    fn remove(&self, state: &mut State, found: &BTreeSet<String>) -> Result<Answer, Answer> {
        let after = state.deletions + u32::try_from(found.len()).unwrap_or(u32::MAX);
        if self.allowed(state).is_some_and(|max| after > max) {
            let message = "this would pass the plan's number of deletions";
            return Err(refusal(self.settings.quota_status, &self.settings.quota_code, message));
        }
        state.deletions = after;
        for id in found {
            state.listings.remove(id);
        }
        Ok(Answer::ok(json!({
            "success": true,
            "message": format!("{} listings deleted", found.len()),
            "deleted_count": found.len(),
            "new_listing_count": state.listings.len(),
            "deletions_used": state.deletions,
            "deletions_max": self.allowed(state).map_or(-1, i64::from),
        })))
    }

    fn stats(&self) -> Answer {
        let state = self.state();
        let (total, max) = (state.listings.len(), self.allowed(&state));
        let left = max.map_or(-1, |max| i64::from(max.saturating_sub(state.deletions)));
        Answer::ok(json!({
            "success": true,
            "total_listings": total,
            "max_listings": self.settings.max_listings,
            "listings_today": 0,
            "listings_this_month": 0,
            "is_at_limit": total >= self.settings.max_listings as usize,
            "remaining": (self.settings.max_listings as usize).saturating_sub(total),
            "deletions_count": state.deletions,
            "deletions_max": max.map_or(-1, i64::from),
            "deletions_remaining": left,
            "is_at_churn_limit": left == 0,
        }))
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::new(status, json!({"success": false, "error": {"code": code, "message": message}}))
}

fn ids(body: &Value) -> Option<Vec<String>> {
    body["listing_ids"].as_array()?.iter().map(|id| id.as_str().map(str::to_owned)).collect()
}

#[async_trait]
impl Simulator for Calmyx {
    fn owns(&self, first_segment: &str) -> bool {
        first_segment == "v2"
    }

    async fn answer(&self, call: &Call) -> Answer {
        if call.header("authorization").map(str::as_bytes) != Some(self.settings.api_key.expose()) {
            return refusal(StatusCode::UNAUTHORIZED, "unauthorized", "missing or unknown api key");
        }
        self.state().requests += 1;
        match (&call.method, call.path().as_slice()) {
            (&Method::POST, ["v2", "listings", "delete-batch"]) => self.delete_batch(call),
            (&Method::GET, ["v2", "listings", "stats"]) => self.stats(),
            (&Method::DELETE, ["v2", "listings", id]) => self.delete_one(id),
            _ => refusal(StatusCode::NOT_FOUND, "not_found", "there is no such path"),
        }
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

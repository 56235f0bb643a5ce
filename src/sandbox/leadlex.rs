//! LeadLex as its documents describe it: deals, their deletion one by one and in bulk, signed deliveries.
//!
//! Sources: docs.leadlex.com (`webhooks`, `api-reference/deals/{list,delete}`, `bulk/deals-delete`,
//! `api-reference/webhooks/{create,list}`, `quickstart`). The HMAC is computed here on its own and not by the
//! daemon's signer, since a simulator that shared the verifier's code would share its faults. What the
//! documents leave open is decided here so: errors are `{"error":{"code","message"}}`, the answer to a bulk
//! deletion stands in the envelope `data` and names the deals that were not there (can be set), a deleted deal stands
//! at `data.deal.id`, the key of the HMAC is the secret's text, and the retry schedule is that of the page's
//! older version. Against the documents, `http` and loopback addresses may subscribe: this is a sandbox.

mod deals;
mod ids;
#[cfg(test)]
mod tests;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::SecondsFormat;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

pub use self::deals::BulkRequest;
use self::deals::Remembered;
use self::ids::Ids;
use self::webhooks::Webhook;
use super::{Answer, Call, Faults, Outbox, Simulator};
use crate::clock::SharedClock;
use crate::config::Secret;
use crate::domain::Timestamp;

/// Waits before the retries of a delivery: five of them, seven hours in all.
const RETRIES: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(5),
    Duration::from_hours(1),
    Duration::from_hours(6),
];
const DAY_SECONDS: i64 = 86_400;

/// What differs from one sandbox to another.
#[derive(Clone, Debug)]
pub struct LeadLexSettings {
    /// Wanted as `Authorization: Bearer`.
    pub api_key: Secret,
    pub workspace_id: String,
    /// Requests of one day (UTC); 1,000 in the documented example.
    pub requests_per_day: u32,
    /// Ids of one bulk deletion: 500.
    pub bulk_max: usize,
    /// Whether a bulk deletion names the deals that were not there among its errors, or only counts them.
    pub names_missing: bool,
    /// How fast the time between retries runs: 1.0 is as documented, 0.001 makes an hour 3.6 s. Anything
    /// that is no such number is taken as 0.
    pub retry_scale: f64,
    /// Decides about all ids and secrets that are made up here.
    pub seed: u64,
}

impl LeadLexSettings {
    /// As documented.
    #[must_use]
    pub fn documented(api_key: Secret) -> Self {
        let workspace_id = "123e4567-e89b-12d3-a456-426614174000".to_owned();
        Self {
            api_key,
            workspace_id,
            requests_per_day: 1_000,
            bulk_max: 500,
            names_missing: true,
            retry_scale: 1.0,
            seed: 0,
        }
    }
}

/// The simulated upstream. What sends webhooks must be called within a tokio runtime.
pub struct LeadLex {
    settings: LeadLexSettings,
    clock: SharedClock,
    faults: Faults,
    outbox: Outbox,
    ids: Arc<Ids>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Names by id.
    deals: BTreeMap<String, String>,
    webhooks: BTreeMap<String, Webhook>,
    /// Answers to bulk deletions, by `Idempotency-Key`.
    remembered: BTreeMap<String, Remembered>,
    /// Deals that can't be deleted, and the code that says why.
    stuck: BTreeMap<String, String>,
    bulk_requests: Vec<BulkRequest>,
    /// Requests beyond the day's quota.
    turned_away: u64,
    /// The day of the last request, and the requests on it.
    quota: (i64, u32),
}

impl LeadLex {
    /// # Errors
    /// There is no usable TLS configuration for the deliveries.
    pub fn new(settings: LeadLexSettings, clock: SharedClock) -> Result<Arc<Self>, reqwest::Error> {
        let outbox = Outbox::new(&RETRIES, settings.retry_scale)?;
        let ids = Arc::new(Ids::new(settings.seed));
        Ok(Arc::new(Self {
            settings,
            clock,
            faults: Faults::default(),
            outbox,
            ids,
            state: Mutex::default(),
        }))
    }

    /// The webhooks on their way; loses and repeats them on demand.
    #[must_use]
    pub fn deliveries(&self) -> &Outbox {
        &self.outbox
    }

    /// A deal appears. Nobody is told.
    pub fn add(&self, id: &str, name: &str) {
        self.state().deals.insert(id.to_owned(), name.to_owned());
    }

    /// Deletes a deal as `DELETE /v1/deals/{id}` does. `false` if there is none.
    pub fn delete(&self, id: &str) -> bool {
        let mut state = self.state();
        let removed = state.deals.remove(id).is_some();
        if removed {
            self.notify_deleted(&state, id);
        }
        removed
    }

    /// Ids of the deals that are there.
    #[must_use]
    pub fn deals(&self) -> Vec<String> {
        self.state().deals.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the request, and gives what is left of the day's quota; `None` if nothing was.
    fn spend(&self) -> Option<u32> {
        let today = self.clock.now().seconds().div_euclid(DAY_SECONDS);
        let mut state = self.state();
        if state.quota.0 != today {
            state.quota = (today, 0);
        }
        let left = self.settings.requests_per_day.checked_sub(state.quota.1 + 1);
        if left.is_some() {
            state.quota.1 += 1;
        } else {
            state.turned_away += 1;
        }
        left
    }

    fn with_rate_headers(&self, mut answer: Answer, left: u32) -> Answer {
        let midnight = (self.clock.now().seconds().div_euclid(DAY_SECONDS) + 1) * DAY_SECONDS;
        answer.headers.extend([
            ("x-ratelimit-limit", self.settings.requests_per_day.to_string()),
            ("x-ratelimit-remaining", left.to_string()),
            ("x-ratelimit-reset", midnight.to_string()),
            ("x-request-id", self.ids.uuid()),
        ]);
        answer
    }

    fn route(&self, call: &Call) -> Answer {
        match (&call.method, call.path().as_slice()) {
            (&Method::GET, ["v1", "deals"]) => self.list_deals(call),
            (&Method::DELETE, ["v1", "deals", id]) => self.delete_deal(id),
            (&Method::POST, ["v1", "deals", "bulk-delete"]) => self.delete_deals(call),
            (&Method::POST, ["v1", "webhooks"]) => self.create_webhook(call),
            (&Method::GET, ["v1", "webhooks"]) => self.list_webhooks(),
            _ => refusal(StatusCode::NOT_FOUND, "not_found", "there is no such path"),
        }
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::new(status, json!({"error": {"code": code, "message": message}}))
}

fn invalid(message: &str) -> Answer {
    refusal(StatusCode::BAD_REQUEST, "validation_error", message)
}

fn data(value: &Value) -> Answer {
    Answer::ok(json!({"data": value}))
}

/// `2026-02-24T10:00:00Z`
fn iso(at: Timestamp) -> String {
    at.to_datetime().unwrap_or_default().to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[async_trait]
impl Simulator for LeadLex {
    fn owns(&self, first_segment: &str) -> bool {
        first_segment == "v1"
    }

    async fn answer(&self, call: &Call) -> Answer {
        let token = call.bearer();
        if token.map(str::as_bytes) != Some(self.settings.api_key.expose()) {
            return refusal(StatusCode::UNAUTHORIZED, "invalid_key", "missing or unknown api key");
        }
        let Some(left) = self.spend() else {
            let answer =
                refusal(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "the day's requests are used up");
            return self.with_rate_headers(answer, 0);
        };
        let answer = self.route(call);
        self.with_rate_headers(answer, left)
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn webhooks(&self) -> Option<&Outbox> {
        Some(&self.outbox)
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

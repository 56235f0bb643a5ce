//! HookBridge as its documents describe it: pull endpoints that keep other senders' webhooks, and pushes of its own.
//!
//! Sources: docs.hookbridge.io (`guides/pull/{overview,endpoint-lifecycle,retrieving-events,idempotency}`,
//! `guides/product/message-deletion`, `guides/outbound/signature-verification`, `api/operations/{list,get,ack}pullevents`
//! and `deletepullevents{batch,all}`). What they leave open is decided here so: an ingest URL ends in `/ingest/TOKEN`
//! and answers with the event's id; ids that belong to no event of the endpoint make an acknowledgement invalid as a
//! whole; a soft-deleted event stays listed with `deleted_at`; a JSON payload is embedded byte for byte, unless the
//! sandbox is told to write it anew; there is no limit on requests.

mod endpoints;
mod events;
mod pushes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use self::endpoints::Endpoint;
use self::pushes::Receiver;
use super::{Answer, Call, Faults, Outbox, Simulator, iso};
use crate::clock::SharedClock;
use crate::config::Secret;

/// Waits before the retries of a push. The documents say "exponential, until the plan's window ends".
const RETRIES: [Duration; 5] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
];

/// What differs from one sandbox to another.
#[derive(Clone, Debug)]
pub struct HookBridgeSettings {
    /// Wanted as `Authorization: Bearer`.
    pub api_key: Secret,
    /// How fast the time between retries runs: 1.0 is as decided above. Anything that is no such number is 0.
    pub retry_scale: f64,
}

impl HookBridgeSettings {
    /// As documented.
    #[must_use]
    pub fn documented(api_key: Secret) -> Self {
        Self { api_key, retry_scale: 1.0 }
    }
}

/// The simulated service. What sends webhooks must be called within a tokio runtime.
pub struct HookBridge {
    settings: HookBridgeSettings,
    clock: SharedClock,
    faults: Faults,
    outbox: Outbox,
    /// Everything with an id is numbered in the order of its making, as a UUIDv7 is.
    last_id: AtomicU64,
    /// Whether JSON payloads are written anew, with other white space and order, instead of embedded as they came.
    rewrites: AtomicBool,
    /// Deletions that are to end half done.
    partial_deletes: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    endpoints: BTreeMap<String, Endpoint>,
    receivers: Vec<Receiver>,
}

impl HookBridge {
    /// # Errors
    /// There is no usable TLS configuration for the pushes.
    pub fn new(settings: HookBridgeSettings, clock: SharedClock) -> Result<Arc<Self>, reqwest::Error> {
        let outbox = Outbox::new(&RETRIES, settings.retry_scale)?;
        Ok(Arc::new(Self {
            settings,
            clock,
            faults: Faults::default(),
            outbox,
            last_id: AtomicU64::new(0),
            rewrites: AtomicBool::new(false),
            partial_deletes: AtomicU32::new(0),
            state: Mutex::default(),
        }))
    }

    /// The pushes on their way; loses and repeats them on demand.
    #[must_use]
    pub fn deliveries(&self) -> &Outbox {
        &self.outbox
    }

    /// From now on JSON payloads are written anew, so that no signature over their bytes holds.
    pub fn rewrite_payloads(&self) {
        self.rewrites.store(true, Ordering::SeqCst);
    }

    /// The next `count` deletions end after half of their ids, with an error inside a 200.
    pub fn fail_deletes_next(&self, count: u32) {
        self.partial_deletes.fetch_add(count, Ordering::SeqCst);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In the form of a UUIDv7; later ones are greater.
    fn next_id(&self) -> String {
        let number = self.last_id.fetch_add(1, Ordering::SeqCst) + 1;
        format!("01935abc-def0-7000-8000-{number:012x}")
    }

    fn data(&self, value: &Value) -> Answer {
        Answer::ok(json!({"data": value, "meta": self.meta()}))
    }

    fn meta(&self) -> Value {
        json!({"request_id": format!("req_{}", &self.next_id()[24..])})
    }

    fn refusal(&self, status: StatusCode, code: &str, message: &str) -> Answer {
        Answer::new(status, json!({"error": {"code": code, "message": message}, "meta": self.meta()}))
    }

    fn invalid(&self, message: &str) -> Answer {
        self.refusal(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
    }

    fn no_endpoint(&self) -> Answer {
        self.refusal(StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND", "endpoint not found")
    }

    fn route(&self, call: &Call) -> Answer {
        let path = call.path();
        match (&call.method, path.get(2..).unwrap_or_default()) {
            (&Method::POST, []) => self.create(call),
            (&Method::GET, [id]) => self.show(id),
            (&Method::DELETE, [id]) => self.retire(id),
            (&Method::POST, [id, "pause"]) => self.pause(id, true),
            (&Method::POST, [id, "resume"]) => self.pause(id, false),
            (&Method::GET, [id, "events"]) => self.list_events(id, call),
            (&Method::POST, [id, "events", "ack"]) => self.acknowledge(id, call),
            (&Method::POST, [id, "events", "delete-batch"]) => self.delete_batch(id, call),
            (&Method::POST, [id, "events", "delete-all"]) => self.delete_all(id, call),
            (&Method::GET, [id, "events", event]) => self.get_event(id, event, call),
            _ => self.refusal(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such path"),
        }
    }
}

#[async_trait]
impl Simulator for HookBridge {
    fn owns(&self, first_segment: &str) -> bool {
        first_segment == "ingest"
    }

    /// Shares `v1` with others.
    fn takes(&self, call: &Call) -> bool {
        matches!(call.path().as_slice(), ["v1", "pull-endpoints", ..] | ["ingest", _])
    }

    async fn answer(&self, call: &Call) -> Answer {
        if let (&Method::POST, ["ingest", token]) = (&call.method, call.path().as_slice()) {
            return self.ingest(token, call);
        }
        let token = call.bearer();
        if token.map(str::as_bytes) != Some(self.settings.api_key.expose()) {
            let message = "Invalid or missing API key";
            return self.refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
        }
        self.route(call)
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

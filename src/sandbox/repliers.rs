//! Repliers as its documents describe it: the deleted feed, webhook subscriptions, deliveries.
//!
//! Sources: the OpenAPI files in `Repliers-io/api-docs`, docs.repliers.io (`create-a-webhook`) and
//! help.repliers.com (`webhooks-implementation-guide`, `managing-deleted-listings`). What they leave open is
//! decided here so: creating a subscription waits for the handshake; a delivery carries the account's secret
//! in both headers that the pages name; a lost delivery is not retried; the feed's window is over the day of
//! the deletion in UTC, while a record shows only its last update before that. It may not be mistaken for the
//! vendor's own behaviour in any of these.

mod feed;
mod requests;
#[cfg(test)]
mod tests;
mod webhooks;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

pub use self::feed::{Deleted, RepliersFeed, Synthetic};
use self::webhooks::Subscription;
use super::{Answer, Call, Faults, Outbox, Simulator, iso};
use crate::clock::SharedClock;
use crate::config::Secret;
use crate::domain::Timestamp;

/// What differs from one sandbox to another.
#[derive(Clone, Debug)]
pub struct RepliersSettings {
    /// Wanted in `REPLIERS-API-KEY`.
    pub api_key: Secret,
    /// Offered in the handshake, and repeated with each delivery.
    pub hook_secret: Secret,
    /// Requests of one second that are answered; `None` is without limit. Documented are 5.
    pub requests_per_second: Option<NonZeroU32>,
    /// Largest `resultsPerPage`; 100 in every documented example.
    pub page_size_max: usize,
    /// Deletions that are computed, for feeds that no memory would hold.
    pub synthetic: Option<Synthetic>,
}

impl RepliersSettings {
    /// As documented, without computed deletions.
    #[must_use]
    pub fn documented(api_key: Secret, hook_secret: Secret) -> Self {
        Self {
            api_key,
            hook_secret,
            requests_per_second: NonZeroU32::new(5),
            page_size_max: 100,
            synthetic: None,
        }
    }
}

/// What identifies a listing: `mlsNumber` is unique within a board only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListingKey {
    pub board_id: i64,
    pub mls_number: String,
}

impl ListingKey {
    #[must_use]
    pub fn new(board_id: i64, mls_number: impl Into<String>) -> Self {
        Self { board_id, mls_number: mls_number.into() }
    }
}

/// A listing, as far as anybody asks here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// `A` (available) or `U` (unavailable).
    pub status: &'static str,
    /// `New`, `Ter`, `Sld`, …
    pub last_status: &'static str,
    pub updated_on: Timestamp,
}

/// The simulated upstream. What sends webhooks must be called within a tokio runtime.
pub struct Repliers {
    settings: RepliersSettings,
    clock: SharedClock,
    faults: Faults,
    outbox: Outbox,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listings: BTreeMap<ListingKey, Listing>,
    feed: RepliersFeed,
    subscriptions: BTreeMap<u32, Subscription>,
    last_subscription: u32,
    /// The second of the last request, and the requests within it.
    rate: (i64, u32),
}

impl Repliers {
    /// # Errors
    /// There is no usable TLS configuration for the deliveries.
    pub fn new(settings: RepliersSettings, clock: SharedClock) -> Result<Arc<Self>, reqwest::Error> {
        let feed = RepliersFeed::new(settings.synthetic);
        let state = Mutex::new(State { feed, ..State::default() });
        let outbox = Outbox::new(&[], 1.0)?;
        Ok(Arc::new(Self { settings, clock, faults: Faults::default(), outbox, state }))
    }

    /// The webhooks on their way; loses and repeats them on demand.
    #[must_use]
    pub fn deliveries(&self) -> &Outbox {
        &self.outbox
    }

    /// A listing appears, or appears again after its deletion (which leaves the feed then).
    pub fn list(&self, key: &ListingKey, at: Timestamp) {
        let listing = Listing { status: "A", last_status: "New", updated_on: at };
        let mut state = self.state();
        state.feed.forget(key);
        state.listings.insert(key.clone(), listing.clone());
        self.notify(&state, "listing.created", &json!({"data": body(key, &listing)}));
    }

    /// A listing that has been there all along: nobody is told.
    pub fn list_silently(&self, key: &ListingKey, at: Timestamp) {
        let listing = Listing { status: "A", last_status: "New", updated_on: at };
        let mut state = self.state();
        state.feed.forget(key);
        state.listings.insert(key.clone(), listing);
    }

    /// A listing is taken off the market: it stays, unavailable. `false` if there is none.
    pub fn terminate(&self, key: &ListingKey, at: Timestamp) -> bool {
        let mut state = self.state();
        let Some(listing) = state.listings.get_mut(key) else { return false };
        let before = std::mem::replace(listing, Listing { status: "U", last_status: "Ter", updated_on: at });
        let previous = json!({
            "status": before.status, "lastStatus": before.last_status, "updatedOn": iso(before.updated_on),
        });
        let data = body(key, listing);
        let payload = json!({"previous": previous, "data": data, "favorites": [], "searches": []});
        self.notify(&state, "listing.updated", &payload);
        true
    }

    /// A listing is deleted at `at`. `false` if there is none.
    pub fn delete(&self, key: &ListingKey, at: Timestamp) -> bool {
        let mut state = self.state();
        let Some(listing) = state.listings.remove(key) else { return false };
        state.feed.add(Deleted { key: key.clone(), deleted_on: at, updated_on: listing.updated_on });
        let gone = Listing { status: "U", ..listing };
        self.notify(&state, "listing.deleted", &json!({"data": body(key, &gone)}));
        true
    }

    /// The listings that are there.
    #[must_use]
    pub fn listings(&self) -> BTreeMap<ListingKey, Listing> {
        self.state().listings.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more request fits into this second.
    fn within_rate(&self) -> bool {
        let Some(limit) = self.settings.requests_per_second else { return true };
        let second = self.clock.now().seconds();
        let mut state = self.state();
        if state.rate.0 != second {
            state.rate = (second, 0);
        }
        state.rate.1 += 1;
        state.rate.1 <= limit.get()
    }
}

/// A listing as webhooks show it.
fn body(key: &ListingKey, listing: &Listing) -> Value {
    json!({
        "mlsNumber": key.mls_number,
        "boardId": key.board_id,
        "resource": "Property:2505",
        "status": listing.status,
        "lastStatus": listing.last_status,
        "updatedOn": iso(listing.updated_on),
        "timestamps": {"listingUpdated": iso(listing.updated_on)},
    })
}

#[async_trait]
impl Simulator for Repliers {
    fn owns(&self, first_segment: &str) -> bool {
        matches!(first_segment, "listings" | "webhooks")
    }

    async fn answer(&self, call: &Call) -> Answer {
        if call.header("repliers-api-key").map(str::as_bytes) != Some(self.settings.api_key.expose()) {
            return Answer::new(StatusCode::UNAUTHORIZED, json!({"error": "missing or unknown api key"}));
        }
        if !self.within_rate() {
            return Answer::new(StatusCode::TOO_MANY_REQUESTS, json!({"error": "too many requests"}));
        }
        match (&call.method, call.path().as_slice()) {
            (&Method::GET, ["listings", "deleted"]) => self.deleted(call),
            (&Method::POST, ["webhooks"]) => self.subscribe(call).await,
            (&Method::GET, ["webhooks"]) => self.subscriptions(),
            (&Method::GET, ["webhooks", id]) => self.subscription(id),
            (&Method::DELETE, ["webhooks", id]) => self.unsubscribe(id),
            _ => Answer::new(StatusCode::NOT_FOUND, json!({"error": "not found"})),
        }
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The oldest deletion leaves the feed, as one does that is too old: every later page begins one record earlier.
    fn shift(&self) {
        self.state().feed.forget_oldest();
    }

    fn webhooks(&self) -> Option<&Outbox> {
        Some(&self.outbox)
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

//! `/webhooks`: subscriptions, the handshake, and what is sent to whom.
//!
//! One subscription carries one event, and no two have the same URL. The handshake is an empty POST with
//! `X-Hook-Secret`, to be answered with 200 and the same header. Nothing is signed.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::delivery::Delivery;
use super::super::{Answer, Call};
use super::requests::refusal;
use super::{Repliers, State};

/// Header of the handshake, and of deliveries.
const HOOK_SECRET: &str = "x-hook-secret";
/// The events about listings; the others that exist are never sent here.
const EVENTS: [&str; 3] = ["listing.created", "listing.updated", "listing.deleted"];

#[derive(Clone, Debug)]
pub(super) struct Subscription {
    target_url: String,
    event: String,
    configuration: Option<Value>,
}

impl Repliers {
    /// Subscribes `url` to `event` as if the handshake were over: the receiver knows the secret.
    pub fn subscribe_known(&self, event: &str, url: &str) {
        let subscription =
            Subscription { target_url: url.to_owned(), event: event.to_owned(), configuration: None };
        let mut state = self.state();
        state.last_subscription += 1;
        let id = state.last_subscription;
        state.subscriptions.insert(id, subscription);
    }

    pub(super) async fn subscribe(&self, call: &Call) -> Answer {
        let subscription = match read(&call.body) {
            Ok(subscription) => subscription,
            Err(refusal) => return Answer::new(StatusCode::BAD_REQUEST, refusal),
        };
        let taken = |known: &Subscription| known.target_url == subscription.target_url;
        if self.state().subscriptions.values().any(taken) {
            return Answer::new(StatusCode::BAD_REQUEST, refusal("target_url", "is used by another webhook"));
        }
        let secret = self.secret();
        let offered = [(HOOK_SECRET, secret.clone())];
        let answered = self.outbox.ask(&subscription.target_url, &offered, HOOK_SECRET);
        if answered.await != Some((StatusCode::OK, Some(secret))) {
            let fault = refusal("target_url", "did not answer the handshake with 200 and X-Hook-Secret");
            return Answer::new(StatusCode::BAD_REQUEST, fault);
        }
        let mut state = self.state();
        state.last_subscription += 1;
        let id = state.last_subscription;
        let answer = Answer::ok(shape(id, &subscription));
        state.subscriptions.insert(id, subscription);
        answer
    }

    pub(super) fn subscriptions(&self) -> Answer {
        let state = self.state();
        Answer::ok(state.subscriptions.iter().map(|(id, subscription)| shape(*id, subscription)).collect())
    }

    pub(super) fn subscription(&self, id: &str) -> Answer {
        let state = self.state();
        let known = id.parse().ok().and_then(|id: u32| Some((id, state.subscriptions.get(&id)?)));
        known.map_or_else(unknown, |(id, subscription)| Answer::ok(shape(id, subscription)))
    }

    pub(super) fn unsubscribe(&self, id: &str) -> Answer {
        let removed = id.parse().ok().and_then(|id: u32| self.state().subscriptions.remove(&id));
        removed.map_or_else(unknown, |_| Answer::ok(json!({})))
    }

    /// Sends `payload` to all who subscribed to `event`.
    pub(super) fn notify(&self, state: &State, event: &str, payload: &Value) {
        let body = Bytes::from(payload.to_string());
        for subscription in state.subscriptions.values().filter(|known| known.event == event) {
            let secret = self.secret();
            self.outbox.send(Delivery {
                url: subscription.target_url.clone(),
                body: body.clone(),
                headers: Arc::new(move |_attempt| {
                    vec![
                        ("content-type", "application/json".to_owned()),
                        (HOOK_SECRET, secret.clone()),
                        ("x-api-key", secret.clone()),
                    ]
                }),
            });
        }
    }

    fn secret(&self) -> String {
        String::from_utf8_lossy(self.settings.hook_secret.expose()).into_owned()
    }
}

fn read(body: &[u8]) -> Result<Subscription, Value> {
    let body: Value = serde_json::from_slice(body).map_err(|_| refusal("body", "must be JSON"))?;
    let text =
        |name: &str| body[name].as_str().map(str::to_owned).ok_or_else(|| refusal(name, "must be a text"));
    let event = text("event")?;
    if !EVENTS.contains(&event.as_str()) {
        return Err(refusal("event", "is none that this sandbox sends"));
    }
    let configuration = body.get("configuration").cloned();
    Ok(Subscription { target_url: text("target_url")?, event, configuration })
}

fn shape(id: u32, subscription: &Subscription) -> Value {
    let mut shape = json!({"id": id, "target_url": subscription.target_url, "event": subscription.event});
    if let Some(configuration) = &subscription.configuration {
        shape["configuration"] = configuration.clone();
    }
    shape
}

fn unknown() -> Answer {
    Answer::new(StatusCode::NOT_FOUND, json!({"error": "webhook not found"}))
}

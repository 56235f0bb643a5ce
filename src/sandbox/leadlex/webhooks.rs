//! `/v1/webhooks` and the signed deliveries.
//!
//! A delivery carries `X-LeadLex-Signature: sha256=<hex>`, the HMAC-SHA256 of the body alone; a time that is
//! not signed; and an id that is another one with each attempt.

use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::super::delivery::Delivery;
use super::super::{Answer, Call};
use super::{LeadLex, State, data, invalid, iso};
use crate::config::Secret;

const DELETED: &str = "deal.deleted";
const DESCRIPTION_CHARS_MAX: usize = 200;

#[derive(Clone, Debug)]
pub(super) struct Webhook {
    url: String,
    events: Vec<String>,
    description: Option<String>,
    active: bool,
    secret: Secret,
    created_at: String,
}

impl LeadLex {
    /// Subscribes `url` to deleted deals with a secret that is known beforehand, as no client of the API can.
    pub fn subscribe(&self, url: &str, secret: Secret) {
        let webhook = Webhook {
            url: url.to_owned(),
            events: vec![DELETED.to_owned()],
            description: None,
            active: true,
            secret,
            created_at: iso(self.clock.now()),
        };
        self.state().webhooks.insert(self.ids.uuid(), webhook);
    }

    pub(super) fn create_webhook(&self, call: &Call) -> Answer {
        let Some(mut webhook) = read(&call.body) else {
            return invalid(
                "url is a text, events an array of texts, description has at most 200 characters",
            );
        };
        let secret = format!("whsec_{}", self.ids.hex());
        webhook.secret = Secret::new(secret.clone());
        webhook.created_at = iso(self.clock.now());
        let id = self.ids.uuid();
        let mut shown = shape(&id, &webhook);
        shown["secret"] = secret.into();
        self.state().webhooks.insert(id, webhook);
        data(&json!({"webhook": shown}))
    }

    pub(super) fn list_webhooks(&self) -> Answer {
        let state = self.state();
        let shown: Vec<Value> = state.webhooks.iter().map(|(id, webhook)| shape(id, webhook)).collect();
        data(&json!({"webhooks": shown}))
    }

    /// Tells all who want to know that the deal is gone.
    pub(super) fn notify_deleted(&self, state: &State, deal: &str) {
        let envelope = json!({
            "event": DELETED,
            "timestamp": iso(self.clock.now()),
            "workspace_id": self.settings.workspace_id,
            "data": {"deal": {"id": deal}},
        });
        let body = Bytes::from(envelope.to_string());
        let wanted =
            |webhook: &&Webhook| webhook.active && webhook.events.iter().any(|event| event == DELETED);
        for webhook in state.webhooks.values().filter(wanted) {
            self.outbox.send(self.signed(webhook, body.clone()));
        }
    }

    fn signed(&self, webhook: &Webhook, body: Bytes) -> Delivery {
        let signature = format!("sha256={}", sign(&webhook.secret, &body));
        let (ids, clock) = (Arc::clone(&self.ids), self.clock.clone());
        Delivery {
            url: webhook.url.clone(),
            body,
            headers: Arc::new(move |_attempt| {
                vec![
                    ("content-type", "application/json".to_owned()),
                    ("user-agent", "LeadLex-Webhook/1.0".to_owned()),
                    ("x-leadlex-signature", signature.clone()),
                    ("x-leadlex-timestamp", iso(clock.now())),
                    ("x-leadlex-delivery-id", ids.uuid()),
                ]
            }),
        }
    }
}

/// Lower-case hex of the HMAC-SHA256.
pub(super) fn sign(secret: &Secret, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("an HMAC takes keys of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

fn read(body: &[u8]) -> Option<Webhook> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let events = body["events"].as_array()?.iter().map(|event| event.as_str().map(str::to_owned));
    let description = body["description"].as_str().map(str::to_owned);
    if description.as_ref().is_some_and(|text| text.chars().count() > DESCRIPTION_CHARS_MAX) {
        return None;
    }
    Some(Webhook {
        url: body["url"].as_str()?.to_owned(),
        events: events.collect::<Option<_>>()?,
        description,
        active: body["active"] != json!(false),
        secret: Secret::new(""),
        created_at: String::new(),
    })
}

/// A webhook without its secret, which is shown once only.
fn shape(id: &str, webhook: &Webhook) -> Value {
    json!({
        "id": id,
        "url": webhook.url,
        "events": webhook.events,
        "description": webhook.description,
        "active": webhook.active,
        "created_at": webhook.created_at,
    })
}

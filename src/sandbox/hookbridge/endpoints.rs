//! Pull endpoints: made, paused, retired, and the ingest URL at which other senders' webhooks arrive.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::{Answer, Call};
use super::{HookBridge, iso};
use crate::domain::Timestamp;

/// Where an event stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Stored,
    Fetched,
    Delivered,
}

impl Status {
    pub(super) const ALL: [Self; 3] = [Self::Stored, Self::Fetched, Self::Delivered];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Fetched => "fetched",
            Self::Delivered => "delivered",
        }
    }
}

/// A webhook that somebody sent.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) status: Status,
    pub(super) kind: Option<String>,
    pub(super) body: Bytes,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) received_at: Timestamp,
    pub(super) fetched_at: Option<Timestamp>,
    pub(super) delivered_at: Option<Timestamp>,
    pub(super) deleted_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Endpoint {
    name: String,
    token: String,
    host: String,
    paused: bool,
    retired: bool,
    retention_days: Option<u64>,
    /// A header's name, or a field of the body.
    event_type: Option<(bool, String)>,
    idempotency_headers: Vec<String>,
    pub(super) events: BTreeMap<String, Event>,
}

impl HookBridge {
    /// Makes an endpoint; its id and the path of its ingest URL.
    pub fn endpoint(&self, name: &str) -> (String, String) {
        let endpoint = Endpoint { name: name.to_owned(), ..Endpoint::default() };
        let (id, token) = self.keep(endpoint);
        (id, format!("/ingest/{token}"))
    }

    /// How many events of an endpoint stand where: stored, fetched, delivered, and deleted whatever they were.
    #[must_use]
    pub fn counts(&self, endpoint: &str) -> [usize; 4] {
        let state = self.state();
        let events = || state.endpoints.get(endpoint).into_iter().flat_map(|one| one.events.values());
        let alive =
            |status| events().filter(|event| event.deleted_at.is_none() && event.status == status).count();
        let deleted = events().filter(|event| event.deleted_at.is_some()).count();
        [alive(Status::Stored), alive(Status::Fetched), alive(Status::Delivered), deleted]
    }

    fn keep(&self, mut endpoint: Endpoint) -> (String, String) {
        let id = self.next_id();
        endpoint.token = format!("tok-{}", &self.next_id()[24..]);
        let token = endpoint.token.clone();
        self.state().endpoints.insert(id.clone(), endpoint);
        (id, token)
    }

    pub(super) fn create(&self, call: &Call) -> Answer {
        let Ok(body) = serde_json::from_slice::<Value>(&call.body) else {
            return self.invalid("payload must be valid JSON");
        };
        let source = body["event_type_source"].as_str();
        let path = body["event_type_path"].as_str().map(str::to_owned);
        let names = body["idempotency_header_names"].as_array().into_iter().flatten();
        let endpoint = Endpoint {
            name: body["name"].as_str().unwrap_or_default().to_owned(),
            host: call.header("host").unwrap_or_default().to_owned(),
            retention_days: body["retention_days"].as_u64(),
            event_type: source.zip(path).map(|(source, path)| (source == "header", path)),
            idempotency_headers: names.filter_map(|name| Some(name.as_str()?.to_lowercase())).collect(),
            ..Endpoint::default()
        };
        let host = endpoint.host.clone();
        let (id, token) = self.keep(endpoint);
        let url = format!("http://{host}/ingest/{token}");
        self.data(&json!({"id": id, "ingest_url": url, "secret_token": token}))
    }

    pub(super) fn show(&self, id: &str) -> Answer {
        let state = self.state();
        let Some(endpoint) = state.endpoints.get(id).filter(|endpoint| !endpoint.retired) else {
            return self.no_endpoint();
        };
        let count = |status| endpoint.events.values().filter(|event| event.status == status).count();
        let [stored, fetched, delivered] = Status::ALL.map(count);
        self.data(&json!({
            "id": id,
            "name": endpoint.name,
            "mode": "pull",
            "ingest_url": format!("http://{}/ingest", endpoint.host),
            "active": true,
            "paused": endpoint.paused,
            "retention_days": endpoint.retention_days,
            "counts": {
                "stored": stored, "fetched": fetched, "delivered": delivered, "total": endpoint.events.len(),
            },
        }))
    }

    pub(super) fn retire(&self, id: &str) -> Answer {
        match self.state().endpoints.get_mut(id).filter(|endpoint| !endpoint.retired) {
            Some(endpoint) => endpoint.retired = true,
            None => return self.no_endpoint(),
        }
        self.data(&json!({"id": id, "deleted": true}))
    }

    pub(super) fn pause(&self, id: &str, paused: bool) -> Answer {
        match self.state().endpoints.get_mut(id).filter(|endpoint| !endpoint.retired) {
            Some(endpoint) => endpoint.paused = paused,
            None => return self.no_endpoint(),
        }
        self.data(&json!({"id": id, "paused": paused}))
    }

    /// What another sender posts to the ingest URL.
    pub(super) fn ingest(&self, token: &str, call: &Call) -> Answer {
        let now = self.clock.now();
        let mut state = self.state();
        let endpoint = state.endpoints.values_mut().find(|one| one.token == token && !one.retired);
        let Some(endpoint) = endpoint else { return self.no_endpoint() };
        if endpoint.paused {
            return self.refusal(StatusCode::SERVICE_UNAVAILABLE, "ENDPOINT_PAUSED", "endpoint is paused");
        }
        let texts = call
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        let headers: BTreeMap<String, String> = texts.collect();
        let key = endpoint.idempotency_headers.iter().find_map(|name| Some((name, headers.get(name)?)));
        let same = |event: &Event| key.is_some_and(|(name, value)| event.headers.get(name) == Some(value));
        if let Some((id, _)) = endpoint.events.iter().find(|(_, event)| same(event)) {
            return self.data(&json!({"event_id": id}));
        }
        let kind = endpoint.event_type.as_ref().and_then(|(by_header, place)| {
            if *by_header {
                return headers.get(&place.to_lowercase()).cloned();
            }
            let body: Value = serde_json::from_slice(&call.body).ok()?;
            place.split('.').try_fold(&body, |value, step| value.get(step))?.as_str().map(str::to_owned)
        });
        let id = self.next_id();
        let event = Event {
            status: Status::Stored,
            kind,
            body: call.body.clone(),
            headers,
            received_at: now,
            fetched_at: None,
            delivered_at: None,
            deleted_at: None,
        };
        endpoint.events.insert(id.clone(), event);
        self.data(&json!({"event_id": id}))
    }
}

impl Event {
    /// What a listing shows of it.
    pub(super) fn shape(&self, id: &str) -> Value {
        let time = |at: Option<Timestamp>| at.map(iso);
        let mut shape = json!({
            "id": id,
            "event_type": self.kind,
            "status": self.status.as_str(),
            "content_type": self.headers.get("content-type").map_or("application/octet-stream", String::as_str),
            "size_bytes": self.body.len(),
            "received_at": iso(self.received_at),
            "fetched_at": time(self.fetched_at),
            "delivered_at": time(self.delivered_at),
        });
        if let Some(at) = self.deleted_at {
            shape["deleted_at"] = iso(at).into();
        }
        shape
    }
}

//! The events of a pull endpoint: listed, read, acknowledged, deleted.

use std::sync::atomic::Ordering;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::{Answer, Call, PLACE_OF_VERBATIM};
use super::endpoints::{Endpoint, Event, Status};
use super::{HookBridge, iso};
use crate::domain::{Timestamp, timestamp::TimeFormat};

/// `limit` where the request has none, and at most.
const PAGE_SIZE: usize = 100;
const PAGE_SIZE_MAX: usize = 1_000;
const ACK_MAX: usize = 1_000;
const DELETE_MAX: usize = 100;

impl HookBridge {
    pub(super) fn list_events(&self, id: &str, call: &Call) -> Answer {
        let Some(statuses) = statuses(call, &[Status::Stored]) else { return self.invalid("unknown status") };
        let limit = call.param("limit").map_or(Some(PAGE_SIZE), |text| text.parse().ok());
        let Some(limit) = limit.filter(|limit| (1..=PAGE_SIZE_MAX).contains(limit)) else {
            return self.invalid("limit must be 1 to 1000");
        };
        let (Some(since), Some(before)) = (time(call, "since"), time(call, "before")) else {
            return self.invalid("since and before are RFC 3339");
        };
        let state = self.state();
        let Some(endpoint) = state.endpoints.get(id) else { return self.no_endpoint() };
        let wanted = |event: &Event| {
            statuses.contains(&event.status)
                && call.param("event_type").is_none_or(|wanted| event.kind.as_deref() == Some(wanted))
                && since.is_none_or(|since| event.received_at >= since)
                && before.is_none_or(|before| event.received_at < before)
        };
        let cursor = call.param("cursor").unwrap_or_default();
        let mut found = endpoint.events.iter().filter(|(id, event)| id.as_str() > cursor && wanted(event));
        let page: Vec<(&String, &Event)> = found.by_ref().take(limit).collect();
        let more = found.next().is_some();
        let next = if more { page.last().map_or("", |(id, _)| id.as_str()) } else { "" };
        let shown: Vec<Value> = page.iter().map(|(id, event)| event.shape(id)).collect();
        let meta = self.meta();
        Answer::ok(json!({"data": shown, "has_more": more, "next_cursor": next, "meta": meta}))
    }

    pub(super) fn get_event(&self, id: &str, event_id: &str, call: &Call) -> Answer {
        let preview = call.param("preview") == Some("true");
        let now = self.clock.now();
        let mut state = self.state();
        let Some(endpoint) = state.endpoints.get_mut(id) else { return self.no_endpoint() };
        let Some(event) = endpoint.events.get_mut(event_id) else {
            return self.refusal(StatusCode::NOT_FOUND, "NOT_FOUND", "event not found");
        };
        if event.deleted_at.is_some() {
            if !preview {
                return self.refusal(StatusCode::GONE, "MESSAGE_DELETED", "the event was deleted");
            }
            let mut shape = event.shape(event_id);
            shape["payload"] = Value::Null;
            shape["headers"] = Value::Null;
            return self.data(&shape);
        }
        if !preview && event.status == Status::Stored {
            event.status = Status::Fetched;
            event.fetched_at = Some(now);
        }
        let mut shape = event.shape(event_id);
        shape["headers"] = json!(event.headers);
        let parsed: Option<Value> = serde_json::from_slice(&event.body).ok();
        let verbatim = parsed.as_ref().and(std::str::from_utf8(&event.body).ok());
        match (parsed.clone(), verbatim) {
            (Some(_), Some(text)) if !self.rewrites.load(Ordering::SeqCst) => {
                shape["payload"] = PLACE_OF_VERBATIM.into();
                self.data(&shape).with_verbatim(text)
            }
            (Some(json), _) => {
                shape["payload"] = json;
                self.data(&shape)
            }
            (None, _) => {
                shape["payload"] = BASE64.encode(&event.body).into();
                self.data(&shape)
            }
        }
    }

    pub(super) fn acknowledge(&self, id: &str, call: &Call) -> Answer {
        let now = self.clock.now();
        let Some(ids) = ids(call, "event_ids", ACK_MAX) else {
            return self.invalid("event_ids is an array of 1 to 1000 ids");
        };
        let mut state = self.state();
        let Some(endpoint) = state.endpoints.get_mut(id) else { return self.no_endpoint() };
        if ids.iter().any(|id| !endpoint.events.contains_key(id)) {
            return self.invalid("all event ids must belong to the endpoint");
        }
        let mut acknowledged = 0;
        for id in &ids {
            if let Some(event) = endpoint.events.get_mut(id).filter(|event| event.status != Status::Delivered)
            {
                event.status = Status::Delivered;
                event.delivered_at = Some(now);
                acknowledged += 1;
            }
        }
        self.data(&json!({"acknowledged": acknowledged}))
    }

    pub(super) fn delete_batch(&self, id: &str, call: &Call) -> Answer {
        let Some(mut ids) = ids(call, "message_ids", DELETE_MAX) else {
            return self.invalid("message_ids is an array of 1 to 100 ids");
        };
        let now = self.clock.now();
        let mut state = self.state();
        let Some(endpoint) = state.endpoints.get_mut(id) else { return self.no_endpoint() };
        let fails = self.fails();
        if fails {
            ids.truncate(ids.len() / 2);
        }
        let mut counts = [0, 0, 0];
        let results: Vec<Value> = ids.iter().map(|id| delete(endpoint, id, now, &mut counts)).collect();
        let [deleted, already, not_found] = counts;
        let data = json!({
            "results": results,
            "deleted_count": deleted,
            "already_deleted_count": already,
            "not_found_count": not_found,
        });
        self.deleted(&data, fails, deleted > 0)
    }

    pub(super) fn delete_all(&self, id: &str, call: &Call) -> Answer {
        let Some(statuses) = statuses(call, &Status::ALL) else { return self.invalid("unknown status") };
        let limit = call.param("limit").map_or(Some(PAGE_SIZE_MAX), |text| text.parse().ok());
        let Some(limit) = limit.filter(|limit| (1..=PAGE_SIZE_MAX).contains(limit)) else {
            return self.invalid("limit must be 1 to 1000");
        };
        let (Some(after), Some(before)) = (time(call, "received_after"), time(call, "received_before"))
        else {
            return self.invalid("received_after and received_before are RFC 3339");
        };
        let now = self.clock.now();
        let mut state = self.state();
        let Some(endpoint) = state.endpoints.get_mut(id) else { return self.no_endpoint() };
        let wanted = |event: &Event| {
            event.deleted_at.is_none()
                && statuses.contains(&event.status)
                && call.param("event_type").is_none_or(|wanted| event.kind.as_deref() == Some(wanted))
                && after.is_none_or(|after| event.received_at >= after)
                && before.is_none_or(|before| event.received_at < before)
        };
        let found = endpoint.events.iter().filter(|(_, event)| wanted(event)).take(limit);
        let mut found: Vec<String> = found.map(|(id, _)| id.clone()).collect();
        let fails = self.fails();
        if fails {
            found.truncate(found.len() / 2);
        }
        for id in &found {
            delete(endpoint, id, now, &mut [0, 0, 0]);
        }
        let data = json!({"deleted": found.len(), "deleted_event_ids": found});
        self.deleted(&data, fails, !found.is_empty())
    }

    fn fails(&self) -> bool {
        let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
        self.partial_deletes.fetch_update(set, get, |left| left.checked_sub(1)).is_ok()
    }

    /// The answer to a deletion, with the error inside its 200 if it ended half done.
    fn deleted(&self, data: &Value, failed: bool, any: bool) -> Answer {
        let mut answer = self.data(data);
        if failed {
            let code = if any { "PARTIAL_DELETE_FAILURE" } else { "DELETE_FAILED" };
            answer.body["error"] = json!({"code": code, "message": "not everything was deleted"});
        }
        answer
    }
}

/// Deletes one event and gives its result, counted as deleted, already deleted or not found.
fn delete(endpoint: &mut Endpoint, id: &str, now: Timestamp, counts: &mut [u32; 3]) -> Value {
    let Some(event) = endpoint.events.get_mut(id) else {
        counts[2] += 1;
        return json!({"event_id": id, "outcome": "not_found"});
    };
    let (outcome, count) = if event.deleted_at.is_some() { ("already_deleted", 1) } else { ("deleted", 0) };
    counts[count] += 1;
    let at = *event.deleted_at.get_or_insert(now);
    json!({"event_id": id, "outcome": outcome, "deleted_at": iso(at)})
}

fn ids(call: &Call, name: &str, max: usize) -> Option<Vec<String>> {
    let body: Value = serde_json::from_slice(&call.body).ok()?;
    let ids: Option<Vec<String>> =
        body[name].as_array()?.iter().map(|id| id.as_str().map(str::to_owned)).collect();
    ids.filter(|ids| (1..=max).contains(&ids.len()))
}

/// The statuses that are asked for; `None` if one is unknown.
fn statuses(call: &Call, default: &[Status]) -> Option<Vec<Status>> {
    let Some(text) = call.param("status") else { return Some(default.to_vec()) };
    let known = |word: &str| Status::ALL.into_iter().find(|status| status.as_str() == word);
    text.split(',').map(known).collect()
}

/// A time among the parameters; the outer `None` if it cannot be read.
#[expect(clippy::option_option, reason = "a parameter that is missing and one that is no time")]
fn time(call: &Call, name: &str) -> Option<Option<Timestamp>> {
    let Some(text) = call.param(name) else { return Some(None) };
    Timestamp::parse(text, TimeFormat::Iso8601).map(Some)
}

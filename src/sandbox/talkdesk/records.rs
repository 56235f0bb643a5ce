//! `/record-lists/{id}/records`: listing them, and deleting many by one kind of identifier.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::super::{Answer, Call};
use super::{State, Talkdesk, refusal};

/// A record, as far as anybody asks here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub phone_number: String,
    pub external_provider: String,
    pub external_id: String,
}

/// The kinds of identifiers, none of which may be mixed with another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Id,
    PhoneNumber,
    External,
}

impl Talkdesk {
    /// A record appears.
    pub fn add(&self, id: &str, record: Record) {
        let mut state = self.state();
        state.by_phone.insert(record.phone_number.clone(), id.to_owned());
        let external = (record.external_provider.clone(), record.external_id.clone());
        state.by_external.insert(external, id.to_owned());
        state.records.insert(id.to_owned(), record);
    }

    /// Ids of the records that are there.
    #[must_use]
    pub fn records(&self) -> Vec<String> {
        self.state().records.keys().cloned().collect()
    }

    /// Deleting this one fails from now on, or no more.
    pub fn stick(&self, id: &str, stuck: bool) {
        let mut state = self.state();
        state.stuck.retain(|known| known != id);
        if stuck {
            state.stuck.push(id.to_owned());
        }
    }

    /// Requests are only taken (202) from now on, and done later; or they are done again.
    pub fn take_only(&self, takes_only: bool) {
        self.state().takes_only = takes_only;
    }

    /// Does what was only taken.
    pub fn finish(&self) {
        let mut state = self.state();
        for id in std::mem::take(&mut state.taken) {
            state.remove(&id);
        }
    }

    pub(super) fn list(&self, call: &Call) -> Answer {
        let number = |name: &str, default: usize| match call.param(name) {
            None => Some(default),
            Some(text) => text.parse().ok().filter(|number| *number > 0),
        };
        let (Some(page), Some(size)) = (number("page", 1), number("per_page", 50)) else {
            return refusal(
                StatusCode::BAD_REQUEST,
                "0010400",
                "page and per_page are whole numbers above 0",
            );
        };
        let state = self.state();
        let records: Vec<Value> =
            state.records.keys().skip((page - 1) * size).take(size).map(|id| json!({"id": id})).collect();
        Answer::ok(json!({
            "count": records.len(), "page": page, "per_page": size,
            "total_pages": state.records.len().div_ceil(size),
            "_embedded": {"records": records},
        }))
    }

    pub(super) fn delete(&self, call: &Call) -> Answer {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let Some(asked) = body.as_array().and_then(|items| asked(items)) else {
            return refusal(
                StatusCode::BAD_REQUEST,
                "0010400",
                "an array of one kind of identifier is wanted",
            );
        };
        if asked.is_empty() || asked.len() > self.settings.bulk_max {
            return refusal(StatusCode::BAD_REQUEST, "0010400", "too few or too many records");
        }
        let mut state = self.state();
        state.bulks.push(asked.len());
        let found: Vec<Option<String>> = asked.iter().map(|item| state.named(item)).collect();
        if state.takes_only {
            let found = found.into_iter().flatten().filter(|id| !state.stuck.contains(id));
            let found: Vec<String> = found.collect();
            state.taken.extend(found);
            return self.done(StatusCode::ACCEPTED, 0, &[]);
        }
        let mut failed = Vec::new();
        let mut deleted = 0;
        for (item, id) in asked.iter().zip(found) {
            match id {
                Some(id) if state.stuck.contains(&id) => failed.push(id),
                Some(id) => {
                    state.remove(&id);
                    deleted += 1;
                }
                // The answer has room for an id, and only one kind of identifier is that.
                None if self.settings.missing_fails => {
                    failed.push(item.1[0].clone().filter(|_| item.0 == Kind::Id).unwrap_or_default());
                }
                None => {}
            }
        }
        self.done(StatusCode::OK, deleted, &failed)
    }

    fn done(&self, status: StatusCode, deleted: usize, failed: &[String]) -> Answer {
        let list = format!("/record-lists/{}", self.settings.record_list_id);
        let failed: Vec<Value> = failed
            .iter()
            .map(|id| json!({"id": id, "_links": {"self": {"href": format!("{list}/records/{id}")}}}))
            .collect();
        Answer::new(
            status,
            json!({
                "record_list_id": self.settings.record_list_id,
                "has_errors": !failed.is_empty(),
                "total_deleted": deleted,
                "total_errors": failed.len(),
                "_links": {"self": {"href": format!("{list}/records/bulks")}, "record_list": {"href": list}},
                "_embedded": {"failed_records": failed},
            }),
        )
    }
}

type Named = (Kind, [Option<String>; 2]);

impl State {
    fn named(&self, (kind, parts): &Named) -> Option<String> {
        let [first, second] = parts;
        let first = first.clone()?;
        match kind {
            Kind::Id => self.records.contains_key(&first).then_some(first),
            Kind::PhoneNumber => self.by_phone.get(&first).cloned(),
            Kind::External => self.by_external.get(&(first, second.clone()?)).cloned(),
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(record) = self.records.remove(id) {
            self.by_phone.remove(&record.phone_number);
            self.by_external.remove(&(record.external_provider, record.external_id));
        }
    }
}

/// The identifiers, if all of them are of one kind.
fn asked(items: &[Value]) -> Option<Vec<Named>> {
    let items: Vec<Named> = items.iter().map(|item| named(item.as_object()?)).collect::<Option<_>>()?;
    let one_kind = items.windows(2).all(|pair| pair[0].0 == pair[1].0);
    one_kind.then_some(items)
}

fn named(item: &Map<String, Value>) -> Option<Named> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let has = |names: &[&str]| item.len() == names.len() && names.iter().all(|name| item.contains_key(*name));
    if has(&["id"]) {
        return Some((Kind::Id, [text("id"), None]));
    }
    if has(&["phone_number"]) {
        return Some((Kind::PhoneNumber, [text("phone_number"), None]));
    }
    let external = has(&["external_provider", "external_id"]);
    external.then(|| (Kind::External, [text("external_provider"), text("external_id")]))
}

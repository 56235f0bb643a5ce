//! `/v1/deals`: listing, deleting one, deleting many.
//!
//! There is no feed of deleted deals, and no event for a bulk deletion: each deal has its own.

use std::collections::BTreeSet;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::{Answer, Call};
use super::{DAY_SECONDS, LeadLex, data, invalid, refusal};

/// `per_page` where the request has none, and at most.
const PAGE_SIZE: usize = 50;
const PAGE_SIZE_MAX: usize = 100;
/// Ids of one bulk deletion.
const BULK_MAX: usize = 500;

/// A bulk deletion's answer, which the same `Idempotency-Key` gets again for 24 hours.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    at_seconds: i64,
    answer: Answer,
}

impl LeadLex {
    pub(super) fn list_deals(&self, call: &Call) -> Answer {
        let number = |name: &str, default: usize| match call.param(name) {
            None => Some(default),
            Some(text) => text.parse().ok().filter(|number| *number > 0),
        };
        let (Some(page), Some(size)) = (number("page", 1), number("per_page", PAGE_SIZE)) else {
            return invalid("page and per_page are whole numbers above 0");
        };
        let size = size.min(PAGE_SIZE_MAX);
        let state = self.state();
        let deals: Vec<Value> = state
            .deals
            .iter()
            .skip((page - 1).saturating_mul(size))
            .take(size)
            .map(|(id, name)| json!({"id": id, "name": name, "status": "open"}))
            .collect();
        let meta = json!({"page": page, "per_page": size, "total": state.deals.len()});
        Answer::ok(json!({"data": {"deals": deals}, "meta": meta}))
    }

    pub(super) fn delete_deal(&self, id: &str) -> Answer {
        if self.delete(id) {
            return data(&json!({"deleted": true, "id": id}));
        }
        refusal(StatusCode::NOT_FOUND, "deal_not_found", "there is no such deal")
    }

    pub(super) fn delete_deals(&self, call: &Call) -> Answer {
        let now = self.clock.now().seconds();
        let key = call.header("idempotency-key");
        if let Some(known) = key.and_then(|key| self.state().remembered.get(key).cloned())
            && now - known.at_seconds < DAY_SECONDS
        {
            return known.answer;
        }
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let Some(ids) = ids(&body) else { return invalid("deal_ids is an array of texts") };
        if ids.is_empty() || ids.len() > BULK_MAX {
            return invalid("deal_ids has 1 to 500 ids");
        }
        let answer = self.delete_all(&ids, body["dry_run"] == json!(true));
        if let Some(key) = key {
            let remembered = Remembered { at_seconds: now, answer: answer.clone() };
            self.state().remembered.insert(key.to_owned(), remembered);
        }
        answer
    }

    fn delete_all(&self, ids: &BTreeSet<String>, dry_run: bool) -> Answer {
        let found =
            |id: &&String| if dry_run { self.state().deals.contains_key(*id) } else { self.delete(id) };
        let (found, missing): (Vec<&String>, Vec<&String>) = ids.iter().partition(found);
        let error = |id: &&String| json!({"deal_id": id, "code": "deal_not_found", "message": "there is no such deal"});
        let errors: Vec<Value> = missing.iter().map(error).collect();
        data(&json!({"deleted_count": found.len(), "not_found_count": missing.len(), "errors": errors}))
    }
}

fn ids(body: &Value) -> Option<BTreeSet<String>> {
    body["deal_ids"].as_array()?.iter().map(|id| id.as_str().map(str::to_owned)).collect()
}

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
/// A bulk deletion, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRequest {
    pub ids: BTreeSet<String>,
    pub idempotency_key: Option<String>,
    pub dry_run: bool,
}

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
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let Some(ids) = ids(&body) else { return invalid("deal_ids is an array of texts") };
        let dry_run = body["dry_run"] == json!(true);
        let idempotency_key = key.map(str::to_owned);
        self.state().bulk_requests.push(BulkRequest { ids: ids.clone(), idempotency_key, dry_run });
        if let Some(known) = key.and_then(|key| self.state().remembered.get(key).cloned())
            && now - known.at_seconds < DAY_SECONDS
        {
            return known.answer;
        }
        if ids.is_empty() || ids.len() > self.settings.bulk_max {
            return invalid("deal_ids has too few ids, or too many");
        }
        let answer = self.delete_all(&ids, dry_run);
        if let Some(key) = key {
            let remembered = Remembered { at_seconds: now, answer: answer.clone() };
            self.state().remembered.insert(key.to_owned(), remembered);
        }
        answer
    }

    fn delete_all(&self, ids: &BTreeSet<String>, dry_run: bool) -> Answer {
        let (mut deleted, mut missing, mut errors) = (0, 0, Vec::new());
        for id in ids {
            let error =
                |code: &str| json!({"deal_id": id, "code": code, "message": "the deal was not deleted"});
            let stuck = self.state().stuck.get(id).cloned();
            let is_there = self.state().deals.contains_key(id);
            match stuck.filter(|_| is_there) {
                Some(code) => errors.push(error(&code)),
                None if is_there => {
                    deleted += usize::from(dry_run || self.delete(id));
                }
                None => {
                    missing += 1;
                    if self.settings.names_missing {
                        errors.push(error("deal_not_found"));
                    }
                }
            }
        }
        data(&json!({"deleted_count": deleted, "not_found_count": missing, "errors": errors}))
    }

    /// Bulk deletions of this deal fail from now on with this code; `None`: no more.
    pub fn stick(&self, id: &str, code: Option<&str>) {
        let mut state = self.state();
        state.stuck.remove(id);
        if let Some(code) = code {
            state.stuck.insert(id.to_owned(), code.to_owned());
        }
    }

    /// Requests of any kind that came in when the day's quota was used up.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.state().turned_away
    }

    /// Every bulk deletion that came in within the quota.
    #[must_use]
    pub fn bulk_requests(&self) -> Vec<BulkRequest> {
        self.state().bulk_requests.clone()
    }
}

fn ids(body: &Value) -> Option<BTreeSet<String>> {
    body["deal_ids"].as_array()?.iter().map(|id| id.as_str().map(str::to_owned)).collect()
}

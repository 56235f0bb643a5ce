//! Talkdesk's record lists as its documents describe them: records that are deleted in bulk with `DELETE` and a
//! body, behind tokens of ten minutes.
//!
//! Sources: docs.talkdesk.com (`reference/delete-a-record`, `get-a-list-of-records`, `record-lists-bulks`,
//! `docs/authentication`). What they leave open is decided here so: a request has at most 100 records, tokens are had
//! at `/oauth/token` of the same address, a record that is not there counts as neither deleted nor failed (can be
//! set), and work that was only taken (202, see [`Talkdesk::take_only`]) is done when
//! [`Talkdesk::finish`] is called.

mod records;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{Method, StatusCode};
use serde_json::json;

pub use self::records::Record;
use super::{Answer, Call, Faults, Simulator};
use crate::clock::SharedClock;
use crate::config::Secret;
use crate::domain::Timestamp;

/// How long a token is good for.
const TOKEN_LIFETIME: Duration = Duration::from_mins(10);
const SCOPE: &str = "record-lists:manage";

/// What differs from one sandbox to another.
#[derive(Clone, Debug)]
pub struct TalkdeskSettings {
    pub client_id: String,
    pub client_secret: Secret,
    /// The one list that there is.
    pub record_list_id: String,
    /// Records of one request: 100, which the documents imply.
    pub bulk_max: usize,
    /// Whether a record that is not there counts as failed.
    pub missing_fails: bool,
}

impl TalkdeskSettings {
    /// As documented.
    #[must_use]
    pub fn documented(client_id: &str, client_secret: Secret, record_list_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            client_secret,
            record_list_id: record_list_id.to_owned(),
            bulk_max: 100,
            missing_fails: false,
        }
    }
}

/// The simulated vendor.
pub struct Talkdesk {
    settings: TalkdeskSettings,
    clock: SharedClock,
    faults: Faults,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By their ids.
    records: BTreeMap<String, Record>,
    by_phone: BTreeMap<String, String>,
    by_external: BTreeMap<(String, String), String>,
    /// Ids that can't be deleted.
    stuck: Vec<String>,
    /// Whether requests are only taken.
    takes_only: bool,
    /// Ids whose deletion was taken.
    taken: Vec<String>,
    tokens: BTreeMap<String, Timestamp>,
    bulks: Vec<usize>,
}

impl Talkdesk {
    #[must_use]
    pub fn new(settings: TalkdeskSettings, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { settings, clock, faults: Faults::default(), state: Mutex::default() })
    }

    /// Numbers of records of every bulk deletion that came in with a good token.
    #[must_use]
    pub fn bulks(&self) -> Vec<usize> {
        self.state().bulks.clone()
    }

    /// Tokens that were given out.
    #[must_use]
    pub fn tokens_given(&self) -> usize {
        self.state().tokens.len()
    }

    /// Every token ends now.
    pub fn end_tokens(&self) {
        let now = self.clock.now();
        self.state().tokens.values_mut().for_each(|ends| *ends = now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// RFC 6749 section 4.4: client credentials, in `Authorization: Basic`.
    fn token(&self, call: &Call) -> Answer {
        let form: BTreeMap<_, _> = url::form_urlencoded::parse(&call.body).into_owned().collect();
        let known = [self.settings.client_id.as_bytes(), b":", self.settings.client_secret.expose()].concat();
        let given = call.header("authorization").and_then(|header| header.strip_prefix("Basic "));
        if given.and_then(|given| STANDARD.decode(given).ok()) != Some(known) {
            return Answer::new(StatusCode::UNAUTHORIZED, json!({"error": "invalid_client"}));
        }
        if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
            return Answer::new(StatusCode::BAD_REQUEST, json!({"error": "unsupported_grant_type"}));
        }
        if form.get("scope").map(String::as_str) != Some(SCOPE) {
            return Answer::new(StatusCode::BAD_REQUEST, json!({"error": "invalid_scope"}));
        }
        let mut state = self.state();
        let token = format!("sandbox-token-{}", state.tokens.len() + 1);
        state.tokens.insert(token.clone(), self.clock.now().plus(TOKEN_LIFETIME));
        let lifetime = TOKEN_LIFETIME.as_secs();
        Answer::ok(
            json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": SCOPE}),
        )
    }

    fn is_known(&self, call: &Call) -> bool {
        let token = call.bearer();
        let state = self.state();
        token.and_then(|token| state.tokens.get(token)).is_some_and(|ends| *ends > self.clock.now())
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::new(status, json!({"code": code, "message": message, "fields": []}))
}

#[async_trait]
impl Simulator for Talkdesk {
    fn owns(&self, first_segment: &str) -> bool {
        matches!(first_segment, "record-lists" | "oauth")
    }

    async fn answer(&self, call: &Call) -> Answer {
        let path = call.path();
        if (&call.method, path.as_slice()) == (&Method::POST, &["oauth", "token"]) {
            return self.token(call);
        }
        if !self.is_known(call) {
            return refusal(StatusCode::UNAUTHORIZED, "0010401", "missing or expired token");
        }
        let (list, rest) = match path.as_slice() {
            ["record-lists", list, "records", rest @ ..] => (*list, rest),
            _ => return refusal(StatusCode::NOT_FOUND, "0010404", "there is no such path"),
        };
        if list != self.settings.record_list_id {
            return refusal(StatusCode::NOT_FOUND, "0010404", "there is no such record list");
        }
        match (&call.method, rest) {
            (&Method::DELETE, ["bulks"]) => self.delete(call),
            (&Method::GET, []) => self.list(call),
            _ => refusal(StatusCode::NOT_FOUND, "0010404", "there is no such path"),
        }
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

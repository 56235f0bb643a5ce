//! Simulators of the upstreams and of the vendors that take deletions, for the demo, for tests and for users' staging.
//!
//! They answer and sign as the upstreams' documents say, misbehave on demand, and keep everything in memory.
//! No part of the daemon may rest on them, and they use none of the daemon's code for signing, paging or
//! parsing: a simulator that shared it would share its faults.

pub mod calmyx;
pub mod delivery;
pub mod fault;
pub mod hookbridge;
pub mod leadlex;
pub mod plan;
pub mod repliers;
mod server;
pub mod talkdesk;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::SecondsFormat;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;

pub use self::calmyx::Calmyx;
pub use self::delivery::{Mishap, Outbox};
pub use self::fault::{Fault, Faults};
pub use self::hookbridge::HookBridge;
pub use self::leadlex::LeadLex;
pub use self::plan::Plan;
pub use self::repliers::Repliers;
pub use self::talkdesk::Talkdesk;
use crate::clock::SharedClock;
use crate::domain::Timestamp;

/// One simulated upstream.
#[async_trait]
pub trait Simulator: Send + Sync {
    /// Whether paths that begin with this segment are this upstream's.
    fn owns(&self, first_segment: &str) -> bool;

    /// Whether a request is this upstream's. Where two share a first segment, the one that looks closer stands first.
    fn takes(&self, call: &Call) -> bool {
        call.segments.first().is_some_and(|first| self.owns(first))
    }

    /// The true answer to a request.
    async fn answer(&self, call: &Call) -> Answer;

    /// What goes wrong with the next requests.
    fn faults(&self) -> &Faults;

    /// The webhooks that it sends, where it sends any.
    fn webhooks(&self) -> Option<&Outbox> {
        None
    }

    /// What it lists moves under whoever is reading it, where it lists anything by pages.
    fn shift(&self) {}

    /// The time that it lives in.
    fn clock(&self) -> &SharedClock;
}

/// Several simulators behind one address.
#[derive(Clone)]
pub struct Sandbox {
    simulators: Vec<Arc<dyn Simulator>>,
}

impl Sandbox {
    #[must_use]
    pub fn new(simulators: Vec<Arc<dyn Simulator>>) -> Self {
        Self { simulators }
    }

    fn owner(&self, call: &Call) -> Option<&Arc<dyn Simulator>> {
        self.simulators.iter().find(|simulator| simulator.takes(call))
    }
}

/// A request, read to its end.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// The path, split at its slashes and percent-decoded.
    pub segments: Vec<String>,
    /// In the order of the query, decoded; a name may come several times.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// The first value of a query parameter.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A header's text; `None` if it is missing or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The token of `Authorization: Bearer`.
    fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    fn path(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }
}

/// `2024-11-19T21:25:27.869Z`
fn iso(at: Timestamp) -> String {
    at.to_datetime().unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An answer before anything went wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
    /// JSON that takes the place of [`PLACE_OF_VERBATIM`] in the body, byte for byte.
    pub verbatim: Option<String>,
}

/// A text that a body has where verbatim JSON is to stand.
pub const PLACE_OF_VERBATIM: &str = "\u{1}verbatim\u{1}";

impl Answer {
    #[must_use]
    pub fn new(status: StatusCode, body: Value) -> Self {
        Self { status, headers: Vec::new(), body, verbatim: None }
    }

    #[must_use]
    pub fn ok(body: Value) -> Self {
        Self::new(StatusCode::OK, body)
    }

    /// Puts JSON text into its place in the body, as it is.
    #[must_use]
    pub fn with_verbatim(self, json: &str) -> Self {
        Self { verbatim: Some(json.to_owned()), ..self }
    }

    fn text(&self) -> String {
        let text = self.body.to_string();
        match &self.verbatim {
            None => text,
            Some(json) => text.replace(&Value::from(PLACE_OF_VERBATIM).to_string(), json),
        }
    }
}

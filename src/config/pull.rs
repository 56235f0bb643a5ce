//! Where deliveries wait to be fetched, and how they are listed, read, acknowledged and discarded.
//!
//! A pull endpoint is another door for the deliveries of a source: how they prove themselves and what they mean
//! is the source's own, and is said there.

use std::time::Duration;

use super::source::{Access, Paging, Pointers};
use crate::domain::timestamp::TimeFormat;

/// A place where somebody else keeps the deliveries of a source.
///
/// URLs are absolute; `{endpoint}` and `{event}` in them stand for the ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Pull {
    pub access: Access,
    /// Never empty.
    pub endpoints: Vec<Endpoint>,
    /// Time between two looks at an endpoint that had nothing.
    pub every: Duration,
    /// Whether the original sender's signature is verified over what was kept. Without that, whoever keeps the
    /// deliveries is trusted to have done so.
    pub verify: bool,
    pub listing: Listing,
    pub reading: Reading,
    pub acknowledge: Acknowledge,
    /// What was acknowledged is discarded; without it, that is left to the keeper's own retention.
    pub discard: Option<Discard>,
}

impl Pull {
    /// An idle look is one request for each listing: a sixth of a request a second.
    pub const EVERY: Duration = Duration::from_secs(10);
}

/// One of the places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub id: String,
    /// The event that alone arrives there, for senders that want one URL an event.
    pub event: Option<String>,
}

/// How an endpoint says what waits there.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    pub url: String,
    /// Query parameters; each set asks for some of what waits. What was fetched and not acknowledged, as a crash
    /// leaves it, must be among it.
    pub queries: Vec<Vec<(String, String)>>,
    /// Query parameters that ask for what was acknowledged, and so may be discarded.
    pub done: Option<Vec<(String, String)>>,
    pub items: Pointers,
    pub id: Pointers,
    /// Anything there says that the event was discarded and cannot be read any more.
    pub discarded: Pointers,
    pub paging: Paging,
}

/// How one event is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub url: String,
    pub body: Pointers,
    /// What a text in the body's place is; an object or array there is the body itself, as it stands.
    pub text: EventBody,
    /// The original headers: an object of texts.
    pub headers: Pointers,
    /// When the keeper got it: what signed times are compared with.
    pub received_at: Pointers,
    pub time_format: TimeFormat,
    /// Statuses that say that the event is gone for good.
    pub gone: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventBody {
    Base64,
    Plain,
}

/// How events are acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledge {
    pub url: String,
    /// Name of the array of ids in the request.
    pub ids: String,
    /// Ids of one request.
    pub max: usize,
}

/// How events are discarded.
#[derive(Clone, Debug, PartialEq)]
pub struct Discard {
    pub url: String,
    pub ids: String,
    pub max: usize,
    /// Where the answer has an outcome for each id.
    pub results: Pointers,
    pub id: Pointers,
    pub outcome: Pointers,
    /// Outcomes that say that the event is gone.
    pub gone: Vec<String>,
    /// Anything there says that not all of it was done, although the status is 200.
    pub error: Pointers,
}

//! How one upstream signs, what its payloads look like, and how its deleted feed pages.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Secret;
pub use super::pull::{Acknowledge, Discard, Endpoint, EventBody, Listing, Pull, Reading};
pub use super::subscriptions::Subscriptions;
use crate::domain::{Action, Entity, timestamp::TimeFormat};

/// An upstream system of record.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub name: String,
    pub entity: Entity,
    /// How deliveries prove themselves. `None` for a source that is only polled: its hook answers 404.
    pub auth: Option<Auth>,
    pub payload: Payload,
    pub events: BTreeMap<String, EventRule>,
    /// Deliveries per second that this source may send, counted after the signature: 5,000 by default, ten
    /// times the largest burst that is documented (500 at once).
    pub rate_per_second: u32,
    /// A notice without any evidence is a repeat within this time of the last one, and a new deletion after
    /// it: the upstream's own retry horizon.
    pub retry_horizon: Duration,
    pub feed: Option<Feed>,
    /// Where its deliveries wait to be fetched, instead of being posted to us.
    pub pull: Option<Pull>,
    /// How it is asked to send webhooks.
    pub subscriptions: Option<Subscriptions>,
}

impl Source {
    /// Ten times the largest documented burst, 500 at once.
    pub const RATE_PER_SECOND: u32 = 5_000;
    /// The longest retry schedule that is advised (Standard Webhooks: 75.6 hours).
    pub const RETRY_HORIZON: Duration = Duration::from_hours(76);
}

/// How deliveries prove that they come from the upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    pub scheme: Scheme,
    /// Any of them verifies; the first is the current one. None of them empty. There is at least one, unless the
    /// upstream offers its secret when it is subscribed to.
    pub secrets: Vec<Secret>,
}

/// The ways of proving.
#[derive(Clone, Debug, PartialEq)]
pub enum Scheme {
    Hmac(Hmac),
    /// Standard Webhooks v1 (HMAC-SHA256) and v1a (Ed25519); headers under any of these prefixes
    /// (`webhook`, `svix`).
    StandardWebhooks {
        prefixes: Vec<String>,
        tolerance: Duration,
    },
    /// The secret itself in one of these headers (lower case).
    StaticSecret {
        headers: Vec<String>,
    },
    /// `Authorization: Basic`; the secret is `user:password`.
    Basic,
    /// `Authorization: Bearer`; the secret is the token.
    Bearer,
}

/// An HMAC over parts of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Hmac {
    pub algorithm: HmacAlgorithm,
    pub encoding: Encoding,
    /// Header with the signature, lower case.
    pub header: String,
    /// What stands before the signature: `sha256=`, `v0=`, `v1=`. Entries of a list without it are skipped.
    pub prefix: String,
    /// What stands between several signatures in the header.
    pub separator: Option<char>,
    /// What is signed, piece by piece.
    pub signed: Vec<Piece>,
    /// Header with the delivery's id, lower case; needed where `signed` has `{id}`.
    pub id_header: Option<String>,
    pub timestamp: Option<SignedTime>,
    /// How the secret's text gives the key bytes.
    pub secret_encoding: SecretEncoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacAlgorithm {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Hex,
    Base64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretEncoding {
    Utf8,
    Hex,
    Base64,
}

/// A piece of the signed content, as the template `"v0:{timestamp}:{body}"` gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Id,
    Timestamp,
    Method,
    /// The public URL as the upstream called it: `server.public_url` and the request's path and query.
    Url,
    Body,
}

/// Where the time of a delivery stands, and how far off it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedTime {
    /// Lower case.
    pub header: String,
    /// The time is a field of that header (`t` in `t=…,v1=…`), split at the signature's separator.
    pub field: Option<String>,
    pub format: TimeFormat,
    pub tolerance: Duration,
    /// Whether a time in the future beyond the tolerance is refused too.
    pub refuse_future: bool,
}

impl SignedTime {
    /// What Standard Webhooks, Stripe, Slack and HubSpot have in common.
    pub const TOLERANCE: Duration = Duration::from_mins(5);
}

/// A JSON pointer; `whole` ones (`#/event`) start at the body, the others at the item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub whole: bool,
    /// Unescaped reference tokens; empty for the item (or body) itself.
    pub tokens: Vec<String>,
}

/// Alternatives: the first one that is there counts.
pub type Pointers = Vec<Pointer>;

/// Where things stand in a webhook's body.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// Where the items are: an array of events, or one event. The first pointer that resolves counts; empty
    /// means the body itself.
    pub items: Pointers,
    /// For each part of the key, where it may stand.
    pub key: Vec<Pointers>,
    pub deleted_at: Pointers,
    pub updated_at: Pointers,
    pub time_format: TimeFormat,
    /// An event id in the signed body.
    pub event_id: Pointers,
    /// Whether the delivery id of the signature scheme is signed and stable over retries, and so evidence.
    pub event_id_from_delivery: bool,
    pub event: EventFrom,
}

/// Where the name of the event stands.
#[derive(Clone, Debug, PartialEq)]
pub enum EventFrom {
    Body(Pointers),
    /// Lower case.
    Header(String),
    /// The last segment of the path: `/hooks/{source}/{event}`.
    Path,
}

/// What an event means.
#[derive(Clone, Debug, PartialEq)]
pub enum EventRule {
    Means(Meaning),
    /// It depends on a value in the item: `{ by = "/lastStatus", Ter = "deactivate", otherwise = "ignore" }`.
    By {
        pointer: Pointers,
        values: BTreeMap<String, Meaning>,
        otherwise: Meaning,
    },
}

impl Payload {
    /// Whether it says where a notice has a time or an id, by which a repeat is known.
    #[must_use]
    pub fn proves(&self) -> bool {
        let places = [&self.deleted_at, &self.updated_at, &self.event_id];
        self.event_id_from_delivery || places.iter().any(|place| !place.is_empty())
    }
}

impl EventRule {
    #[must_use]
    pub fn may_mean(&self, meaning: Meaning) -> bool {
        match self {
            Self::Means(only) => *only == meaning,
            Self::By { values, otherwise, .. } => {
                *otherwise == meaning || values.values().any(|it| *it == meaning)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Ignore,
    Notice(Action),
}

/// How an upstream may be asked: with which credentials, how fast, how patiently.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Name (lower case) and value, credentials among them.
    pub headers: Vec<(String, Secret)>,
    pub rate_per_second: u32,
    /// One request, from connecting to the last byte.
    pub timeout: Duration,
    /// Bytes of one answer.
    pub page_bytes_max: usize,
    /// Tries of one request.
    pub attempts_max: u32,
}

/// A deleted feed.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// Absolute URL of the feed, without paging and window parameters.
    pub url: String,
    /// Name (lower case) and value, credentials among them.
    pub headers: Vec<(String, Secret)>,
    /// Further query parameters that never change.
    pub query: Vec<(String, String)>,
    pub schedule: Option<Schedule>,
    /// How far each run reads behind the checkpoint: at least the feed's own granularity.
    pub overlap: Duration,
    /// How far the first run reads back.
    pub first: Duration,
    /// How far back the feed itself goes; a checkpoint older than that is a gap (I4).
    pub retention: Duration,
    pub window: Window,
    pub items: Pointers,
    pub key: Vec<Pointers>,
    pub deleted_at: Pointers,
    pub updated_at: Pointers,
    pub time_format: TimeFormat,
    pub event_id: Pointers,
    /// The source may tell that a record is listed again. A deletion without a time is refused then: it may be an older
    /// one, told late or once more.
    pub relists: bool,
    pub paging: Paging,
    /// Requests per second that this feed bears.
    pub rate_per_second: u32,
    /// One request, from connecting to the last byte.
    pub timeout: Duration,
    /// Bytes of one answer: 8 MiB.
    pub page_bytes_max: usize,
    /// Tries of one request before the run fails: 6.
    pub attempts_max: u32,
    /// Walks that may be begun again because the total changed under them: 3.
    pub walks_max: u32,
}

impl Feed {
    /// A day for bounds that are dates, and another for dates of another time zone.
    pub const OVERLAP: Duration = Duration::from_hours(48);
    /// As far as most feeds that document it go back.
    pub const FIRST: Duration = Duration::from_hours(30 * 24);
    /// The lowest documented allowance (Repliers).
    pub const RATE_PER_SECOND: u32 = 5;
    /// Longer than any gateway waits for the server behind it.
    pub const TIMEOUT: Duration = Duration::from_mins(1);
    /// A hundred times a page of a hundred deleted records, which are half a kilobyte each.
    pub const PAGE_BYTES_MAX: usize = 8 << 20;
    /// With doubling pauses from a second on: about a minute of trouble is sat out.
    pub const ATTEMPTS_MAX: u32 = 6;
    /// A total that still changes then changes all the time.
    pub const WALKS_MAX: u32 = 3;

    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            headers: self.headers.clone(),
            rate_per_second: self.rate_per_second,
            timeout: self.timeout,
            page_bytes_max: self.page_bytes_max,
            attempts_max: self.attempts_max,
        }
    }
}

/// The bounds of a walk, inclusive on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub from: Option<String>,
    pub to: Option<String>,
    pub format: BoundFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundFormat {
    /// `2024-05-16`, a day in UTC.
    Date,
    /// `2024-05-16T10:00:00Z`.
    DateTime,
    UnixSeconds,
    UnixMillis,
}

/// How a feed pages.
#[derive(Clone, Debug, PartialEq)]
pub enum Paging {
    /// Everything in one answer.
    None,
    Page {
        param: String,
        size_param: Option<String>,
        size: u32,
        /// Number of the first page.
        first: u32,
        /// Where the answer repeats the page's number: an answer that ignores our parameter is noticed.
        page: Pointers,
        pages: Pointers,
        total: Pointers,
    },
    Offset {
        param: String,
        size_param: Option<String>,
        size: u32,
        total: Pointers,
    },
    Cursor {
        param: String,
        size_param: Option<String>,
        size: u32,
        next: Pointers,
        /// A flag that says whether more follows; without it an absent, null or empty cursor ends the walk.
        more: Pointers,
    },
    /// `Link: <…>; rel="next"` (RFC 8288).
    Link {
        size_param: Option<String>,
        size: u32,
    },
}

impl Paging {
    /// What every paging feed that was looked at grants.
    pub const SIZE: u32 = 100;
}

/// When a feed is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Six fields, seconds first.
    pub expression: String,
    /// IANA name, `UTC` by default.
    pub zone: String,
}

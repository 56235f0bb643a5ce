//! A vendor's API that deletes many records with one request, as data: what goes out, what comes back, and
//! what both mean.
//!
//! Exists so that a vendor is a preset and not a module: whatever a preset says, a user can say by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Secret;
use super::source::Pointers;
use super::target::Template;
use crate::domain::Entity;

/// A batch-deletion API.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    pub method: Method,
    /// The address of every path, without a slash at its end.
    pub base_url: String,
    /// Ids of one request: what the vendor documents.
    pub limit: usize,
    pub auth: Auth,
    /// Fixed headers, in lower case.
    pub headers: Vec<(String, Secret)>,
    /// Holds [`Api::IDS`] once, where the list of ids goes.
    pub body: Value,
    /// What makes the same request a rehearsal.
    pub dry_run: Option<DryRun>,
    /// The header that makes a repeated request the same one.
    pub idempotency: Option<String>,
    pub answer: Answer,
    /// Codes of a body, or statuses (`"404"`), and what each means; what is missing has its usual meaning.
    pub errors: BTreeMap<String, ErrorMeans>,
    /// Where the code stands in the body of an error.
    pub error_code: Pointers,
    pub quota: Quota,
    /// Requests per second: 5 by default, which no known vendor forbids.
    pub rate_per_second: u32,
    /// For one request: 30 seconds.
    pub timeout: Duration,
    pub entities: BTreeMap<Entity, Records>,
}

impl Api {
    pub const RATE_PER_SECOND: u32 = 5;
    /// A request of 500 ids takes seconds at the vendors that say; ten times that is a fault.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
    /// Stands in a body for the list of ids.
    pub const IDS: &'static str = "{ids}";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Post,
    Put,
    Patch,
    Delete,
}

/// How requests prove themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    None,
    /// The key in a header, behind a prefix (`Bearer `).
    Header {
        name: String,
        value: Secret,
    },
    /// OAuth 2.0 client credentials (RFC 6749 section 4.4).
    Oauth(Oauth),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Oauth {
    pub token_url: String,
    pub client_id: Secret,
    pub client_secret: Secret,
    pub scope: Option<String>,
    /// Whether id and secret go in the body instead of `Authorization: Basic`.
    pub in_body: bool,
    /// How long a token is good for that does not say: ten minutes.
    pub lifetime: Duration,
    /// How long before its end a token is renewed: one minute.
    pub renew_before: Duration,
}

impl Oauth {
    pub const LIFETIME: Duration = Duration::from_mins(10);
    /// Twice the time of the slowest request.
    pub const RENEW_BEFORE: Duration = Duration::from_mins(1);
}

#[derive(Clone, Debug, PartialEq)]
pub struct DryRun {
    /// Laid over the body.
    pub body: Map<String, Value>,
    /// Whether the brake's weighing asks, which costs requests; otherwise a record weighs one row.
    pub weigh: bool,
}

/// What an answer of 2xx says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Statuses of work that was only taken: nothing is gone yet.
    pub accepted: Vec<u16>,
    /// When work that was only taken is asked for again: 5 minutes.
    pub accepted_again: Duration,
    /// False where a 2xx is an error all the same.
    pub success: Pointers,
    /// How many records went.
    pub deleted: Pointers,
    /// True where the answer hides failures.
    pub has_errors: Pointers,
    /// The list that names records: those that failed, or all.
    pub items: Pointers,
    /// Where an item has its word; without one, or with one that `words` does not have, it means `otherwise`.
    pub word: Pointers,
    pub words: BTreeMap<String, WordMeans>,
    pub otherwise: WordMeans,
    pub unlisted: Unlisted,
    pub unproven: WhenUnproven,
}

impl Answer {
    pub const ACCEPTED_AGAIN: Duration = Duration::from_mins(5);
}

/// What an item's word says of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordMeans {
    Deleted,
    /// There is none.
    Absent,
    /// There was one, and it had gone before.
    Gone,
    /// It failed, and may not later.
    Failed,
    /// It failed, and will again.
    Refused,
}

/// What the answer says of records that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// As many are deleted as `deleted` counts.
    Counted,
    Deleted,
    Unproven,
}

/// What is done where an answer does not prove which records went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnproven {
    /// The ids are sent again in halves until each answer proves something.
    Halve,
    /// They are parked as `unconfirmed`.
    Park,
}

/// What an error says of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMeans {
    /// One of the ids is at fault: tried in halves.
    Refused,
    /// The credential is not good; a token is renewed once.
    Credential,
    /// The allowance of deletions is used up, or would be.
    Quota,
    /// Too many requests for now.
    Rate,
    /// The vendor is not there, and may have done it all the same.
    Down,
    /// The request is wrong, whatever its ids.
    Misconfigured,
}

/// How much the vendor lets go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quota {
    /// Headers of requests that are left, and of when there are more (Unix seconds, or seconds from now).
    pub remaining_header: Option<String>,
    pub reset_header: Option<String>,
    /// A request whose answer tells how things stand, `GET`; may have a query.
    pub stats: Option<String>,
    /// Records of an entity that the vendor holds, in the answer to `stats`.
    pub total: Pointers,
    /// Deletions that are left, in the answer to `stats` and to a deletion.
    pub left: Pointers,
    /// Or: those that were made, and those that may be; a negative maximum is none.
    pub used: Pointers,
    pub max: Pointers,
}

impl Quota {
    /// Whether deletions themselves are counted.
    #[must_use]
    pub fn counts_deletions(&self) -> bool {
        !self.left.is_empty() || !self.max.is_empty()
    }
}

/// How an entity's records are named here.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    /// The path of the request below the base address.
    pub path: String,
    /// As `path`, of [`Quota::stats`].
    pub stats: Option<String>,
    /// The vendor's id, from the parts of the key; `None`: the parts joined by a colon.
    pub id: Option<Template>,
    /// What stands for one record in the list of ids.
    pub item: Item,
    /// Where an item of an answer has the id.
    pub told_as: Pointers,
    /// Whether a deactivated record is deleted here; otherwise a deactivation does not concern it.
    pub delete_on_deactivate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Text(Vec<ItemPiece>),
    Object(Vec<(String, Vec<ItemPiece>)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemPiece {
    Text(String),
    /// The vendor's id.
    Id,
    /// Part of the key, counted from 0.
    Part(usize),
}

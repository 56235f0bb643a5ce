//! What a store hands out about requests for deletions, and about tombstones in a row.

use serde::{Serialize, Serializer};

use crate::domain::{Action, Entity, Key, Outcome, Seq, Timestamp, TombstoneId};

/// A request for deletions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub receipt: Seq,
    /// Name of the token that asked.
    pub token: String,
    pub at: Timestamp,
    /// `None`: it broke off, or is still being read.
    pub end: Option<RequestEnd>,
}

/// What is known of a request that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestEnd {
    pub fingerprint: String,
    /// Ids, refused ones included.
    pub received: u64,
    pub refused: u64,
}

/// Which of a request's results are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    All,
    /// What became no notice.
    Refused,
    /// What stands so; `None` is what is not settled.
    Standing(Option<Outcome>),
}

/// What became of one id of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestResult {
    /// Place in the list, or line of the upload.
    pub n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<Entity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    #[serde(serialize_with = "outcome")]
    pub outcome: Option<Outcome>,
    /// The hold that it is in, or was in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Whether something later is known of the record, and what is told here is that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overtaken: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<AtTarget>,
}

/// One target's part in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AtTarget {
    pub target: String,
    #[serde(serialize_with = "outcome")]
    pub outcome: Option<Outcome>,
    /// Why the last try failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The word for what is not settled, beside the outcomes.
pub const PENDING: &str = "pending";

/// An outcome's word, or [`PENDING`].
#[must_use]
pub fn standing(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or(PENDING, Outcome::as_str)
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn outcome<S: Serializer>(outcome: &Option<Outcome>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(standing(*outcome))
}

/// A tombstone in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: TombstoneId,
    pub entity: Entity,
    pub key: Key,
    pub action: Action,
    pub at: Timestamp,
    pub upstream_time: bool,
    pub heard_at: Timestamp,
    pub source: String,
    pub notices: u64,
    pub decision: String,
    pub hold: Option<Seq>,
}

//! What the journal holds: everything that was heard, decided and done.
//!
//! The journal is the truth; tombstones, tasks, holds, runs and checkpoints are folded from it. An event
//! therefore carries all that folding needs, and nothing that only a database or a clock could add later.

mod settled;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Action, Door, Entity, Key, Notice, Outcome, Seq, Timestamp, TombstoneId};

/// One journal entry's content. Its kind is stored beside the body, and both are under the hash.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Configured(Topology),
    Heard(Heard),
    Decided(Decided),
    Started(Started),
    Settled(Settled),
    Resolved(Resolved),
    RunStarted(RunStarted),
    RunEnded(RunEnded),
}

/// What of the configuration folding depends on; written when it differs from the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Target → entity → whether a deactivation concerns it there.
    pub targets: BTreeMap<String, BTreeMap<Entity, bool>>,
    /// Source → seconds within which a notice without evidence is a repeat.
    pub retry_horizons: BTreeMap<String, u64>,
}

impl Topology {
    /// Whether a fact that is let go is to be carried out at the target.
    #[must_use]
    pub fn concerns(&self, target: &str, entity: &Entity, action: Action) -> bool {
        let deactivates = self.targets.get(target).and_then(|entities| entities.get(entity));
        deactivates.is_some_and(|deactivates| match action {
            Action::Delete => true,
            Action::Deactivate => *deactivates,
            Action::Relisted => false,
        })
    }
}

/// One delivery, one page of a feed, or one command of an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    pub source: String,
    pub door: Door,
    /// The run that read it, for a page of a feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Seq>,
    /// SHA-256 of the raw body, hex; the body itself is kept beside the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub notices: Vec<Notice>,
    /// What of it could not be understood, and why. Kept and alarmed, since it is authentic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// An operator's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request of an operator's program that this is, or is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Asked>>,
}

/// A request for deletions, or a part of a long one: all that its answer is made from, also when it is asked
/// again. Written with the notices that it became, so that neither is ever there without the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The entry that the request began with, whose number is its receipt; `None`: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Seq>,
    /// Name of the token that asked.
    pub by: String,
    /// SHA-256 of the key under which a repeat is recognised, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where each of the notices stood in the request, from 1: place in a list, or line of an upload.
    pub places: Vec<u64>,
    /// What of it became no notice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refusal>,
    /// Stands in the last part only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<AskedEnd>,
}

/// Why something in a request became no notice. Holds nothing of what was written there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub place: u64,
    pub outcome: Outcome,
    pub code: String,
    pub message: String,
}

/// What is known of a request once it was read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedEnd {
    /// SHA-256 of all that was asked, hex: tells a repeat from another request under the same key.
    pub fingerprint: String,
    /// Ids, refused ones included.
    pub received: u64,
    pub refused: u64,
}

/// A tombstone's fact, named by the journal entry that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fact(pub TombstoneId, pub Seq);

/// The brake's word on facts that awaited it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    pub released: Vec<Fact>,
    /// Rows that the released facts take, by entity: spent from the window's allowance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spent: BTreeMap<Entity, u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldSet>,
}

/// Facts of one entity that went over the allowance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldSet {
    pub entity: Entity,
    /// The open hold that they join; a hold opened by this decision has the decision's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Seq>,
    pub facts: Vec<Fact>,
    pub rows: u64,
    /// What was allowed, and what had gone already, in rows: for the operator.
    pub allowed: u64,
    pub gone: u64,
}

/// A batch that a target is about to see. Its number is this entry's; its members never change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    pub target: String,
    pub members: Vec<Fact>,
    /// The process that has it, and until when it may be considered at work.
    pub holder: String,
    pub leased_until: Timestamp,
}

/// What a batch came to, as its target confirmed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    pub target: String,
    pub batch: Seq,
    /// Empty for a batch that was refused as a whole and is tried in halves.
    #[serde(with = "settled")]
    pub results: Vec<Settlement>,
}

/// One tombstone at one target: the proof of its removal, or why it is still there.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The tombstone, and the entry naming the notice that caused this.
    pub fact: Fact,
    pub entity: Entity,
    pub key: Key,
    pub outcome: Outcome,
    /// Rows that went, children included.
    pub rows: u64,
    pub failure: Option<Failure>,
}

/// Why a record failed, and whether it will be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: String,
    pub message: String,
    /// The next try; without one the task is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The target may have done it all the same: what is absent at the next try is gone by our own work.
    #[serde(default, skip_serializing_if = "is_false")]
    pub in_doubt: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(it: &bool) -> bool {
    !*it
}

/// A person's word on a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    pub hold: Seq,
    pub approve: bool,
    /// What the person had seen: facts that joined the hold after this entry are not meant.
    pub through: Seq,
    pub actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A reconciliation begins. Its number is this entry's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    pub source: String,
    /// The window, as far as the feed takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// A reconciliation ended; only a complete one moves the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnded {
    pub run: Seq,
    pub source: String,
    pub pages: u64,
    pub found: u64,
    /// Written together with the walk's last page (I4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Timestamp>,
    /// The one that stood lay ahead of both clocks, and an operator's run brings it back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub back: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The one list of kinds, from which naming, writing and reading follow.
macro_rules! kinds {
    ($($variant:ident $name:literal),+ $(,)?) => {
        impl Event {
            /// The name under which the event is stored and shown.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),+ }
            }

            /// The body that is stored and hashed beside the kind: JSON.
            #[must_use]
            pub fn encode(&self) -> String {
                let text = match self { $(Self::$variant(content) => serde_json::to_string(content)),+ };
                text.expect("an event has string keys only, and no failing serializer")
            }

            /// # Errors
            /// Not an event of this program or of an older one.
            pub fn decode(kind: &str, body: &str) -> Result<Self, UnknownEvent> {
                match kind {
                    $($name => serde_json::from_str(body).map(Self::$variant).map_err(UnknownEvent::Body),)+
                    _ => Err(UnknownEvent::Kind(kind.to_owned())),
                }
            }
        }
    };
}

kinds! {
    Configured "configured",
    Heard "heard",
    Decided "decided",
    Started "started",
    Settled "settled",
    Resolved "resolved",
    RunStarted "run_started",
    RunEnded "run_ended",
}

/// A journal entry that this program cannot read.
#[derive(Debug, thiserror::Error)]
pub enum UnknownEvent {
    #[error("unknown kind of journal entry {0:?}: written by a newer version?")]
    Kind(String),
    #[error("unreadable journal entry: {0}")]
    Body(#[source] serde_json::Error),
}

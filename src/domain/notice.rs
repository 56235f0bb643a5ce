//! One report of one deletion, as received, whichever door it came through.

use serde::{Deserialize, Serialize};

use super::{Entity, Key, Timestamp};

/// What the upstream says happened to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is back, or was never gone: deletions older than this are void.
    Relisted,
    /// Terminated, cancelled: it stays, marked inactive. Terminated is not deleted.
    Deactivate,
    /// It must go everywhere.
    Delete,
}

/// The way a notice came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    Webhook,
    /// A webhook that somebody else kept for us.
    Pull,
    Feed,
    Operator,
}

impl Door {
    pub const ALL: [Self; 4] = [Self::Webhook, Self::Pull, Self::Feed, Self::Operator];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Pull => "pull",
            Self::Feed => "feed",
            Self::Operator => "operator",
        }
    }
}

/// What the upstream itself says to tell this deletion from another one of the same record (I3).
///
/// Every field is optional, and must come from signed or otherwise authentic material: a delivery id in an
/// unsigned header proves nothing. When we heard it is deliberately not in here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// Stable over the upstream's retries of one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// When the record was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// When the record was last changed before that, as a feed without deletion times gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

impl Evidence {
    /// The upstream's time for this event, which the guard compares with a row's.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.deleted_at.or(self.updated_at)
    }

    /// The fingerprints that recognise a repeat: one text for each thing that is known.
    #[must_use]
    pub fn fingerprints(&self, action: Action) -> Vec<String> {
        let mark = match action {
            Action::Relisted => 'r',
            Action::Deactivate => 'i',
            Action::Delete => 'd',
        };
        let id = self.event_id.as_ref().map(|id| format!("{mark}:id:{id}"));
        let deleted = self.deleted_at.map(|at| format!("{mark}:at:{}", at.micros()));
        let updated = self.updated_at.map(|at| format!("{mark}:up:{}", at.micros()));
        [id, deleted, updated].into_iter().flatten().collect()
    }
}

/// A notice: what happened to which record, and the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notice {
    pub entity: Entity,
    pub key: Key,
    pub action: Action,
    #[serde(default)]
    pub evidence: Evidence,
}

//! What a task came to: one vocabulary for journal, commands, metrics and pages.

use serde::{Deserialize, Serialize};

/// The end (or, for `Failed` with a later try, the state) of one tombstone at one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was there and is gone now.
    Deleted,
    /// It was there and is marked inactive now.
    Deactivated,
    /// Gone by our own earlier work, also where a crash kept us from noting that.
    AlreadyDeleted,
    /// Never was there.
    NotFound,
    /// The target holds a newer record, or the upstream listed it again; left alone.
    Superseded,
    /// Stopped by the brake.
    Held,
    /// Refused by a person.
    Rejected,
    /// Not carried out, with a code and a message; retried while that can help, then parked.
    Failed,
}

impl Outcome {
    pub const ALL: [Self; 8] = [
        Self::Deleted,
        Self::Deactivated,
        Self::AlreadyDeleted,
        Self::NotFound,
        Self::Superseded,
        Self::Held,
        Self::Rejected,
        Self::Failed,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Deactivated => "deactivated",
            Self::AlreadyDeleted => "already_deleted",
            Self::NotFound => "not_found",
            Self::Superseded => "superseded",
            Self::Held => "held",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }

    /// Whether it made a record go, or marked it.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Deleted | Self::Deactivated)
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

//! The routes of the API: where each is, and what it takes to be let in.

use crate::config::Scope;

/// One route; the word under which its requests are counted is its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Ask,
    Told,
    Tombstones,
    Holds,
    Approve,
    Reject,
    /// Every other path below.
    Unknown,
}

impl Route {
    pub const ALL: [Self; 7] =
        [Self::Ask, Self::Told, Self::Tombstones, Self::Holds, Self::Approve, Self::Reject, Self::Unknown];

    pub const fn path(self) -> &'static str {
        match self {
            Self::Ask => super::DELETIONS,
            Self::Told => "/api/v1/deletions/{receipt}",
            Self::Tombstones => "/api/v1/tombstones",
            Self::Holds => "/api/v1/holds",
            Self::Approve => "/api/v1/holds/{hold}/approve",
            Self::Reject => "/api/v1/holds/{hold}/reject",
            Self::Unknown => "/api/v1/{*rest}",
        }
    }

    pub const fn scope(self) -> Scope {
        match self {
            Self::Ask => Scope::Delete,
            Self::Approve | Self::Reject => Scope::Approve,
            Self::Told | Self::Tombstones | Self::Holds | Self::Unknown => Scope::Read,
        }
    }
}

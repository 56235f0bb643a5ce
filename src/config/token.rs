//! Who may use the operator's API: tokens by their hashes, each with what it may do.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// A token as the configuration knows it. The token itself is nowhere but with the program that uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Stands in the journal and in the log for whoever uses the token.
    pub name: String,
    pub sha256: [u8; 32],
    pub scopes: BTreeSet<Scope>,
    pub requests_per_minute: u32,
}

impl Token {
    /// Ten a second: four times what a program needs that sends a million ids in an hour, 1,000 at a time, and
    /// asks for each answer twice.
    pub const REQUESTS_PER_MINUTE: u32 = 600;

    /// The hash under which a token is known. A plain one: what is to be guessed are 32 random bytes, which
    /// no slower hash would make harder.
    #[must_use]
    pub fn hash(token: &[u8]) -> [u8; 32] {
        Sha256::digest(token).into()
    }
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To look at receipts, tombstones and holds.
    Read,
    /// To delete, and to ask what a deletion would take.
    Delete,
    /// To let held deletions go, or to refuse them.
    Approve,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Delete, Self::Approve];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Delete => "delete",
            Self::Approve => "approve",
        }
    }
}

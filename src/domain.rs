//! The words of the trade as types: keys, notices, tombstones, outcomes, journal events.
//!
//! Everything here is pure. Nothing reads a clock, a file, a socket or a database, so that what decides
//! about a deletion can be tested with plain values. This module may use no other module of the crate.

pub mod event;
pub mod key;
pub mod notice;
pub mod outcome;
pub mod timestamp;
pub mod tombstone;

pub use event::Event;
pub use key::{Entity, Key, KeyFault};
pub use notice::{Action, Door, Evidence, Notice};
pub use outcome::Outcome;
pub use timestamp::Timestamp;
pub use tombstone::{Tombstone, TombstoneId};

/// Position of an entry in the journal: 1 for the first, without gaps.
pub type Seq = i64;

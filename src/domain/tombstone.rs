//! The one durable fact about a record: what became of it upstream, and when.

/// Number of a tombstone, given in the order in which records were first heard of.
pub type TombstoneId = i64;

/// To come.
#[derive(Clone, Debug)]
pub struct Tombstone;

//! What the journal holds.

/// To come.
#[derive(Clone, Debug)]
pub enum Event {}

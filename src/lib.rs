//! Carries deletions from an upstream to every copy of a record, and proves it.

pub mod clock;
pub mod config;
pub mod domain;
pub mod sandbox;
pub mod sources;
pub mod targets;

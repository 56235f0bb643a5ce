//! Carries deletions from an upstream to every copy of a record, and proves it.

pub mod applier;
pub mod backoff;
pub mod brake;
pub mod clock;
pub mod config;
pub mod domain;
pub mod fold;
pub mod intake;
pub mod lifecycle;
pub mod schedule;
pub mod sources;
pub mod store;
pub mod targets;
pub mod telemetry;
pub mod web;

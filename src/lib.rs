//! Carries deletions from an upstream to every copy of a record, and proves it.

pub mod clock;
pub mod config;
pub mod domain;
pub mod lifecycle;
pub mod schedule;
pub mod sources;
pub mod targets;
pub mod telemetry;
pub mod web;

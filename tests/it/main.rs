//! Everything together, in one binary: one link, and tests that run beside each other.

#![expect(clippy::unwrap_used, reason = "a test fails where a helper of it does")]

mod support;

mod applier;
mod brake;
mod door;
mod feed_faults;
mod same_result;
mod state;

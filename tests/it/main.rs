//! The one integration-test binary: the library from outside, the program as a process, and what lies
//! around both.

#![allow(clippy::unwrap_used, reason = "what a test does not expect fails it, in its support too")]

mod applier;
mod arrows;
mod beside;
mod bodies;
mod brake;
mod crash_points;
mod deletions;
mod deploy;
mod disk_full;
mod door;
mod feed_faults;
mod front_door;
mod logs;
mod process;
mod readme;
mod recovery;
mod same_result;
mod sources;
mod sql;
mod state;
mod support;
mod vendors;

//! The daemon's doors for HTTP: a listener that bears hostile peers, and what is answered behind it.
//!
//! Translates between HTTP and the rest, decides nothing about deletions. `axum::serve` is not used, since it
//! waits without end for the head of a request and for its body.

pub mod admin;
pub mod api;
pub mod body;
pub mod capacity;
pub mod hooks;
pub mod listener;

pub use body::{BodyFault, read_body};
pub use listener::{Drained, Listener};

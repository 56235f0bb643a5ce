//! How upstreams speak: verifying, parsing, paging. Gives notices, and decides nothing.
//!
//! This is the only module that knows of signatures and of the HTTP client towards upstreams. It may not
//! name targets, nor the store.

pub mod compose;
pub mod feed;
pub mod http;
pub mod json;
pub mod payload;
pub mod pull;
pub mod signature;
pub mod subscriptions;

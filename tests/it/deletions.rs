//! The API for operators' own programs, over the network: every answer, every refusal, and what stays behind.

mod command;
mod counted;
mod desk;
mod idempotency;
mod listing;
mod refusals;
mod token;
mod upload;

pub use desk::{Desk, READER, Seen, WRITER};

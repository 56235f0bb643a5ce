//! The tests of the whole, in one binary, since each one more is a link of the whole program.

#![allow(clippy::unwrap_used, reason = "what a test does not expect fails it, in its support too")]

mod arrows;
mod deploy;
mod readme;
mod support;

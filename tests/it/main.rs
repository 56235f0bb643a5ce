//! Everything together, in one binary: one link, and tests that run beside each other.

mod support;

mod brake;
mod same_result;

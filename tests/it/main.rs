//! Everything together, in one binary: one link, and tests that run beside each other.

mod support;

mod same_result;

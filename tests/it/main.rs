//! The one integration-test binary: the library from outside, and the program as a process.

mod crash_points;
mod recovery;
mod support;

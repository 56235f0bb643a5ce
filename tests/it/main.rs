//! The one integration-test binary: the library from outside, and the program as a process.

mod beside;
mod crash_points;
mod disk_full;
mod process;
mod recovery;
mod support;

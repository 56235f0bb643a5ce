//! The one integration-test binary: the library from outside, and the program as a process.

mod crash_points;
mod front_door;
mod recovery;
mod support;

//! The one integration-test binary: the library from outside, the program as a process, and what lies
//! around both.

mod arrows;
mod crash_points;
mod deploy;
mod front_door;
mod readme;
mod recovery;
mod support;

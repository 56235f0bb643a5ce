//! The one integration-test binary: the library from outside, and the program as a process.

mod recovery;
mod support;

//! The tests of the whole, in one binary, since each one more is a link of the whole program.

mod arrows;
mod deploy;
mod readme;
mod support;

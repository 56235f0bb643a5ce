//! What several tests share.

pub mod crash;

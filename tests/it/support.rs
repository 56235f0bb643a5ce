//! What the tests share: parts that run in process, targets in memory, replicas and upstreams.

pub mod memory;
pub mod mirror;
pub mod rig;

//! Ids and secrets that look random and are not: the same seed gives the same ones, in order.
//!
//! Exists so that a run of the sandbox can be repeated exactly. Nothing here may guard anything real.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

pub(super) struct Ids {
    seed: u64,
    given: AtomicU64,
}

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, given: AtomicU64::new(0) }
    }

    /// 64 hex digits that were not given before.
    pub(super) fn hex(&self) -> String {
        let number = self.given.fetch_add(1, Ordering::SeqCst);
        hex::encode(Sha256::digest([self.seed.to_be_bytes(), number.to_be_bytes()].concat()))
    }

    /// In the form of a UUID, version 4.
    pub(super) fn uuid(&self) -> String {
        let hex = self.hex();
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
    }
}

//! How long to wait before trying again: longer each time, never longer than a cap, and never all at once.

use std::sync::Arc;
use std::time::Duration;

/// Gives numbers from 0 up to 1: chance, as an argument.
pub type Dice = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Dice that roll.
#[must_use]
pub fn fair_dice() -> Dice {
    Arc::new(fastrand::f64)
}

/// Exponential back-off with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub first: Duration,
    /// No wait is longer.
    pub cap: Duration,
}

impl Backoff {
    /// The wait after `failures` failures (1 for the first): between a tenth of the full wait and all of it,
    /// so that many waiters spread out and none hammers.
    #[must_use]
    pub fn wait(&self, failures: u32, dice: &Dice) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.cap);
        full.mul_f64(0.1 + 0.9 * dice().clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_never_beyond_it() {
        let backoff = Backoff { first: Duration::from_millis(500), cap: Duration::from_mins(1) };
        let (high, low): (Dice, Dice) = (Arc::new(|| 1.0), Arc::new(|| 0.0));
        let waits: Vec<_> = (1..=9).map(|failures| backoff.wait(failures, &high).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.wait(u32::MAX, &high), backoff.cap);
        assert!(backoff.wait(1, &low) >= Duration::from_millis(50), "some wait even with the worst luck");
    }
}

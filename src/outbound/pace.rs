//! When the next request may go out: at a rate of our own, and when the other side asked for a wait, after it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Requests evenly apart, never in bursts: a burst and the steady rate after it are more than the rate within
/// a second.
pub struct Pace {
    apart: Duration,
    /// Held while somebody waits: those behind wait their turn.
    next: tokio::sync::Mutex<Instant>,
    /// No request before that.
    held_until: Mutex<Option<Instant>>,
}

impl Pace {
    /// At most that many in a second; none at all is one.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let apart = Duration::from_secs(1) / per_second.max(1);
        Self { apart, next: tokio::sync::Mutex::new(Instant::now()), held_until: Mutex::new(None) }
    }

    /// Returns when one request may go out.
    pub async fn wait(&self) {
        let mut next = self.next.lock().await;
        let held_until = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep_until(held_until.map_or(*next, |until| until.max(*next))).await;
        *next = Instant::now() + self.apart;
    }

    /// Lets none go out before this time has passed.
    pub fn hold(&self, wait: Duration) {
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_apart_by_the_rate_and_none_goes_out_while_they_are_held() {
        let pace = Pace::new(5);
        let start = Instant::now();
        for _ in 0..11 {
            pace.wait().await;
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(2) && took < Duration::from_millis(2_050), "{took:?}");

        let start = Instant::now();
        pace.hold(Duration::from_secs(90));
        pace.wait().await;
        pace.wait().await;
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(90_200) && took < Duration::from_millis(90_250), "{took:?}");
    }
}

//! When the next request may go out: the feed's own rate, and what the upstream asked for beyond it.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The runtime's clock for the rate limiter, so that one clock rules all waiting and tests can pause it.
#[derive(Clone, Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Duration>>;

pub(super) struct Pace {
    limiter: Limiter,
    clock: RuntimeClock,
    /// No request before that.
    held_until: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        // Evenly, not in bursts: a burst and the steady rate after it are more than the rate within a second.
        let quota = Quota::per_second(rate).allow_burst(NonZeroU32::MIN);
        let clock = RuntimeClock(Instant::now());
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Self { limiter, clock, held_until: Mutex::new(None) }
    }

    pub(super) async fn wait(&self) {
        let held_until = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = held_until {
            tokio::time::sleep_until(until).await;
        }
        while let Err(early) = self.limiter.check() {
            tokio::time::sleep(early.wait_time_from(self.clock.now())).await;
        }
    }

    pub(super) fn hold(&self, wait: Duration) {
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + wait);
    }
}

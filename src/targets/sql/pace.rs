//! How fast a server that others use is worked on: batches as large as fit a transaction's time, rows in a
//! second, and a pause while standbys fall behind or requests wait for locks.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::session::{Session, Strain};
use crate::config::target::Limits;
use crate::targets::{Effect, TargetError};

/// Records in the first batch, before anything is known of the server: it fits the time on a slow one.
const FIRST: u32 = 500;
/// What a batch never falls below: less costs more in transactions than it saves others.
const SMALLEST: u32 = 50;
/// What it never exceeds, whatever the time.
const LARGEST: u32 = 10_000;
/// How much a batch may grow at once: one that was fast by luck is not followed by a slow one ten times as large.
const GROWTH: f64 = 2.0;
/// How old an answer about the server's strain may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks in a row that find the server strained, after which the batch is put off, and the connection with it.
const LOOKS_MAX: u32 = 10;

pub struct Pace {
    limits: Limits,
    /// Records in a batch.
    size: AtomicU32,
}

/// What a connection remembers from batch to batch.
#[derive(Default)]
pub struct Stride {
    looked_at: Option<Instant>,
    /// When rows may go again.
    free_at: Option<Instant>,
}

impl Stride {
    async fn rest(&mut self) {
        if let Some(free_at) = self.free_at.take() {
            tokio::time::sleep_until(free_at).await;
        }
    }
}

impl Pace {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, size: AtomicU32::new(FIRST) }
    }

    #[must_use]
    pub fn batch_max(&self) -> u32 {
        self.size.load(Ordering::Relaxed)
    }

    /// Waits until rows may go.
    pub async fn wait(&self, session: &mut dyn Session, stride: &mut Stride) -> Result<(), TargetError> {
        stride.rest().await;
        let fresh = |at: Instant| at.elapsed() < LOOK_EVERY;
        if stride.looked_at.is_some_and(fresh) {
            return Ok(());
        }
        let mut looks = 0;
        while let Some(reason) = self.strained(session.strain().await?) {
            looks += 1;
            if looks == LOOKS_MAX {
                return Err(TargetError::Unavailable(reason));
            }
            tracing::debug!(reason, "deletions pause");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        stride.looked_at = Some(Instant::now());
        Ok(())
    }

    fn strained(&self, strain: Strain) -> Option<String> {
        let Limits { replication_lag, lock_waits, .. } = self.limits;
        if strain.replication_lag > replication_lag {
            return Some(format!("replication is {} s behind", strain.replication_lag.as_secs()));
        }
        (strain.lock_waits > lock_waits).then(|| format!("{} requests wait for locks", strain.lock_waits))
    }

    /// Learns from a batch of `records` that took `time`.
    pub fn learn(&self, records: usize, time: Duration, effects: &[Effect], stride: &mut Stride) {
        let size = self.batch_max();
        // Small batches say more of what every transaction costs than of what a record does.
        if records >= SMALLEST as usize {
            self.size.store(next(size, records, time, self.limits.batch_time), Ordering::Relaxed);
        }
        let rows = effects.iter().map(|effect| if let Effect::Removed { rows } = effect { *rows } else { 0 });
        let rows: u64 = rows.sum();
        if let Some(limit) = self.limits.rows_per_second {
            let nanos = rows.saturating_mul(1_000_000_000) / u64::from(limit);
            stride.free_at = Some(Instant::now() + Duration::from_nanos(nanos).saturating_sub(time));
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a size between fixed bounds, from times and sizes far below what a float holds exactly"
)]
fn next(size: u32, records: usize, time: Duration, wanted: Duration) -> u32 {
    let fits = records as f64 * wanted.as_secs_f64() / time.as_secs_f64().max(1e-6);
    let fits = fits.min(f64::from(size) * GROWTH);
    (fits as u32).clamp(SMALLEST, LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Duration = Duration::from_millis(100);

    #[test]
    fn a_batch_gets_as_large_as_fits_and_stays_within_its_bounds() {
        let after = |size, millis| next(size, size as usize, Duration::from_millis(millis), WANTED);
        assert_eq!(after(1_000, 200), 500);
        assert_eq!(after(1_000, 80), 1_250);
        assert_eq!(after(1_000, 1), 2_000, "no more than twice at once");
        assert_eq!(after(8_000, 1), LARGEST);
        assert_eq!(after(60, 60_000), SMALLEST);
        assert_eq!(next(1_000, 1_000, Duration::ZERO, Duration::ZERO), SMALLEST);
    }

    #[test]
    fn a_batch_far_below_the_size_teaches_nothing() {
        let pace = Pace::new(Limits::default());
        pace.learn(3, Duration::from_secs(9), &[], &mut Stride::default());
        assert_eq!(pace.batch_max(), FIRST);
        pace.learn(500, Duration::from_millis(50), &[], &mut Stride::default());
        assert_eq!(pace.batch_max(), 2 * FIRST);
    }

    #[test]
    fn what_others_suffer_from_is_told() {
        let pace = Pace::new(Limits::default());
        let strain =
            |seconds, lock_waits| Strain { replication_lag: Duration::from_secs(seconds), lock_waits };
        assert_eq!(pace.strained(strain(10, 20)), None);
        assert!(pace.strained(strain(11, 0)).is_some_and(|reason| reason.contains("11 s behind")));
        assert!(pace.strained(strain(0, 21)).is_some_and(|reason| reason.contains("21 requests")));
    }

    #[tokio::test(start_paused = true)]
    async fn rows_in_a_second_are_bounded_children_included() {
        let pace = Pace::new(Limits { rows_per_second: Some(100), ..Limits::default() });
        let (start, mut stride) = (Instant::now(), Stride::default());
        for _ in 0..5 {
            stride.rest().await;
            pace.learn(1, Duration::ZERO, &[Effect::Removed { rows: 30 }], &mut stride);
        }
        stride.rest().await;
        assert_eq!(start.elapsed(), Duration::from_millis(1_500));
    }
}

//! How fast a server that others use is worked on: batches as large as fit a transaction's time, a rest after each
//! while others are at work, rows in a second, and a pause while standbys fall behind or requests wait for locks.
//!
//! Rests come after work and in proportion to it, so that one deletion alone waits for nothing, and a server that
//! nobody else uses is worked on without any.

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
/// How many times as long a batch may take while nobody else is at work on the server: what every transaction costs is
/// paid as seldom, and who comes in its midst waits for it once.
const ALONE: u32 = 3;
/// What of a batch's time counts as work that is rested from: a longer one was kept waiting by a lock.
const WORK_MAX: Duration = Duration::from_secs(1);
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
    /// Looks in a row that found the server strained.
    strained: u32,
    /// When rows may go again.
    free_at: Option<Instant>,
    /// When the last batch has been rested from, if others are at work.
    rested: Option<Instant>,
    /// Nobody else was at work when it was looked last, right behind a batch.
    alone: bool,
}

impl Stride {
    /// Until when to rest from the rows that went.
    fn rest(&mut self) -> Option<Instant> {
        self.free_at.take().filter(|&at| at > Instant::now())
    }

    /// Until when to rest from the last batch, unless that was long enough ago, or nobody would notice. Whether others
    /// are at work is asked only then.
    async fn leave_room(
        &mut self,
        others_at_work: impl Future<Output = Result<bool, TargetError>>,
    ) -> Result<Option<Instant>, TargetError> {
        self.alone = false;
        let Some(rested_at) = self.rested.take().filter(|&at| at > Instant::now()) else { return Ok(None) };
        self.alone = !others_at_work.await?;
        Ok(Some(rested_at).filter(|_| !self.alone))
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

    /// When to ask again whether rows may go; `None` if they may now.
    ///
    /// # Errors
    /// The server could not be asked, or has been found strained too often.
    pub async fn next(
        &self,
        session: &mut dyn Session,
        stride: &mut Stride,
    ) -> Result<Option<Instant>, TargetError> {
        let resting = match stride.rest() {
            None => stride.leave_room(session.others_at_work()).await?,
            resting => resting,
        };
        let fresh = |at: Instant| at.elapsed() < LOOK_EVERY;
        if resting.is_some() || stride.looked_at.is_some_and(fresh) {
            return Ok(resting);
        }
        let Some(reason) = self.strained(session.strain().await?) else {
            (stride.strained, stride.looked_at) = (0, Some(Instant::now()));
            return Ok(None);
        };
        stride.strained += 1;
        if stride.strained == LOOKS_MAX {
            return Err(TargetError::Unavailable(reason));
        }
        tracing::debug!(reason, "deletions pause");
        Ok(Some(Instant::now() + LOOK_EVERY))
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
        stride.rested = Some(Instant::now() + time.min(WORK_MAX) * self.limits.rest);
        let size = self.batch_max();
        let wanted = self.limits.batch_time * if stride.alone { ALONE } else { 1 };
        // Small batches say more of what every transaction costs than of what a record does.
        if records >= SMALLEST as usize {
            self.size.store(next(size, records, time, wanted), Ordering::Relaxed);
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
    use std::cell::Cell;

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
    fn a_batch_may_take_longer_while_nobody_else_is_at_work() {
        let pace = Pace::new(Limits::default());
        let size_after = |alone| {
            pace.size.store(1_000, Ordering::Relaxed);
            let mut stride = Stride { alone, ..Stride::default() };
            pace.learn(1_000, Duration::from_millis(200), &[], &mut stride);
            pace.batch_max()
        };
        assert_eq!([size_after(false), size_after(true)], [500, 1_500]);
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

    /// How long the next batch waits that comes `pause` after one of `work`, and whether it was asked for others.
    async fn rest_after(work: Duration, pause: Duration, others: bool) -> (Duration, bool) {
        let (pace, mut stride, asked) = (Pace::new(Limits::default()), Stride::default(), Cell::new(false));
        pace.learn(1, work, &[], &mut stride);
        tokio::time::sleep(pause).await;
        let start = Instant::now();
        let others = async {
            asked.set(true);
            Ok(others)
        };
        let until = stride.leave_room(others).await.unwrap();
        assert_eq!(stride.alone, asked.get() && until.is_none(), "known only if it was asked");
        (until.map_or(Duration::ZERO, |until| until - start), asked.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_rested_from_in_proportion_while_others_are_at_work() {
        let millis = Duration::from_millis;
        let soon = Duration::ZERO;
        assert_eq!(rest_after(millis(100), soon, true).await, (millis(800), true));
        assert_eq!(
            rest_after(millis(100), millis(300), true).await,
            (millis(500), true),
            "idle time is rest"
        );
        assert_eq!(rest_after(millis(100), soon, false).await, (soon, true), "nobody would notice");
        assert_eq!(
            rest_after(millis(5), millis(40), true).await,
            (soon, false),
            "one that comes alone waits for nothing"
        );
        assert_eq!(
            rest_after(millis(30_000), soon, true).await,
            (millis(8_000), true),
            "a lock was waited for"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_rested_from_twice_or_where_it_is_switched_off() {
        let others = || async { Ok(true) };
        let mut stride = Stride::default();
        Pace::new(Limits { rest: 0, ..Limits::default() }).learn(1, WANTED, &[], &mut stride);
        assert_eq!(stride.leave_room(others()).await.unwrap(), None);
        Pace::new(Limits::default()).learn(1, WANTED, &[], &mut stride);
        assert_eq!(stride.leave_room(others()).await.unwrap(), Some(Instant::now() + 8 * WANTED));
        assert_eq!(stride.leave_room(others()).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn rows_in_a_second_are_bounded_children_included() {
        let pace = Pace::new(Limits { rows_per_second: Some(100), ..Limits::default() });
        let (start, mut stride) = (Instant::now(), Stride::default());
        assert_eq!(stride.rest(), None);
        for _ in 0..5 {
            pace.learn(1, Duration::ZERO, &[Effect::Removed { rows: 30 }], &mut stride);
            tokio::time::sleep_until(stride.rest().unwrap()).await;
        }
        assert_eq!(start.elapsed(), Duration::from_millis(1_500));
    }
}

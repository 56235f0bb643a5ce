//! Which part of a deleted feed a run asks for, and how far the checkpoint may move when it was read (I4).
//!
//! Pure. Two clocks meet here, and bounds follow one of them. A checkpoint is the upstream's time, so what
//! follows from it needs no clock; everything else (how far back a first run reads, where a walk ends,
//! whether the checkpoint is older than the feed) is reckoned by the upstream's clock, which is known only
//! once it has answered. So a run has two bounds: provisional ones by the local clock, for the one request
//! that must be made without knowing better, and settled ones by the `Date` header of its answer. Where they
//! differ, the first page is asked for again: one request, and no clock of ours can make a gap. Nor can one of
//! theirs that is ahead: the checkpoint passes neither clock, since one that is too early only reads more.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::source::{BoundFormat, Feed};
use crate::domain::Timestamp;

const DAY: Duration = Duration::from_hours(24);

/// A day in UTC+14 begins 14 hours before it does in UTC, and no upstream says in which zone its days are.
const EARLIEST_DAY: Duration = Duration::from_hours(14);

/// How far the local clock may be off where an upstream does not tell its own time.
const UNKNOWN_CLOCK: Duration = DAY;

/// Bounds lie between 1970 and 9999, where every upstream can read them.
const BOUND_MIN: Timestamp = Timestamp::from_micros(0);
const BOUND_MAX: Timestamp = Timestamp::from_seconds(253_402_214_400);

/// Where a run begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// How far earlier runs have read, by the upstream's clock.
    pub checkpoint: Option<Timestamp>,
    /// What an operator asks for instead.
    pub since: Option<Timestamp>,
}

/// The time of day, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// The `Date` header of the run's first answer, and our own time before that was asked for.
    Upstream { date: Timestamp, ours: Timestamp },
    /// Ours, since the upstream does not tell its own.
    Local(Timestamp),
}

/// Why a run may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error(
        "the checkpoint {checkpoint} is older than the {} for which the feed keeps deletions, so that some \
         may never be seen in it: run a full comparison (census) of this source, then go on with \
         `reconcile --since`",
        Span(*retention)
    )]
    Gap { checkpoint: Timestamp, retention: Duration },
    #[error(
        "the checkpoint {checkpoint} lies after the upstream's own time {upstream_now}, so one of the two is \
         wrong and deletions may have been passed over: if it lies after our own time too, bring it back with \
         `reconcile --since` and a time that was surely read"
    )]
    Ahead { checkpoint: Timestamp, upstream_now: Timestamp },
}

/// The bounds of a walk, inclusive on both sides and frozen while it lasts, so that pages do not shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `None` if the feed has no such parameter; so is `to`.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    start: Start,
    now: Now,
    moves_checkpoint: bool,
}

impl Bounds {
    /// For the request that learns the upstream's time. Never further back than the feed goes, since some
    /// feeds refuse that, and a refusal would hide that it is a gap.
    #[must_use]
    pub fn provisional(feed: &Feed, start: Start, local_now: Timestamp) -> Self {
        let mut bounds = Self::reckon(feed, start, Now::Upstream { date: local_now, ours: local_now });
        let oldest = round_down(local_now.minus(feed.retention), feed.window.format);
        bounds.from = bounds.from.map(|from| from.max(oldest));
        bounds
    }

    /// For the walk itself.
    ///
    /// # Errors
    /// The checkpoint cannot be gone on from, and no operator said from where instead.
    pub fn settled(feed: &Feed, start: Start, now: Now) -> Result<Self, WindowError> {
        if let (Some(checkpoint), None) = (start.checkpoint, start.since) {
            if is_gap(feed, checkpoint, now) {
                return Err(WindowError::Gap { checkpoint, retention: feed.retention });
            }
            if let Now::Upstream { date: upstream_now, .. } = now
                && checkpoint > upstream_now.plus(overlap(feed))
            {
                return Err(WindowError::Ahead { checkpoint, upstream_now });
            }
        }
        Ok(Self::reckon(feed, start, now))
    }

    fn reckon(feed: &Feed, start: Start, now: Now) -> Self {
        let format = feed.window.format;
        let (earliest, latest) = match now {
            Now::Upstream { date, .. } => (date, date),
            Now::Local(now) => (now.minus(UNKNOWN_CLOCK), now.plus(UNKNOWN_CLOCK)),
        };
        let first = earliest.minus(feed.first);
        let from = match (start.since, start.checkpoint) {
            (Some(since), _) => since,
            // A checkpoint a little ahead of the clock must not turn the window inside out.
            (None, Some(checkpoint)) => checkpoint.min(earliest).minus(overlap(feed)),
            (None, None) => first,
        };
        // A later start than the checkpoint's, or than a first run's, leaves something out. Behind a gap an operator
        // cannot read it any more (after a census), and means to leave it for good. One in the future reads nothing.
        let moves_checkpoint = match (start.since, start.checkpoint) {
            (Some(since), Some(checkpoint)) => {
                since <= checkpoint.min(latest) || is_gap(feed, checkpoint, now)
            }
            (Some(since), None) => since <= first,
            (None, _) => true,
        };
        Self {
            from: feed.window.from.as_ref().map(|_| round_down(from, format)),
            to: feed.window.to.as_ref().map(|_| round_up(latest, format)),
            start,
            now,
            moves_checkpoint,
        }
    }

    /// Whether both ask for the same on the wire.
    #[must_use]
    pub fn ask_the_same(&self, other: &Self) -> bool {
        self.from == other.from && self.to == other.to
    }

    /// The bounds as query parameters.
    #[must_use]
    pub fn query(&self, feed: &Feed) -> Vec<(String, String)> {
        let named = [(&feed.window.from, self.from), (&feed.window.to, self.to)];
        let pair = |(name, bound): (&Option<String>, Option<Timestamp>)| {
            Some((name.clone()?, written(bound?, feed.window.format)))
        };
        named.into_iter().filter_map(pair).collect()
    }

    /// Where the checkpoint may move once the walk was read to its end; `None` if it stays.
    ///
    /// That is the upstream's time at the start of the walk. Where it does not tell, it is the `greatest`
    /// time in the data. Neither may lie in our own future: a clock that is ahead would make a gap once it is set
    /// right, and a mistyped year would end all polling.
    ///
    /// It stays where an operator's start leaves out what the next scheduled run would read: what lies behind the
    /// checkpoint, or, where there is none yet, whatever a first run reads back (`feed.first`).
    #[must_use]
    pub fn covered_until(&self, greatest: Option<Timestamp>) -> Option<Timestamp> {
        let read_to = match self.now {
            Now::Upstream { date, ours } => date.min(ours),
            Now::Local(now) => greatest?.min(now),
        };
        let forward = self.start.checkpoint.is_none_or(|checkpoint| read_to > checkpoint);
        (self.moves_checkpoint && (forward || self.brings_back())).then_some(read_to)
    }

    /// Whether an operator goes on from behind a checkpoint that lies ahead of both clocks, up to which nothing can
    /// have been read: then it moves back.
    #[must_use]
    pub fn brings_back(&self) -> bool {
        let latest = match self.now {
            Now::Upstream { date, ours } => date.max(ours),
            Now::Local(now) => now,
        };
        self.start.since.is_some() && self.start.checkpoint.is_some_and(|checkpoint| checkpoint > latest)
    }
}

/// Each run reads at least one unit of the bounds again, whatever the configuration says (I4).
fn overlap(feed: &Feed) -> Duration {
    feed.overlap.max(granularity(feed.window.format))
}

fn is_gap(feed: &Feed, checkpoint: Timestamp, now: Now) -> bool {
    let latest = match now {
        Now::Upstream { date, .. } => date,
        // Half the retention at most, or a feed that keeps a day could never be polled.
        Now::Local(now) => now.plus(UNKNOWN_CLOCK.min(feed.retention / 2)),
    };
    latest.since(checkpoint) > feed.retention
}

const fn granularity(format: BoundFormat) -> Duration {
    match format {
        BoundFormat::Date => DAY,
        BoundFormat::DateTime | BoundFormat::UnixSeconds => Duration::from_secs(1),
        BoundFormat::UnixMillis => Duration::from_millis(1),
    }
}

fn round_down(at: Timestamp, format: BoundFormat) -> Timestamp {
    let at = at.clamp(BOUND_MIN, BOUND_MAX);
    let unit = i64::try_from(granularity(format).as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.micros() - at.micros().rem_euclid(unit))
}

/// The first bound that surely includes `at`: for days, the latest day that it is anywhere.
fn round_up(at: Timestamp, format: BoundFormat) -> Timestamp {
    if format == BoundFormat::Date {
        round_down(at.plus(EARLIEST_DAY), format)
    } else {
        let down = round_down(at, format);
        if down < at { round_down(down.plus(granularity(format)), format) } else { down }
    }
}

fn written(bound: Timestamp, format: BoundFormat) -> String {
    // Cannot overflow: bounds lie between the years 1970 and 9999.
    let at = || DateTime::<Utc>::UNIX_EPOCH + TimeDelta::microseconds(bound.micros());
    match format {
        BoundFormat::Date => at().format("%Y-%m-%d").to_string(),
        BoundFormat::DateTime => at().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        BoundFormat::UnixSeconds => bound.seconds().to_string(),
        BoundFormat::UnixMillis => bound.millis().to_string(),
    }
}

/// A duration for people, in its largest whole unit.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
        match units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{} {name}", seconds / unit),
            None if seconds == 0 => write!(f, "{} ms", self.0.as_millis()),
            None => write!(f, "{seconds} s"),
        }
    }
}

#[cfg(test)]
mod tests;

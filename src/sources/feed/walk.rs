//! The walk: from the first page to the end of the feed, and again where it changed on the way.
//!
//! A page that moves while it is paged through shows itself in three ways, and each begins the walk again:
//! the declared total is another than on the first page; the records do not add up to it; or they do, but
//! only because one came twice and another not at all. What was read until then has been handed over and
//! stays true, since a repeat is recognised. One case shows in no answer: between two requests a record
//! leaves a page that was read while another comes to one that was not. The overlap of the next run mends it.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;

use super::FeedError;
use super::client::{Answer, Client, shown};
use super::page::{self, PageFault, PageRead, Record};
use super::paging::{Declared, Position};
use super::window::{Bounds, Now, Span, Start};
use crate::config::source::Feed;
use crate::domain::Timestamp;

/// A local clock further off than that is worth a warning: signatures have a tolerance of minutes.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(1);

/// What keeps a walk that an upstream makes endless from lasting for ever, and its memory from growing.
#[derive(Clone, Copy, Debug)]
struct Limits {
    pages: u64,
    records: u64,
}

/// A million pages are two days at the usual five a second; ten million records cost 200 MB of fingerprints.
const LIMITS: Limits = Limits { pages: 1_000_000, records: 10_000_000 };

/// Whatever keeps a sink from taking a page.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Takes the pages of a run, one after the other. The next one is asked for only when it has returned.
pub trait Sink: Send {
    /// Keeps a page. The one with an [`End`] is the last of the run; storing it and the checkpoint in one
    /// transaction is what makes the checkpoint true (I4).
    ///
    /// # Errors
    /// The page was not kept; the run ends here.
    fn page(&mut self, page: Page) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// A page that was read.
#[derive(Clone, Debug)]
pub struct Page {
    /// As it came.
    pub body: Bytes,
    pub records: Vec<Record>,
    /// Only with the last page of a walk that read everything.
    pub end: Option<End>,
}

/// The end of a walk that read everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Where the checkpoint may move; `None` if it stays.
    pub covered_until: Option<Timestamp>,
    /// It may move there although it lies later.
    pub back: bool,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Pages handed over, of all walks.
    pub pages: u64,
    /// Records of the last walk.
    pub records: u64,
    /// 1 if the feed held still.
    pub walks: u32,
    pub covered_until: Option<Timestamp>,
    /// Only if it is more than a minute.
    pub clock_skew: Option<ClockSkew>,
}

/// How far the local clock is off the upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSkew {
    pub by: Duration,
    pub local_is_ahead: bool,
}

impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.local_is_ahead { "ahead of" } else { "behind" };
        write!(
            f,
            "this machine's clock is {} {side} the upstream's",
            Span(Duration::from_secs(self.by.as_secs()))
        )
    }
}

/// Reads the feed from `start` to its end and gives every page to `sink`.
///
/// Nothing is lost by dropping the future: without the last page the checkpoint does not move.
///
/// # Errors
/// The feed was not read to its end. Pages that were handed over until then are true all the same.
pub async fn walk<S: Sink>(
    feed: &Feed,
    client: &Client,
    start: Start,
    sink: &mut S,
) -> Result<Walked, FeedError> {
    walk_within(LIMITS, feed, client, start, sink).await
}

async fn walk_within<S: Sink>(
    limits: Limits,
    feed: &Feed,
    client: &Client,
    start: Start,
    sink: &mut S,
) -> Result<Walked, FeedError> {
    let Opening { bounds, mut answer, clock_skew } = open(feed, client, start).await?;
    let mut pages = 0;
    for walks in 1..=feed.walks_max.saturating_add(1) {
        let mut run = Run { feed, client, bounds, limits, progress: Progress::default() };
        let end = run.through(answer.take(), sink).await?;
        pages += run.progress.pages;
        if let Some(End { covered_until, .. }) = end {
            let records = run.progress.records;
            return Ok(Walked { pages, records, walks, covered_until, clock_skew });
        }
        tracing::info!(walks, "the feed changed while it was read");
    }
    Err(FeedError::Changing { walks: feed.walks_max.saturating_add(1) })
}

struct Opening {
    bounds: Bounds,
    /// The first page, if it was asked for within the bounds that hold.
    answer: Option<Answer>,
    clock_skew: Option<ClockSkew>,
}

/// Learns the upstream's time with the first request, and freezes the bounds by it.
async fn open(feed: &Feed, client: &Client, start: Start) -> Result<Opening, FeedError> {
    // What is deleted from here on may be missing in the answer.
    let ours = client.local_now();
    let provisional = Bounds::provisional(feed, start, ours);
    let url = Position::first(&feed.paging).url(feed, &provisional)?;
    let answer = client.get(&url).await?;
    // Looked at again, since the request may have been held back for an hour.
    let local_now = client.local_now();
    let now = answer.date.map_or(Now::Local(local_now), |date| Now::Upstream { date, ours });
    let bounds = Bounds::settled(feed, start, now)?;
    let clock_skew = answer.date.and_then(|date| skew(local_now, date));
    Ok(Opening { answer: bounds.ask_the_same(&provisional).then_some(answer), bounds, clock_skew })
}

fn skew(local: Timestamp, upstream: Timestamp) -> Option<ClockSkew> {
    let local_is_ahead = local > upstream;
    let by = if local_is_ahead { local.since(upstream) } else { upstream.since(local) };
    (by > CLOCK_SKEW_MAX).then_some(ClockSkew { by, local_is_ahead })
}

/// One walk through the feed.
struct Run<'w> {
    feed: &'w Feed,
    client: &'w Client,
    bounds: Bounds,
    limits: Limits,
    progress: Progress,
}

impl Run<'_> {
    /// `None` if the feed changed on the way.
    async fn through<S: Sink>(
        &mut self,
        mut opening: Option<Answer>,
        sink: &mut S,
    ) -> Result<Option<End>, FeedError> {
        let mut position = Position::first(&self.feed.paging);
        loop {
            let url = position.url(self.feed, &self.bounds)?;
            let answer = match opening.take() {
                Some(answer) => answer,
                None => self.client.get(&url).await?,
            };
            let refused = |page, fault| FeedError::Page { url: shown(&url), page, fault };
            let number = self.progress.pages + 1;
            let read = page::read(self.feed, &position, &url, self.progress.records, &answer)
                .map_err(|fault| refused(number, fault))?;
            let state = self
                .progress
                .note(&read, &answer.body, self.limits)
                .map_err(|fault| refused(number, fault))?;
            let covered_until = self.bounds.covered_until(self.progress.greatest);
            let back = covered_until.is_some() && self.bounds.brings_back();
            let end = (state == State::Complete).then_some(End { covered_until, back });
            let page = Page { body: answer.body, records: read.records, end };
            sink.page(page).await.map_err(FeedError::Sink)?;
            match (state, read.next) {
                (State::Going, Some(next)) => position = next,
                _ => return Ok(end),
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Going,
    Complete,
    Changed,
}

/// What a walk has seen.
#[derive(Debug, Default)]
struct Progress {
    pages: u64,
    records: u64,
    declared: Option<Declared>,
    greatest: Option<Timestamp>,
    /// Fingerprints of pages and of what leads to them, to notice a circle.
    passed: HashSet<u64>,
    /// Fingerprints of records, where a total tells how many different ones there are.
    distinct: HashSet<u64>,
}

impl Progress {
    fn note(&mut self, read: &PageRead, body: &Bytes, limits: Limits) -> Result<State, PageFault> {
        self.pages += 1;
        self.records = self.records.saturating_add(read.records.len() as u64);
        if self.records > limits.records {
            return Err(PageFault::TooManyRecords(limits.records));
        }
        if read.next.is_some() && self.pages >= limits.pages {
            return Err(PageFault::TooManyPages(limits.pages));
        }
        self.greatest = self.greatest.max(read.records.iter().filter_map(|one| one.evidence.time()).max());
        if read.declared.total.is_some() {
            self.distinct.extend(read.records.iter().map(fingerprint));
        }
        if *self.declared.get_or_insert(read.declared) != read.declared {
            return Ok(State::Changed);
        }
        let Some(next) = &read.next else {
            let adds_up = read
                .declared
                .total
                .is_none_or(|total| self.records == total && self.distinct.len() as u64 == total);
            return Ok(if adds_up { State::Complete } else { State::Changed });
        };
        // Where pages are named by numbers of ours, the names never repeat, but an upstream that ignores
        // them gives the same page over and over.
        let passed = match next {
            Position::Page(_) | Position::Offset(_) => self.passed.insert(fingerprint(body)),
            Position::First | Position::Cursor(_) | Position::Link(_) => {
                self.passed.insert(fingerprint(next))
            }
        };
        if passed { Ok(State::Going) } else { Err(PageFault::Repeated) }
    }
}

/// Eight bytes, since a walk may have ten million records. A collision would fail the walk, not lose a record.
fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
